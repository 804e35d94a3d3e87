"""Drums by synthesis: a kit is drawn for a song, each drum once loud and once soft."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from pipeline.music.synth import Sound, Wave, samples, stereo, times_of
from training.music import effects
from training.music.chance import between, happens, log_between
from training.music.tones import sweep

# Where the drums of a kit stand, from -1 to 1, as a listener before it hears them.
_PLACES = {
    "hat": 0.35, "open hat": 0.35, "ride": -0.45, "crash": -0.4, "low tom": -0.5, "tom": 0.0,
    "high tom": 0.45, "shaker": -0.55, "tambourine": 0.5, "cowbell": 0.3, "rim": -0.1,
    "conga": -0.3, "high conga": 0.3, "clap": 0.05,
}  # fmt: skip


@dataclass(frozen=True)
class Drum:
    """One drum of a kit: loud and soft."""

    loud: Sound
    soft: Sound


def kit(chance: np.random.Generator) -> Mapping[str, Drum]:
    """Draw the sounds of a kit: electronic or like real drums, near or far, dry or dirty."""
    electronic = happens(chance, 0.4)
    spread = between(chance, 0.0, 1.0) * (-1.0 if happens(chance, 0.4) else 1.0)
    dirt = log_between(chance, 1.0, 8.0) if happens(chance, 0.3) else 0.0
    return {
        name: _drum(make(chance, electronic), _PLACES.get(name, 0.0) * spread, dirt)
        for name, make in _MAKERS.items()
    }


def _drum(sound: Sound, place: float, dirt: float) -> Drum:
    if dirt:
        sound = effects.saturated(sound, drive=dirt)
    sound = effects.panned(sound / np.float32(max(1e-6, np.abs(sound).max())), place)
    return Drum(sound, effects.filtered(sound, effects.passing(None, 5000.0, order=1)))


def _kick(chance: np.random.Generator, electronic: bool) -> Sound:
    long = electronic and happens(chance, 0.4)
    fall = log_between(chance, 2.0, 4.5) if long else log_between(chance, 6.0, 16.0)
    length_s = min(1.2, 5.0 / fall)
    time_s = times_of(length_s)
    body = sweep(
        length_s,
        from_hz=log_between(chance, 110.0, 420.0),
        to_hz=log_between(chance, 38.0, 72.0),
        rate=log_between(chance, 18.0, 90.0),
    )
    click = chance.uniform(-1.0, 1.0, time_s.size) * np.exp(
        -time_s * log_between(chance, 250, 1500)
    )
    drive = log_between(chance, 0.5, 4.0)
    wave = np.tanh(drive * body * np.exp(-time_s * fall)) / np.tanh(drive)
    return stereo(wave + between(chance, 0.02, 0.45) * click)


def _snare(chance: np.random.Generator, electronic: bool) -> Sound:
    length_s = between(chance, 0.18, 0.5)
    time_s = times_of(length_s)
    hz = log_between(chance, 145.0, 270.0)
    head = sweep(length_s, from_hz=hz * between(chance, 1.1, 1.9), to_hz=hz, rate=55.0)
    ring = sweep(length_s, from_hz=2.0 * hz, to_hz=hz * between(chance, 1.5, 2.3), rate=70.0)
    body = (head + between(chance, 0.1, 0.7) * ring) * np.exp(-time_s * log_between(chance, 14, 45))
    low_hz, high_hz = log_between(chance, 500.0, 2500.0), log_between(chance, 6500.0, 15_000.0)
    wires = _noise(chance, time_s.size, low_hz, high_hz, width=between(chance, 0.0, 0.6))
    wires *= np.exp(-time_s * log_between(chance, 9.0, 32.0))
    if electronic and happens(chance, 0.4):
        wires *= time_s < between(chance, 0.08, 0.2)
    tone = between(chance, 0.25, 0.9)
    return _two(tone * body + wires)


def _clap(chance: np.random.Generator, electronic: bool) -> Sound:
    time_s = times_of(between(chance, 0.15, 0.4))
    hands = np.exp(-time_s * log_between(chance, 12.0, 35.0)) * 0.6
    for number in range(int(chance.integers(2, 5))):
        since = time_s - number * between(chance, 0.008, 0.014)
        hands += np.where(since >= 0.0, np.exp(-np.maximum(since, 0.0) * 190.0), 0.0)
    centre = log_between(chance, 900.0, 2200.0)
    return _two(_noise(chance, time_s.size, 0.55 * centre, 4.5 * centre, width=0.5) * hands)


def _metal(chance: np.random.Generator, length: int, low_hz: float) -> Wave:
    """Return six clashing square waves, as in the cymbals of drum machines, and some noise."""
    base = log_between(chance, 180.0, 460.0)
    ratios = np.array([1.0, 1.342, 1.2312, 1.6532, 1.9523, 2.1523]) * chance.uniform(0.96, 1.04, 6)
    time_s = np.arange(length) / 44_100.0
    squares = np.sign(np.sin(2.0 * np.pi * base * ratios[:, np.newaxis] * time_s)).sum(axis=0) / 3.0
    noise = chance.standard_normal((2, length)) * between(chance, 0.3, 1.5)
    mixed = (noise + squares * between(chance, 0.05, 1.0)).astype(np.float32)
    top_hz = log_between(chance, 11_000.0, 19_000.0)
    return effects.filtered(mixed, effects.passing(low_hz, top_hz)).astype(np.float64)


def _hat(chance: np.random.Generator, electronic: bool) -> Sound:
    fall = log_between(chance, 28.0, 120.0)
    time_s = times_of(min(0.25, 6.0 / fall))
    return _two(
        _metal(chance, time_s.size, log_between(chance, 4500, 9000)) * np.exp(-time_s * fall)
    )


def _open_hat(chance: np.random.Generator, electronic: bool) -> Sound:
    fall = log_between(chance, 4.0, 14.0)
    time_s = times_of(min(0.9, 4.0 / fall))
    return _two(
        _metal(chance, time_s.size, log_between(chance, 4000, 8000)) * np.exp(-time_s * fall)
    )


def _ride(chance: np.random.Generator, electronic: bool) -> Sound:
    time_s = times_of(1.1)
    wash = _metal(chance, time_s.size, log_between(chance, 2500, 6000))
    wash *= 0.35 * np.exp(-time_s * between(chance, 2.0, 5.0)) + np.exp(-time_s * 60.0)
    pings = [log_between(chance, 2200.0, 6500.0) for _ in range(4)]
    bell = sum(np.sin(2.0 * np.pi * hz * time_s) for hz in pings) * np.exp(-time_s * 12.0)
    return _two(wash + between(chance, 0.02, 0.2) * bell)


def _crash(chance: np.random.Generator, electronic: bool) -> Sound:
    time_s = times_of(between(chance, 1.2, 2.4))
    wash = _metal(chance, time_s.size, log_between(chance, 1200, 4000))
    return _two(
        wash * np.exp(-time_s * between(chance, 1.8, 4.0)) * (1.0 - np.exp(-time_s * 400.0))
    )


def _tom_at(low_hz: float, high_hz: float) -> Callable[[np.random.Generator, bool], Sound]:
    def tom(chance: np.random.Generator, electronic: bool) -> Sound:
        length_s = between(chance, 0.3, 0.7)
        time_s = times_of(length_s)
        hz = log_between(chance, low_hz, high_hz)
        bend = between(chance, 1.2, 3.0 if electronic else 1.6)
        body = sweep(length_s, from_hz=bend * hz, to_hz=hz, rate=log_between(chance, 8.0, 40.0))
        slap = _noise(chance, time_s.size, 800.0, 6000.0, width=0.0)[0] * np.exp(-time_s * 90.0)
        body *= np.exp(-time_s * log_between(chance, 6.0, 15.0))
        return stereo(body + between(chance, 0.05, 0.5) * slap)

    return tom


def _shaker(chance: np.random.Generator, electronic: bool) -> Sound:
    time_s = times_of(0.16)
    swell = (time_s / 0.03) * np.exp(1.0 - time_s / between(chance, 0.015, 0.035))
    return _two(
        _noise(chance, time_s.size, log_between(chance, 3500, 7000), 15_000.0, width=0.2) * swell
    )


def _tambourine(chance: np.random.Generator, electronic: bool) -> Sound:
    time_s = times_of(0.3)
    jingles = np.exp(-time_s * between(chance, 14.0, 28.0))
    return _two(_metal(chance, time_s.size, log_between(chance, 5500, 9000)) * jingles)


def _rim(chance: np.random.Generator, electronic: bool) -> Sound:
    time_s = times_of(0.09)
    tones = np.sin(2.0 * np.pi * log_between(chance, 1400.0, 2300.0) * time_s)
    tones += 0.6 * np.sin(2.0 * np.pi * log_between(chance, 380.0, 800.0) * time_s)
    return stereo(np.tanh(2.0 * tones) * np.exp(-time_s * log_between(chance, 50.0, 130.0)))


def _cowbell(chance: np.random.Generator, electronic: bool) -> Sound:
    time_s = times_of(0.35)
    hz = log_between(chance, 480.0, 640.0)
    squares = np.sign(np.sin(2.0 * np.pi * hz * time_s)) + np.sign(
        np.sin(2.96 * np.pi * hz * time_s)
    )
    squares *= np.exp(-time_s * 12.0) + np.exp(-time_s * 70.0)
    return effects.filtered(stereo(squares), effects.passing(hz, 4500.0, order=1))


def _noise(
    chance: np.random.Generator, length: int, low_hz: float, high_hz: float, *, width: float
) -> Wave:
    """Return noise of a band, shape `(2, length)`; `width` 1 is another noise on each side."""
    white = chance.standard_normal((2, length))
    white[1] = (1.0 - width) * white[0] + width * white[1]
    band = effects.passing(low_hz, min(high_hz, 20_000.0), order=1)
    return effects.filtered(white.astype(np.float32), band).astype(np.float64)


def _two(wave: Wave) -> Sound:
    return stereo(wave[0], wave[1])


_Maker: TypeAlias = Callable[[np.random.Generator, bool], Sound]
_MAKERS: Mapping[str, _Maker] = MappingProxyType(
    {
        "kick": _kick, "snare": _snare, "clap": _clap, "hat": _hat, "open hat": _open_hat,
        "ride": _ride, "crash": _crash, "low tom": _tom_at(65.0, 95.0), "tom": _tom_at(95.0, 140.0),
        "high tom": _tom_at(130.0, 210.0), "shaker": _shaker, "tambourine": _tambourine,
        "rim": _rim, "cowbell": _cowbell, "conga": _tom_at(170.0, 240.0),
        "high conga": _tom_at(250.0, 380.0),
    }
)  # fmt: skip
DRUMS = tuple(_MAKERS)

_CHOKED_S = 0.02


def played(hits: list[tuple[float, str, float]], kit_of: Mapping[str, Drum], length: int) -> Sound:
    """Play strokes `(start_s, drum, velocity)`; a closed hat ends an open one.

    Returns a sound of shape `(2, length)`.
    """
    track = np.zeros((2, length), np.float32)
    closes = np.array([start for start, drum, _ in hits if drum == "hat"] or [1e9])
    for start_s, drum, velocity in hits:
        sounds = kit_of[drum]
        sound = (
            sounds.loud * np.float32(velocity)
            if velocity > 0.55
            else sounds.soft * np.float32(velocity)
        )
        if drum == "open hat":
            later = closes[closes > start_s]
            sound = _choked(sound, float(later.min()) - start_s if later.size else 9.0)
        start = samples(start_s)
        end = min(length, start + sound.shape[1])
        track[:, start:end] += sound[:, : end - start]
    return track


def _choked(sound: Sound, after_s: float) -> Sound:
    if samples(after_s) >= sound.shape[1]:
        return sound
    time_s = np.arange(sound.shape[1]) / 44_100.0
    return sound * np.exp(-np.maximum(time_s - after_s, 0.0) / _CHOKED_S).astype(np.float32)
