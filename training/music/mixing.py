"""The mix: levels of the stems, what a lo-fi recording does to all, and a limiter for the sum."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.music.synth import RATE_HZ, Sound, limiter_gain
from training.music import effects
from training.music.chance import between, happens, log_between
from training.music.tones import smoothed_noise

# RMS in dB, where a stem plays, against the others; about as in songs.
_LEVELS_DB = {"drums": 0.0, "bass": -1.0, "other": -2.0, "vocals": -0.5}
_SPREAD_DB = 3.0
_MOST_DB = 6.0
_LOWEST_HZ = 24.0
_BLOCK = RATE_HZ // 5
_LOUDNESS_DB = (-20.0, -9.0)


def balanced(chance: np.random.Generator, stem: Sound, name: str) -> Sound:
    """Return a stem at a level that is drawn around what is usual for it."""
    off_db = float(np.clip(chance.normal(0.0, _SPREAD_DB), -_MOST_DB, _MOST_DB))
    # What clips to one side leaves a constant, and no speaker plays below this.
    stem = effects.filtered(stem, effects.passing(_LOWEST_HZ, None))
    loud = _loud_where_it_plays(stem)
    if loud == 0.0:
        return stem
    return stem * np.float32(10.0 ** ((_LEVELS_DB[name] + off_db) / 20.0) / loud)


def _loud_where_it_plays(sound: Sound) -> float:
    """Return the RMS of the blocks that are within 25 dB of the loudest, 0 for silence."""
    blocks = max(1, sound.shape[1] // _BLOCK)
    block = min(_BLOCK, sound.shape[1])
    power = (sound[:, : blocks * block].astype(np.float64) ** 2).mean(axis=0)
    powers = power.reshape(blocks, block).mean(axis=1)
    top = float(powers.max())
    if top < 1e-14:
        return 0.0
    return math.sqrt(float(powers[powers >= top / 316.0].mean()))


def aged(chance: np.random.Generator, stems: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return stems, shape `(4, 2, samples)`, as of an old, poor or odd recording, in some songs.

    What is done to all is linear and the same for all, so that the sum stays that of the stems.
    """
    if happens(chance, 0.35):
        tilt_db = between(chance, -4.0, 4.0)
        low = effects.shelf(log_between(chance, 100.0, 600.0), -tilt_db, high=False)
        high = effects.shelf(log_between(chance, 1500.0, 8000.0), tilt_db, high=True)
        stems = np.stack([effects.filtered(stem, low, high) for stem in stems])
    if happens(chance, 0.12):
        band = effects.passing(None, log_between(chance, 8000.0, 16_000.0), order=4)
        stems = np.stack([effects.filtered(stem, band) for stem in stems])
    if happens(chance, 0.08):
        stems = np.repeat(stems.mean(axis=1, keepdims=True), 2, axis=1)
    if happens(chance, 0.06):
        stems[2] += _crackle(chance, stems.shape[2]) * np.float32(log_between(chance, 0.003, 0.04))
    return stems


def _crackle(chance: np.random.Generator, length: int) -> Sound:
    """Return hiss with clicks in it, as of tape and vinyl."""
    hiss = (
        0.5
        * chance.standard_normal((2, length))
        * (1.0 + 0.2 * smoothed_noise(chance, length, rate_hz=1.0))
    )
    clicks = chance.integers(length, size=int(length / RATE_HZ * log_between(chance, 2.0, 40.0)))
    hiss[:, clicks] += 20.0 * chance.standard_normal(clicks.size)
    band = effects.passing(log_between(chance, 40, 600), log_between(chance, 4000, 12_000), order=1)
    return effects.filtered(hiss.astype(np.float32), band)


def limited(chance: np.random.Generator, stems: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return stems whose sum has a loudness that is drawn, and lies within ±1.

    One gain is common to all of them, so that the sum of the stems is the limited mix.
    """
    loud = _weighted_rms(stems.sum(axis=0))
    if loud == 0.0:
        return stems
    if happens(chance, 0.4):  # what engineers call glue
        stems = stems * effects.compressing(
            stems.sum(axis=0),
            threshold_db=between(chance, -6.0, 2.0),
            ratio=log_between(chance, 1.3, 4.0),
            release_s=log_between(chance, 0.03, 0.3),
        )
    target_db = between(chance, *_LOUDNESS_DB)
    stems = stems * np.float32(10.0 ** (target_db / 20.0) / loud)
    ceiling = between(chance, 0.8, 0.985)
    stems *= limiter_gain(stems.sum(axis=0), ceiling=ceiling)
    over = float(np.abs(stems.sum(axis=0)).max())
    return stems / np.float32(over) if over > 0.99 else stems


def _weighted_rms(mix: Sound) -> float:
    """Return about what a loudness meter sees: bass counts less, treble more (BS.1770, roughly)."""
    weighted = effects.filtered(
        mix, effects.passing(40.0, None), effects.shelf(1500.0, 4.0, high=True)
    )
    return math.sqrt(2.0) * _loud_where_it_plays(weighted)
