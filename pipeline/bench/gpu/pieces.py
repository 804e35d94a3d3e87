"""Short clips cut out of songs: a dataset of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.bench.clips import Clip
from pipeline.bench.samples import Dataset
from stages.decode import decode

_BLOCK_FRAMES = 1 << 16


def cut(songs: Dataset, folder: Path, *, count: int, seconds: float) -> Dataset:
    """Return up to `count` pieces of one length, as FLAC, in a new folder; no two of one place."""
    folder.mkdir()
    clips: list[Clip] = []
    for clip, samples, rate_hz in _pieces(songs, seconds):
        if len(clips) == count:
            break
        name = f"{len(clips):04}.flac"
        with soundfile.SoundFile(folder / name, "w", rate_hz, samples.shape[1]) as file:
            for first in range(0, len(samples), _BLOCK_FRAMES):
                file.write(samples[first : first + _BLOCK_FRAMES])
        clips.append(Clip(clip.path, name, len(samples) / rate_hz))
    return Dataset(folder, tuple(clips))


def _pieces(songs: Dataset, seconds: float) -> Iterator[tuple[Clip, NDArray[np.float32], int]]:
    for clip in songs.clips:
        audio = decode(os.fsencode(songs.folder / clip.name)).audio
        frames = round(seconds * audio.sample_rate_hz)
        for first in range(0, audio.frames - frames + 1, frames):
            yield clip, audio.samples.T[first : first + frames], audio.sample_rate_hz
