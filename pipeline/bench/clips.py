"""The files of a measurement: each read once to its end, then copied into a dataset of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadUsage
from stages.base import TrackUnusable
from stages.decode import decode_into


@dataclass(frozen=True)
class Clip:
    """One file. `name`: under which it lies in the dataset, unlike any other."""

    path: Path
    name: str
    duration_s: float

    def samples(self, sample_rate_hz: int) -> int:
        """Return its length at a rate."""
        return round(self.duration_s * sample_rate_hz)


def gather(files: Sequence[Path], folder: Path) -> list[Clip]:
    """Copy the files into a new folder, and return them.

    Reading them also brings them into the page cache, so that no way is the first to wait for them.

    Raises:
        BadUsage: a file cannot be decoded, or two have the same content.
    """
    folder.mkdir()
    clips = []
    seen: dict[str, Path] = {}
    for number, path in enumerate(files):
        clip = Clip(path, f"{number:04}{path.suffix.lower()}", _duration_s(path))
        content = _sha256(path)
        if content in seen:
            # A run does the same content once; the other ways would do it twice.
            raise BadUsage(f"{path} and {seen[content]} have the same content. Give it once.")
        seen[content] = path
        # A copy: a link more would change the times of the file, and a run would hash it anew.
        shutil.copyfile(path, folder / clip.name)
        clips.append(clip)
    return clips


class _Nowhere:
    """Takes samples and keeps none."""

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        """Make ready: nothing to do."""

    def add(self, block: NDArray[np.float32]) -> None:
        """Take a block: nothing to do."""

    def end(self) -> None:
        """Learn that this was all: nothing to do."""


def _duration_s(path: Path) -> float:
    try:
        reading = decode_into(os.fsencode(path), _Nowhere())
    except TrackUnusable as error:
        raise BadUsage(f"{path} cannot be read: {error}. Give files of audio.") from error
    return reading.frames / reading.sample_rate_hz


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
