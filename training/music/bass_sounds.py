"""Basses by synthesis: one line, so that its pitch can glide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from scipy import signal

from pipeline.music.synth import RATE_HZ, Sound, Wave, samples, stereo
from training.music import effects
from training.music.chance import between, happens, log_between, pick
from training.music.score import Note
from training.music.tones import oscillate, string

_HARMONICS = 48  # 48 of G3 lie below 9.5 kHz


@dataclass(frozen=True)
class _Line:
    """Curves over the song, each of shape `(samples,)`."""

    cycles: Wave
    since_s: Wave  # since the note began
    level: Wave


def bass(chance: np.random.Generator, notes: Sequence[Note], length: int) -> Sound:
    """Play a line of notes with a bass that is drawn, shape `(2, length)`."""
    kind = pick(chance, tuple(_KINDS))
    wave = _KINDS[kind](chance, notes, length)
    sound = stereo(wave)
    if happens(chance, 0.3):
        sound = effects.saturated(
            sound, drive=log_between(chance, 1.0, 12.0), bias=between(chance, 0, 0.4)
        )
    return effects.filtered(sound, effects.passing(None, log_between(chance, 900.0, 9000.0)))


def _line(
    chance: np.random.Generator, notes: Sequence[Note], length: int, *, glide_s: float
) -> _Line:
    pitch, since_s, gate = np.zeros(length), np.full(length, 9.0), np.zeros(length)
    at = 0
    for note in notes:
        start, end = samples(note.start_s), min(length, samples(note.start_s + note.length_s))
        pitch[at:] = note.pitch
        since_s[start:] = np.arange(length - start) / RATE_HZ
        gate[start:end] = note.velocity
        gate[end:] = 0.0
        at = start + 1
        pitch[at:] = note.pitch
    keep = np.exp(-1.0 / (RATE_HZ * max(glide_s, 1e-4)))
    first = np.array([pitch[0] * keep])
    smooth, _ = signal.lfilter([1.0 - keep], [1.0, -keep], pitch, zi=first)
    cycles = np.cumsum(440.0 / RATE_HZ * 2.0 ** ((np.asarray(smooth) - 69.0) / 12.0))
    fade = np.exp(-1.0 / (RATE_HZ * between(chance, 0.006, 0.03)))
    level = np.asarray(signal.lfilter([1.0 - fade], [1.0, -fade], gate), np.float64)
    return _Line(cycles, since_s, level)


def _glide(chance: np.random.Generator) -> float:
    return log_between(chance, 0.01, 0.09) if happens(chance, 0.4) else 0.001


def _sine(chance: np.random.Generator, notes: Sequence[Note], length: int) -> Wave:
    """An 808: a sine with a knock, gliding, often driven."""
    line = _line(chance, notes, length, glide_s=_glide(chance))
    knock = between(chance, 0.0, 1.5) * np.exp(-line.since_s * log_between(chance, 15.0, 60.0))
    body = np.sin(2.0 * np.pi * (line.cycles + knock)) * np.exp(
        -line.since_s * between(chance, 0.2, 3.0)
    )
    drive = log_between(chance, 0.4, 5.0)
    wave: Wave = np.tanh(drive * body) / np.tanh(drive) * line.level
    return wave


def _analogue(chance: np.random.Generator, notes: Sequence[Note], length: int) -> Wave:
    """A saw, square or pulse whose brightness closes over each note, over a sine."""
    line = _line(chance, notes, length, glide_s=_glide(chance))
    shape = pick(chance, ("saw", "square", "pulse", "saw"))
    closing = np.exp(-line.since_s * log_between(chance, 2.0, 25.0))
    bright = between(chance, 0.0, 0.5) + between(chance, 0.2, 0.5) * closing
    full = oscillate(line.cycles, shape, _HARMONICS)
    dull = oscillate(line.cycles, shape, int(chance.integers(2, 7)))
    if happens(chance, 0.35):  # two that beat
        full = 0.5 * (
            full + oscillate(line.cycles * between(chance, 1.003, 1.012), shape, _HARMONICS)
        )
    sub = between(chance, 0.4, 1.4) * np.sin(2.0 * np.pi * line.cycles)
    wave: Wave = (bright * full + (1.0 - bright) * dull + sub) * line.level
    return wave


def _modulated(chance: np.random.Generator, notes: Sequence[Note], length: int) -> Wave:
    """Frequency modulation: hard at the beginning of a note, then round."""
    line = _line(chance, notes, length, glide_s=_glide(chance))
    turn = 2.0 * np.pi * line.cycles
    index = between(chance, 0.3, 0.9) + between(chance, 0.3, 2.2) * np.exp(
        -line.since_s * log_between(chance, 4, 25)
    )
    wave: Wave = np.sin(turn + index * np.sin(pick(chance, (1.0, 2.0, 3.0)) * turn))
    wave *= line.level * (0.5 + 0.5 * np.exp(-line.since_s * 2.0))
    return wave


def _fretless(chance: np.random.Generator, notes: Sequence[Note], length: int) -> Wave:
    """A warm string that slides, with some vibrato."""
    line = _line(chance, notes, length, glide_s=between(chance, 0.02, 0.06))
    late = np.clip(line.since_s - 0.15, 0.0, 0.4)
    rate_hz = between(chance, 4.5, 6.0)
    cycles = line.cycles + 0.2 * late * np.sin(2.0 * np.pi * rate_hz * np.arange(length) / RATE_HZ)
    warm = oscillate(cycles, "saw", 5) + 0.7 * np.exp(-line.since_s * 7.0) * oscillate(
        cycles, "saw", 16
    )
    wave: Wave = (
        warm * line.level * np.exp(-line.since_s * 1.2) * (1.0 - np.exp(-line.since_s * 90.0))
    )
    return wave


def _picked(chance: np.random.Generator, notes: Sequence[Note], length: int) -> Wave:
    """Strings under a plectrum, fingers or a thumb."""
    pick_at, bright = between(chance, 0.06, 0.3), between(chance, 0.2, 0.95)
    decay_s = log_between(chance, 0.4, 2.5)
    track = np.zeros(length)
    made: dict[tuple[int, float], Wave] = {}
    for note in notes:
        key = (note.pitch, round(note.length_s, 2))
        if key not in made:
            hz = 440.0 * 2.0 ** ((note.pitch - 69) / 12.0)
            made[key] = string(
                hz, note.length_s + 0.06, chance, pick_at=pick_at, bright=bright, decay_s=decay_s
            )
            tail = samples(0.06)
            made[key][-tail:] *= np.linspace(1.0, 0.0, tail)
        start = samples(note.start_s)
        end = min(length, start + made[key].size)
        track[start:end] += note.velocity * made[key][: end - start]
    return track


_Kind: TypeAlias = Callable[[np.random.Generator, Sequence[Note], int], Wave]
_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "sine": _sine,
        "analogue": _analogue,
        "modulated": _modulated,
        "fretless": _fretless,
        "picked": _picked,
        "fingered": _picked,
    }
)
