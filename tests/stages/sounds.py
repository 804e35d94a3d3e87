"""Sounds whose answers are known on paper."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.music.compose import compose
from pipeline.music.render import master, render
from stages.audio import Audio

RATE_HZ = 44_100


def tone(hz: float, *, seconds: float = 3.0, level: float = 0.4, rate_hz: int = RATE_HZ) -> Audio:
    """A sine in two channels."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return stereo(level * np.sin(2 * np.pi * hz * times), rate_hz=rate_hz)


def chord(pitches: Sequence[int], *, seconds: float = 3.0) -> NDArray[np.float64]:
    """Notes by their MIDI numbers, four harmonics each."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    waves = [
        np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * order * times) / order**2
        for pitch in pitches
        for order in (1, 2, 3, 4)
    ]
    summed: NDArray[np.float64] = 0.3 * np.sum(waves, axis=0) / len(pitches)
    return summed


def clicks(times_s: Sequence[float], *, seconds: float) -> Audio:
    """Short bursts of noise at known times."""
    samples = np.zeros(round(seconds * RATE_HZ))
    burst = np.random.default_rng(0).uniform(-0.8, 0.8, 800) * np.exp(-np.arange(800) / 120)
    for time_s in times_s:
        start = round(time_s * RATE_HZ)
        samples[start : start + burst.size] += burst[: samples.size - start]
    return stereo(samples)


def noise(*, seconds: float = 3.0, seed: int = 0) -> Audio:
    """White noise, alike in both channels."""
    return stereo(np.random.default_rng(seed).uniform(-0.4, 0.4, round(seconds * RATE_HZ)))


@cache
def _mix(seed: int) -> NDArray[np.float32]:
    return master(render(compose(seed)))


def song(seed: int = 1, *, seconds: float = 8.0) -> Audio:
    """The beginning of a song of the generator, with no view made of it yet."""
    mix = _mix(seed)
    return Audio(np.ascontiguousarray(mix[:, : round(seconds * RATE_HZ)]), RATE_HZ)


def stereo(mono: NDArray[np.floating], *, rate_hz: int = RATE_HZ) -> Audio:
    """The same in two channels."""
    return Audio(np.stack([mono, mono]).astype(np.float32), rate_hz)


def scaled(audio: Audio, gain: float) -> Audio:
    """The same, louder or softer."""
    return Audio((audio.samples * np.float32(gain)).astype(np.float32), audio.sample_rate_hz)
