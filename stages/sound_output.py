"""Files written by libsndfile, which tells nobody of a full disk: here it is told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

# libsndfile writes FLAC in frames of about 15 kB.
_BUFFER_BYTES = 1 << 20


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add to an `OSError` the file that it happened to: a write through a descriptor has none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


class SoundOutput:
    """A file that libsndfile encodes, in constant memory.

    Raises:
        OSError: from every method but `abort`: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        sample_rate_hz: int,
        format: str,
        subtype: str,
        compression_level: float | None = None,
    ) -> None:
        self._sink = _Sink(path)
        try:
            self._file = soundfile.SoundFile(
                self._sink,
                "w",
                sample_rate_hz,
                2,
                format=format,
                subtype=subtype,
                compression_level=compression_level,
            )
        except soundfile.LibsndfileError:
            self._sink.abort()
            raise

    def write(self, frames: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """Encode frames of shape `(frames, 2)`."""
        self._file.write(frames)
        self._sink.check()

    def close(self) -> None:
        """Encode what is left and complete the header."""
        self._file.close()
        self._sink.close()

    def abort(self) -> None:
        """Release everything; the file is worth nothing then. Never raises."""
        with contextlib.suppress(soundfile.SoundFileError):
            self._file.close()
        self._sink.abort()


class _Sink:
    """What libsndfile writes to. An exception in its callbacks would be printed and forgotten.

    Each write is a success to libsndfile, so that it has no errors of its own to tell: `check` has
    the true one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with naming(path):
            self._file = path.open("wb", buffering=_BUFFER_BYTES)
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        with self._recording():
            self._file.write(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        with self._recording():
            self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def check(self) -> None:
        """Raise the first error there was."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Write what is buffered, close, raise the first error there was."""
        with self._recording():
            self._file.close()
        self.check()

    def abort(self) -> None:
        """Close, whatever becomes of what is buffered."""
        with contextlib.suppress(OSError):
            self._file.close()

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        try:
            with naming(self._path):
                yield
        except OSError as error:
            self._error = self._error or error
