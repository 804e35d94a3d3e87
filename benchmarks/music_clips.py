"""Clips of music for measurements: songs of the project's generator, one after another, cut off.

    python -m benchmarks.music_clips clips --count 4 --seconds 20
    python -m benchmarks.music_clips tracks --count 1 --seconds 400 --format flac

The same clips each time, and no two alike: clip 2 of 20 s is `20s-2.wav`, and begins with the song
of the seed 200. 44.1 kHz, stereo, 16 bits.
"""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from pipeline.music.compose import compose
from pipeline.music.render import master, render
from pipeline.music.synth import RATE_HZ

_SEEDS_PER_CLIP = 100  # songs last 14 s at least: clips of 23 minutes share none


def main() -> None:
    """Make the clips, print their names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--format", choices=("wav", "flac"), default="wav")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, asked.count + 1):
        path = asked.folder / f"{asked.seconds}s-{number}.{asked.format}"
        sf.write(path, clip(number, seconds=asked.seconds).T, RATE_HZ)
        print(path)


def clip(number: int, *, seconds: int) -> NDArray[np.float32]:
    """Return a clip, shape `(2, seconds * 44,100)`."""
    samples = seconds * RATE_HZ
    songs: list[NDArray[np.float32]] = []
    for seed in count(number * _SEEDS_PER_CLIP):
        if sum(song.shape[1] for song in songs) >= samples:
            break
        songs.append(master(render(compose(seed))))
    return np.concatenate(songs, axis=1)[:, :samples]


if __name__ == "__main__":
    main()
