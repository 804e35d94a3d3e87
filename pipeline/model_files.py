"""The models folder: what lies there, against which hash, and the one way into it.

A file comes into `NAME.incomplete`, is hashed, synced and renamed. Where its owner publishes no
hash, the one it had when it first came is kept as `NAME.sha256`, in the form of `sha256sum`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.artifacts import make_folders, replace_json, sync_file, sync_folder, write_synced
from pipeline.errors import Unfit
from stages.base import JsonValue
from stages.published import Licence, PublishedFile, PublishedModel, folder_of

ACCEPTED = "accepted-licences.json"
_LOCK = "models.lock"
_PIN = re.compile(r"\\?([0-9a-f]{64}) [ *].*\n?")


class State(StrEnum):
    """What is known of a file or a model."""

    THERE = "there"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class FileReport:
    """One file of a model, looked at. `expected` is None while nothing is pinned."""

    model: PublishedModel
    file: PublishedFile
    path: Path
    state: State
    expected: str | None
    found: str | None = None
    size_bytes: int | None = None
    trouble: str | None = None

    @property
    def pinned(self) -> str | None:
        """By whose word its hash is known: `published`, `first use`, or None."""
        if self.file.sha256 is not None:
            return "published"
        return "first use" if self.expected is not None else None


class ModelsFolder:
    """The folder of the published models of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, model: PublishedModel, file: PublishedFile) -> Path:
        """Return where a file belongs; one that ships lies in the package, not here."""
        return folder_of(model, self.root) / file.name

    def expected(self, model: PublishedModel, file: PublishedFile) -> str | None:
        """Return the SHA-256 that a file must have, None where it is to be pinned yet."""
        return file.sha256 or read_pin(self.place(model, file))

    def look(self, model: PublishedModel, file: PublishedFile) -> FileReport:
        """Hash a file that is there, and hold it against what is pinned."""
        path, expected = self.place(model, file), self.expected(model, file)
        try:
            found, size_bytes = hash_of(path)
        except (FileNotFoundError, NotADirectoryError):
            return FileReport(model, file, path, State.MISSING, expected)
        except OSError as error:
            return FileReport(model, file, path, State.DAMAGED, expected, trouble=error.strerror)
        state = State.THERE if expected in {None, found} else State.DAMAGED
        return FileReport(model, file, path, state, expected, found, size_bytes)

    def look_at(self, model: PublishedModel) -> list[FileReport]:
        """Hash all files of a model."""
        return [self.look(model, file) for file in model.files]

    @contextmanager
    def held(self, *, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the folder, so that no two processes write one file; waits for who holds it.

        Raises:
            Unfit: the folder cannot be made or written, now or while it is held.
        """
        try:
            make_folders(self.root)
            # Never the soft lock: it would stay after a kill -9.
            lock = FileLock(self.root / _LOCK, fallback_to_soft=False, preserve_lock_file=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say(f"Another fetch or import works in {self.root}; waiting for it to end …")
                lock.acquire()
            try:
                yield
            finally:
                lock.release()
        except (OSError, NotImplementedError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise Unfit(
                f"{self.root} cannot be used ({why}). Free some space, or mend its rights, then "
                "give the same command again."
            ) from error

    def part(self, model: PublishedModel, file: PublishedFile) -> Path:
        """Return where a file grows before it has its name; its folder is made."""
        place = self.place(model, file)
        make_folders(place.parent)
        return place.with_name(f"{place.name}.incomplete")

    def finish(self, model: PublishedModel, file: PublishedFile, *, sha256: str) -> None:
        """Give a part that is whole and has this hash its name, durably.

        The pin comes first: nothing is ever there under its name that nothing speaks for.
        """
        place, part = self.place(model, file), self.part(model, file)
        sync_file(part)
        if self.expected(model, file) is None:
            self.pin(model, file, sha256=sha256)
        os.replace(part, place)
        sync_folder(place.parent)

    def pin(self, model: PublishedModel, file: PublishedFile, *, sha256: str) -> None:
        """Keep the hash that a file had when it was first met."""
        place = self.place(model, file)
        fresh = place.with_name(f"{place.name}.sha256.new")
        write_synced(fresh, f"{sha256}  {place.name}\n".encode())
        os.replace(fresh, pin_of(place))
        sync_folder(place.parent)

    def accepted(self) -> dict[str, str]:
        """Return the licences that were accepted here, each with the time in UTC."""
        try:
            found = json.loads((self.root / ACCEPTED).read_bytes())
        except (OSError, ValueError):
            return {}
        return (
            {str(key): str(when) for key, when in found.items()} if isinstance(found, dict) else {}
        )

    def accept(self, *licences: Licence) -> None:
        """Remember that licences were accepted."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        known: dict[str, JsonValue] = {licence.key: now for licence in licences}
        if licences:
            replace_json(self.root / ACCEPTED, known | dict(self.accepted()))


def hash_of(path: Path) -> tuple[str, int]:
    """Return the SHA-256 and the length of a file.

    Raises:
        OSError: it cannot be read, or is none.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return digest, stream.tell()


def pin_of(place: Path) -> Path:
    """Return the file that keeps the hash of one whose owner publishes none."""
    return place.with_name(f"{place.name}.sha256")


def read_pin(place: Path) -> str | None:
    """Return the hash that is kept beside a file, None where none can be read."""
    try:
        said = _PIN.fullmatch(pin_of(place).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said[1] if said else None


def oddity(path: Path, name: str) -> str | None:
    """Say why a file that no hash speaks for cannot be what its name says; None if it may be.

    A login page of a network answers every address with 200 and its own bytes. They must not be
    pinned. Neither a .json nor a frozen graph begins with `<`.
    """
    with path.open("rb") as stream:
        start = stream.read(512).lstrip()
    if not start:
        return "is empty"
    if start.startswith(b"<"):
        return "is a web page"
    if name.endswith(".json"):
        try:
            if isinstance(json.loads(path.read_bytes()), dict):
                return None
        except ValueError:
            pass
        return "is no JSON object"
    return None
