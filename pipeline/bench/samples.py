"""A few of many files, by their lengths, and pieces cut out of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from pipeline.bench.clips import Clip
from pipeline.errors import BadUsage
from stages.decode import decode

SHORTEST_S = 6.0
_SHORTEST_CUT_S = 3.5
"""MusiCNN looks at 3 s, and a piece has to be shorter than the shortest file."""


@dataclass(frozen=True)
class Dataset:
    """Some of the files in a folder of their own."""

    folder: Path
    clips: tuple[Clip, ...]

    @property
    def files(self) -> list[Path]:
        """Where they lie, in their order."""
        return [self.folder / clip.name for clip in self.clips]

    @property
    def audio_s(self) -> float:
        """The length of all of them together."""
        return sum(clip.duration_s for clip in self.clips)


@dataclass(frozen=True)
class Samples:
    """All files; some of them whole; the same cut to a quarter; one of these."""

    every: Dataset
    whole: Dataset
    cut: Dataset
    one: Dataset


def take(every: Dataset, count: int, folder: Path) -> Samples:
    """Copy a sample of the files, and pieces of it, into new folders.

    Raises:
        BadUsage: a file is too short for it.
    """
    shortest = min(every.clips, key=lambda clip: clip.duration_s)
    if shortest.duration_s < SHORTEST_S:
        raise BadUsage(
            f"{shortest.path} has {shortest.duration_s:.1f} s, and pieces of it have to tell "
            f"something. Give files of {SHORTEST_S:.0f} s and more."
        )
    chosen = spread(every.clips, count)
    whole = Dataset(folder / "whole", chosen)
    whole.folder.mkdir()
    for clip in chosen:
        shutil.copyfile(every.folder / clip.name, whole.folder / clip.name)
    cut = _cut(whole, folder / "cut")
    middle = sorted(cut.clips, key=lambda clip: clip.duration_s)[count // 2]
    one = Dataset(folder / "one", (middle,))
    one.folder.mkdir()
    shutil.copyfile(cut.folder / middle.name, one.folder / middle.name)
    return Samples(every, whole, cut, one)


def spread(clips: Sequence[Clip], count: int) -> tuple[Clip, ...]:
    """Return so many of the clips as are like all in their lengths: the middles of equal parts."""
    by_length = sorted(clips, key=lambda clip: clip.duration_s)
    return tuple(by_length[(2 * place + 1) * len(clips) // (2 * count)] for place in range(count))


def _cut(whole: Dataset, folder: Path) -> Dataset:
    folder.mkdir()
    pieces = []
    for clip in whole.clips:
        audio = decode(os.fsencode(whole.folder / clip.name)).audio
        length_s = max(clip.duration_s / 4, _SHORTEST_CUT_S)
        frames = round(length_s * audio.sample_rate_hz)
        first = (audio.frames - frames) // 2  # a beginning may be silent
        suffix = ".wav" if clip.name.endswith(".wav") else ".flac"
        piece = replace(clip, name=Path(clip.name).with_suffix(suffix).name, duration_s=length_s)
        samples = audio.samples.T[first : first + frames]
        soundfile.write(folder / piece.name, samples, audio.sample_rate_hz)
        pieces.append(piece)
    return Dataset(folder, tuple(pieces))
