"""The songs of a training, rendered once into its folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from training.examples import Songs
from training.music.songs import VERSION, song
from training.side_by_side import side_by_side


def rendered(folder: Path, seeds: Sequence[int]) -> Songs:
    """Render the songs of these seeds that are not there yet; return all, mapped, not read.

    Each lies in `songs-<version of the generator>/<seed>.npy`, float16, shape `(4, 2, samples)`.
    """
    place = folder / f"songs-{VERSION}"
    place.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in seeds if not (place / f"{seed}.npy").exists()]
    for _ in side_by_side(partial(_render, place), missing):
        pass
    return [np.load(place / f"{seed}.npy", mmap_mode="r") for seed in seeds]


def _render(place: Path, seed: int) -> None:
    part = place / f".{seed}.part"  # under its own name a song is whole
    with part.open("wb") as file:
        np.save(file, song(seed).astype(np.float16))
    part.replace(place / f"{seed}.npy")
