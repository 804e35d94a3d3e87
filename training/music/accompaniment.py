"""The notes of what accompanies: chords, arpeggios, riffs, melodies, pads and stabs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from training.music.arrangement import Plan
from training.music.chance import between, happens, pick
from training.music.patterns import sounding
from training.music.score import Note

# One bar: step, length in steps, and what is counted from the chord's root, in degrees.
_Cell: TypeAlias = list[tuple[float, float, tuple[int, ...]]]
_VOICINGS = (
    (0, 2, 4),
    (0, 2, 4),
    (0, 2, 4, 6),
    (2, 4, 7),
    (0, 4, 9),
    (4, 7, 9),
    (0, 4, 7, 9),
    (0, 2, 4, 8),
)


def part(
    chance: np.random.Generator, whole: Plan, plays: NDArray[np.bool_], role: str
) -> list[Note]:
    """Return the notes of one part, in the bars that play."""
    cells = [_ROLES[role](chance, whole.grid.steps_per_bar) for _ in range(2)]
    lowest = {"melody": 60, "pad": 48, "power": 38}.get(role, 50) + pick(chance, (-7, 0, 0, 5, 12))
    changes = pick(chance, (2, 4, 8))
    late_s, loose_s = 0.0, between(chance, 0.0, 0.01)
    strum_s = between(chance, 0.008, 0.03) if role == "strum" else 0.0
    notes = []
    for bar in np.flatnonzero(plays).tolist():
        for step, length, degrees in cells[bar // changes % 2]:
            late_s = float(chance.normal(0.0, loose_s))
            loud = between(chance, 0.55, 1.0)
            for number, degree in enumerate(degrees):
                pitch = _near(whole, bar, degree, lowest, role)
                start_s = whole.grid.time_s(bar, step) + late_s + number * strum_s
                notes.append(Note(start_s, length * whole.grid.step_s, pitch, loud))
    return sounding(notes, whole.seconds)


def _near(whole: Plan, bar: int, degree: int, lowest: int, role: str) -> int:
    """Return the pitch of a degree above the chord's root, within two octaves and a half."""
    if role == "power":  # root, fifth and octave, in no scale
        return whole.key.pitch(whole.chords[bar] % 7, lowest=lowest) + (0, 7, 12)[degree]
    pitch = whole.key.pitch(whole.chords[bar] % 7 + degree, lowest=lowest)
    while pitch > lowest + 30:
        pitch -= 12
    return min(pitch, 100)


def _chords(chance: np.random.Generator, per_bar: int) -> _Cell:
    voicing = pick(chance, _VOICINGS)
    density = between(chance, 0.05, 0.5)
    steps = [0, *[s for s in range(2, per_bar, 2) if happens(chance, density)]]
    if happens(chance, 0.2):  # off the beat, as in ska and house
        steps = list(range(2, per_bar, 4))
    held = pick(chance, (1.0, 1.0, 0.9, 0.5, 0.3))
    return _held([(step, voicing) for step in steps], per_bar, held)


def _pad(chance: np.random.Generator, per_bar: int) -> _Cell:
    voicing = pick(chance, _VOICINGS)
    return [(0, per_bar * between(chance, 0.9, 1.05), voicing)]


def _backing(chance: np.random.Generator, per_bar: int) -> _Cell:
    return [
        (0, per_bar * between(chance, 0.6, 1.0), pick(chance, ((0, 2, 4), (2, 4, 7), (4, 7, 9))))
    ]


def _stabs(chance: np.random.Generator, per_bar: int) -> _Cell:
    voicing = pick(chance, _VOICINGS)
    steps = [s for s in range(per_bar) if happens(chance, 0.14 if s % 2 else 0.2)] or [0]
    return [(step, between(chance, 0.5, 1.6), voicing) for step in steps]


def _arpeggio(chance: np.random.Generator, per_bar: int) -> _Cell:
    tones = pick(
        chance,
        (
            (0, 2, 4, 7),
            (0, 4, 7, 4),
            (0, 2, 4, 2),
            (7, 4, 2, 0),
            (0, 4, 9, 7, 4),
            (0, 2, 4, 6, 9, 7),
        ),
    )
    apart = pick(chance, (1, 2, 2, 3))
    held = pick(chance, (0.5, 0.9, 1.0, 2.0))
    steps = range(0, per_bar, apart)
    return [(s, apart * held, (tones[n % len(tones)],)) for n, s in enumerate(steps)]


def _riff(chance: np.random.Generator, per_bar: int) -> _Cell:
    steps = [0, *[s for s in range(1, per_bar) if happens(chance, 0.5 if s % 2 == 0 else 0.2)]]
    tones = [(pick(chance, (0, 0, 2, 4, 4, 6, 7, 3, 1)),) for _ in steps]
    return _held(list(zip(steps, tones, strict=True)), per_bar, pick(chance, (0.4, 0.8, 1.0)))


def _melody(chance: np.random.Generator, per_bar: int) -> _Cell:
    steps = [s for s in range(0, per_bar, 2) if happens(chance, 0.6 if s % 4 == 0 else 0.35)] or [0]
    at, tones = pick(chance, (0, 2, 4)), []
    for _ in steps:
        at = int(np.clip(at + chance.choice([-2, -1, -1, 1, 1, 2, 4]), -3, 11))
        tones.append((at,))
    return _held(list(zip(steps, tones, strict=True)), per_bar, between(chance, 0.7, 1.0))


def _power(chance: np.random.Generator, per_bar: int) -> _Cell:
    chugs = happens(chance, 0.5)
    steps = [
        0,
        *[
            s
            for s in range(1, per_bar)
            if happens(chance, (0.8 if chugs else 0.3) if s % 2 == 0 else 0.1)
        ],
    ]
    return _held([(step, (0, 1, 2)) for step in steps], per_bar, 0.4 if chugs else 0.95)


def _held(steps: list[tuple[int, tuple[int, ...]]], per_bar: int, held: float) -> _Cell:
    """Let each sound last a part of the time until the next."""
    ends = [*[step for step, _ in steps[1:]], per_bar]
    return [
        (step, (end - step) * held, tones) for (step, tones), end in zip(steps, ends, strict=True)
    ]


_Role: TypeAlias = Callable[[np.random.Generator, int], _Cell]
_ROLES: Mapping[str, _Role] = MappingProxyType(
    {
        "chords": _chords, "strum": _chords, "pad": _pad, "stabs": _stabs, "arpeggio": _arpeggio,
        "riff": _riff, "melody": _melody, "power": _power,
        "backing": _backing,
    }
)  # fmt: skip
ROLES = tuple(role for role in _ROLES if role != "backing")  # that one is sung
