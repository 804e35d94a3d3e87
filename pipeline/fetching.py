"""One file from one address: resumed where it broke off, and never taken for whole when it is not.

The bytes go into a file beside their place; the caller gives it its name once its SHA-256 is right.
Only `pipeline models fetch` comes here.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from pipeline import __version__
from pipeline.amounts import size
from pipeline.errors import NotFetched, Unfit, Unreachable, WrongBytes
from pipeline.http_answers import (
    OTHER_WAY,
    Passing,
    extent,
    nobody_there,
    opener,
    passing_status,
    reason,
    retry_after,
    validator,
)

_BLOCK_BYTES = 1 << 16
_MAX_BYTES = 4 << 30  # the largest published is some 290 MB: an answer without end fills no disk
_GOES_ON = "What came is kept: the same command goes on where it broke off."


@dataclass(frozen=True)
class Source:
    """Where a file is, and its SHA-256 where that is known."""

    url: str
    sha256: str | None


@dataclass(frozen=True)
class Patience:
    """How long a connection and each next byte may take, and how often all is tried."""

    silence_s: float = 30.0
    tries: int = 6
    rest_s: float = 1.0  # doubled after each try: 31 s in all
    sleep: Callable[[float], None] = time.sleep


class Watcher(Protocol):
    """Who is told how a fetch goes."""

    def begin(self, name: str) -> None:
        """A file is about to come."""

    def move(self, done_bytes: int, total_bytes: int | None) -> None:
        """So much of it is there."""

    def say(self, line: str) -> None:
        """Something happened that is worth a line."""


def download(source: Source, part: Path, *, patience: Patience, watcher: Watcher) -> str:
    """Fill `part` with the file of an address; return its SHA-256, which is right where one is known.

    Raises:
        Unreachable: nobody ever answered.
        NotFetched: the address has no such file, or the tries are used up.
        WrongBytes: another file came. `part` is gone.
        Unfit: the disk is full, or cannot be written.
    """
    fetch = _Fetch(source, part, patience, watcher)
    for number in range(patience.tries):
        try:
            return fetch.attempt()
        except Passing as passing:
            last = passing
        if number + 1 < patience.tries:
            wait_s = last.wait_s if last.wait_s is not None else patience.rest_s * 2**number
            again = f"tried again in {wait_s:.0f} s" if wait_s else "begun anew"
            watcher.say(f"{source.url}: {last}; {again}")
            patience.sleep(wait_s)
    raise NotFetched(source.url, f"{last}, at the last of {patience.tries} tries", _GOES_ON)


class _Fetch:
    """The tries at one file, and what each has learnt for the next."""

    def __init__(self, source: Source, part: Path, patience: Patience, watcher: Watcher) -> None:
        self._source = source
        self._part = part
        self._patience = patience
        self._watcher = watcher
        self._opener = opener()
        self._answered = False
        self._validator: str | None = None  # of the version that `part` holds the beginning of
        self._in_one_piece = False  # all of `part` came with one answer

    def attempt(self) -> str:
        """Ask once for what is missing; return the SHA-256 once all is there and right."""
        offset = self._offset()
        try:
            with self._open(offset) as response:
                self._receive(response, offset)
        except urllib.error.HTTPError as answer:
            self._refused(answer, offset)
        except ssl.SSLCertVerificationError as error:
            self._give_up(f"its certificate is not good ({error.verify_message})")
        except (http.client.HTTPException, OSError) as error:
            raise Passing(reason(error)) from error
        return self._proven()

    def _offset(self) -> int:
        """Return how much is here and need not come again.

        Where no hash is known nothing would show that two versions were put together, or what a
        power cut left of the first bytes: there only this process goes on, under a validator.
        """
        if self._source.sha256 is None and self._validator is None:
            return 0
        return self._part.stat().st_size if self._part.exists() else 0

    def _open(self, offset: int) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._source.url)
        request.add_header("User-Agent", f"nightshift/{__version__}")
        if offset:
            request.add_header("Range", f"bytes={offset}-")
            if self._validator is not None:
                request.add_header("If-Range", self._validator)
        try:
            response: http.client.HTTPResponse = self._opener.open(
                request, timeout=self._patience.silence_s
            )
        except urllib.error.HTTPError:
            self._answered = True
            raise
        except urllib.error.URLError as error:
            cause = error.reason if isinstance(error.reason, OSError) else error
            if not self._answered and nobody_there(cause):
                raise Unreachable(self._source.url, reason(cause)) from error
            raise cause from error
        self._answered = True
        return response

    def _receive(self, response: http.client.HTTPResponse, offset: int) -> None:
        start, total = extent(response)
        if start not in {0, offset}:
            self._start_over(f"it answered from byte {start}, and not from {offset}")
        self._validator = validator(response.headers)
        self._in_one_piece = start == 0
        if total is None and self._source.sha256 is None and not response.chunked:
            self._give_up("it says no length and no hash is known, so nothing shows it is whole")
        self._check_room(start, total)
        done = self._write(response, start, total)
        if total is not None and done != total:
            raise Passing(f"the connection broke off after {done} of {total} bytes")

    def _check_room(self, start: int, total: int | None) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if total is not None and total - start > free:
            raise Unfit(
                f"{self._source.url} needs {size(total - start)}, and {size(free)} are free in "
                f"{self._part.parent}. Free some space there, then give the same command again."
            )

    def _write(self, response: http.client.HTTPResponse, start: int, total: int | None) -> int:
        done = start
        with self._disk(), self._part.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            while block := _read(response):
                stream.write(block)
                done += len(block)
                self._watcher.move(done, total)
                if done > _MAX_BYTES:
                    self._give_up(f"it gives more than {size(_MAX_BYTES)}")
        return done

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Tell what the disk refuses from what the network does: the latter comes as `Passing`."""
        try:
            yield
        except OSError as error:
            raise Unfit(
                f"{self._part} cannot be written ({error.strerror}). Free some space, or mend its "
                f"rights. {_GOES_ON}"
            ) from error

    def _refused(self, answer: urllib.error.HTTPError, offset: int) -> None:
        """Deal with a status that brings no file; comes back where all of it may be here already."""
        answer.close()
        if answer.code == 416 and offset:
            if self._source.sha256 is not None:
                return  # all of it may be here, lacking only its name: the hash will tell
            self._start_over(f"it has no byte {offset}")
        what = f"it answered {answer.code} {answer.reason}"
        if passing_status(answer.code):
            raise Passing(what, retry_after(answer.headers))
        self._give_up(what)

    def _give_up(self, why: str) -> NoReturn:
        raise NotFetched(self._source.url, why, OTHER_WAY)

    def _start_over(self, why: str) -> NoReturn:
        self._part.unlink(missing_ok=True)
        self._validator = None
        raise Passing(why, 0.0)

    def _proven(self) -> str:
        with self._disk(), self._part.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        expected = self._source.sha256
        if expected is None or found == expected:
            return found
        if not self._in_one_piece:
            # The beginning is another version's, or what a power cut left of it.
            self._start_over("what was here is not the beginning of the file that is pinned")
        self._part.unlink()
        raise WrongBytes(self._source.url, f"expected the SHA-256 {expected}, found {found}")


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return what has come, at most a block, as soon as something has: a kill loses no more."""
    try:
        return response.read1(_BLOCK_BYTES)
    except OSError as error:
        raise Passing(reason(error)) from error
