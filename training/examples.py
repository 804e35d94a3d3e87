"""What the network learns from: segments of rendered songs, mixed anew each time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Stems = NDArray[np.float32]
"""Shape `(4, 2, samples)`, in the order of `songs.STEMS`."""

Songs = Sequence[NDArray[np.float16]]
"""Of each song its stems, shape `(4, 2, samples)`."""

_FROM_ONE_SONG = 0.5  # else each stem is of another song, as Demucs' own training remixes
_LEVEL_DB = 3.0  # deviation of a stem's level
_SILENT = 0.05  # how often a stem is left out


def batch(songs: Songs, *, seed: int, step: int, size: int, samples: int) -> Stems:
    """Return the true stems of a step, shape `(size, 4, 2, samples)`; seed and step decide them."""
    chance = np.random.default_rng([seed, step])
    return np.stack([_example(songs, chance, samples) for _ in range(size)])


def _example(songs: Songs, chance: np.random.Generator, samples: int) -> Stems:
    if chance.random() < _FROM_ONE_SONG:
        stems = _cut(songs, chance, samples)
    else:
        stems = np.stack([_cut(songs, chance, samples)[number] for number in range(4)])
    level = 10.0 ** (chance.normal(0.0, _LEVEL_DB, (4, 1, 1)) / 20.0)
    level *= chance.choice([-1.0, 1.0], (4, 1, 1))
    level *= chance.random((4, 1, 1)) >= _SILENT
    stems *= level.astype(np.float32)
    for stem in stems:
        if chance.random() < 0.5:
            stem[:] = stem[::-1].copy()
    return stems


def _cut(songs: Songs, chance: np.random.Generator, samples: int) -> Stems:
    song = songs[int(chance.integers(len(songs)))]
    start = int(chance.integers(song.shape[-1] - samples + 1))
    return song[:, :, start : start + samples].astype(np.float32)
