"""Songs with true stems, each decided by its seed alone.

The seeds of tests, of validation and of training lie apart, so that no song is in two of them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.music.compose import compose
from pipeline.music.render import render
from pipeline.music.synth import samples
from training.music import stems
from training.music.arrangement import STEMS, plan
from training.music.chance import happens
from training.music.mixing import aged, balanced, limited

__all__ = ["SAMPLE_RATE_HZ", "STEMS", "TEST", "TRAINING", "VALIDATION", "VERSION", "song"]

SAMPLE_RATE_HZ = 44_100
VERSION = 1  # to be raised with every change of what a seed sounds like
TEST = range(10_000)
VALIDATION = range(10_000, 100_000)
TRAINING = range(100_000, 10_000_000)
_PLAIN = 9  # the last digit of seeds whose songs are as those of the demo


def song(seed: int, *, seconds: float = 20.0, sampled: bool | None = None) -> NDArray[np.float32]:
    """Return the true stems of a song, in the order of `STEMS`; their sum is the mix, within ±1.

    Args:
        seed: what decides everything; see `TEST`, `VALIDATION` and `TRAINING`.
        seconds: length of the song, to the sample.
        sampled: whether instruments come from the SoundFont; None lets the seed decide: nearly half
            of the songs, and every tenth is one of the demo's kind.

    Returns:
        Shape `(4, 2, samples)`. A stem may be silent in parts, or throughout.

    Raises:
        SoundFontMissing: the song is sampled, and FluidSynth or the SoundFont is not here.
    """
    if sampled is None and seed % 10 == _PLAIN:
        return _plain(seed, seconds)
    chances = [np.random.default_rng([seed, number]) for number in range(6)]
    drawn = happens(chances[0], 0.5)
    whole = plan(chances[0], seconds=seconds, sampled=drawn if sampled is None else sampled)
    drums, kicks_s = stems.drums(chances[1], whole)
    made = {
        "drums": drums,
        "bass": stems.bass(chances[2], whole),
        "other": stems.other(chances[3], whole, kicks_s),
        "vocals": stems.vocals(chances[4], whole),
    }
    silence = np.zeros((2, samples(seconds)), np.float32)
    levelled = [
        silence if name in whole.silent else balanced(chances[5], made[name], name)
        for name in STEMS
    ]
    return limited(chances[5], aged(chances[5], np.stack(levelled)))


def _plain(seed: int, seconds: float) -> NDArray[np.float32]:
    """Return a passage of a song as the demo's are made, its stems at other levels."""
    chance = np.random.default_rng(seed)
    slowest_bar_s = 4 * 60.0 / 72.0
    piece = compose(seed, bars=2 * math.ceil(seconds / slowest_bar_s) + 2)
    rendered = render(piece)
    played = np.stack([rendered[name] for name in STEMS])
    start = int(chance.integers(played.shape[2] - samples(seconds) + 1))
    cut = played[:, :, start : start + samples(seconds)]
    return limited(
        chance, cut * (10.0 ** (chance.normal(0.0, 2.0, (4, 1, 1)) / 20.0)).astype(np.float32)
    )
