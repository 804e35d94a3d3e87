"""Oscillators and strings: what pitched instruments are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeAlias

import numpy as np

from pipeline.music.synth import RATE_HZ, Wave, times_of

_TABLE = 2048
_TOP_HZ = 15_000.0


def harmonics_below(hz: float, top_hz: float = _TOP_HZ) -> int:
    """Return how many harmonics of a pitch lie below a frequency, at least 1."""
    return max(1, int(top_hz / hz))


def oscillate(cycles: Wave, shape: str, harmonics: int) -> Wave:
    """Read a wave of at most so many harmonics, so that none folds back, at phases in cycles."""
    table = _table(shape, _rounded(harmonics))
    place = (cycles - np.floor(cycles)) * _TABLE
    before = place.astype(np.intp)
    low = table[before]
    wave: Wave = low + (place - before) * (table[before + 1] - low)
    return wave


def _rounded(harmonics: int) -> int:
    """Return few different numbers, so that few tables are made."""
    return harmonics if harmonics < 12 else 4 * (harmonics // 4) if harmonics < 64 else 64


_Heights: TypeAlias = Callable[[Wave], Wave]


@cache
def _table(shape: str, harmonics: int) -> Wave:
    orders = np.arange(1.0, harmonics + 1)
    heights = _HEIGHTS[shape](orders) * np.sinc(orders / (harmonics + 1))
    turn = 2.0 * np.pi * np.arange(_TABLE + 1) / _TABLE
    table: Wave = (heights[:, np.newaxis] * np.sin(orders[:, np.newaxis] * turn)).sum(axis=0)
    table /= np.abs(table).max()
    return table


_HEIGHTS: Mapping[str, _Heights] = {
    "saw": lambda order: 1.0 / order,
    "square": lambda order: (order % 2) / order,
    "triangle": lambda order: (order % 2) * np.cos(np.pi * (order - 1.0) / 2.0) / order**2,
    "pulse": lambda order: np.sin(np.pi * order * 0.22) / order,
    "dark": lambda order: 1.0 / order**2,
    "organ": lambda order: np.isin(order, (1, 2, 3, 4, 6, 8)) / np.sqrt(order),
    "full organ": lambda order: (
        np.isin(order, (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)) * np.ones_like(order)
    ),
    "reed": lambda order: np.exp(-((order - 4.0) ** 2) / 30.0) + (order == 1),
}


def ringing(hz: float, length_s: float, *, heights: Wave, decays_s: Wave, phases: Wave) -> Wave:
    """Return decaying harmonics, as of a string: one height, decay and phase for each.

    Each period is made from its own spectrum, all periods at once.
    """
    orders = heights.size
    size = 4 << int(orders).bit_length()
    periods = int(length_s * hz) + 2
    fall = np.exp(-np.arange(periods)[:, np.newaxis] / (hz * decays_s))
    spectrum = np.zeros((periods, size // 2 + 1), np.complex128)
    spectrum[:, 1 : orders + 1] = fall * (heights * np.exp(1j * phases) * size / 2.0)
    wave = np.fft.irfft(spectrum, axis=1).ravel()
    place = times_of(length_s) * (hz * size)
    return np.interp(place, np.arange(wave.size), wave)


def string(
    hz: float,
    length_s: float,
    chance: np.random.Generator,
    *,
    pick_at: float,
    bright: float,
    decay_s: float,
) -> Wave:
    """Return a plucked string, peak near 1; `bright` from 0 to 1, plucked at a part of its length."""
    orders = np.arange(1, min(90, harmonics_below(hz, 12_000.0)) + 1)
    heights = np.abs(np.sin(np.pi * orders * pick_at)) / orders ** (1.7 - bright)
    heights *= chance.uniform(0.7, 1.3, orders.size)
    decays_s = decay_s / (1.0 + (orders / (3.0 + 14.0 * bright)) ** 1.4)
    phases = chance.uniform(-0.6, 0.6, orders.size)
    wave = ringing(hz, length_s, heights=heights, decays_s=decays_s, phases=phases)
    wave /= max(1e-9, float(np.abs(wave).max()))
    return wave


def sweep(length_s: float, *, from_hz: float, to_hz: float, rate: float) -> Wave:
    """Return a sine that falls from one frequency to another, `rate` times 1/e a second."""
    time_s = times_of(length_s)
    cycles = to_hz * time_s + (from_hz - to_hz) / rate * (1.0 - np.exp(-rate * time_s))
    wave: Wave = np.sin(2.0 * np.pi * cycles)
    return wave


def smoothed_noise(
    chance: np.random.Generator, length: int, *, rate_hz: float, per_s: float = RATE_HZ
) -> Wave:
    """Return slow noise of deviation near 1, `length` values of `per_s` a second."""
    knots = int(length / per_s * rate_hz) + 3
    values = chance.standard_normal(knots)
    slow: Wave = np.interp(np.arange(length) * rate_hz / per_s, np.arange(knots), values)
    return slow
