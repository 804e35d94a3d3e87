"""What a voice sings or raps: syllables with pitches, in lines with breaths between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.music.arrangement import Plan
from training.music.chance import between, happens, pick

VOWELS = ("a", "e", "i", "o", "u", "ae", "uh", "er")
CONSONANTS = (
    "s",
    "sh",
    "f",
    "h",
    "z",
    "v",
    "p",
    "t",
    "k",
    "b",
    "d",
    "g",
    "m",
    "n",
    "l",
    "r",
    "w",
    "y",
)
_CLOSED = 0.72  # of the time between two vowels that the second's consonant does not need


@dataclass(frozen=True)
class Syllable:
    """A consonant (or none, where one vowel glides into the next) and a vowel.

    The vowel begins at `start_s`, the consonant before it. `pitch` and `fall` are MIDI numbers:
    where it begins, and how far it sinks.
    """

    start_s: float
    length_s: float
    pitch: float
    fall: float
    velocity: float
    consonant: str
    vowel: str


def sung(
    chance: np.random.Generator, whole: Plan, plays: NDArray[np.bool_], *, lowest: int
) -> list[Syllable]:
    """Return a melody with words, in a register of an octave and a half from `lowest` on."""
    rhythms = [_rhythm(chance, whole.grid.steps_per_bar) for _ in range(3)]
    plain = happens(chance, 0.12)  # oohs and aahs
    vowel = pick(chance, VOWELS)
    at = int(chance.integers(2, 7))
    syllables = []
    for bar in np.flatnonzero(plays).tolist():
        steps = (
            rhythms[bar % len(rhythms)]
            if happens(chance, 0.8)
            else _rhythm(chance, whole.grid.steps_per_bar)
        )
        ends = [*steps[1:], whole.grid.steps_per_bar - (pick(chance, (0, 2, 4)) if bar % 2 else 0)]
        for number, (step, end) in enumerate(zip(steps, ends, strict=True)):
            at = _next(chance, at, whole.chords[bar], on_chord=number == 0)
            melts = plain or happens(chance, 0.14)
            syllables.append(
                Syllable(
                    start_s=whole.grid.time_s(bar, step) + float(chance.normal(0.0, 0.015)),
                    length_s=max(
                        0.06, (end - step) * whole.grid.step_s * between(chance, 0.75, 1.0)
                    ),
                    pitch=float(whole.key.pitch(at, lowest=lowest)),
                    fall=0.0,
                    velocity=between(chance, 0.6, 1.0),
                    consonant="" if melts else pick(chance, CONSONANTS),
                    vowel=vowel if plain else pick(chance, VOWELS),
                )
            )
    return _within(syllables, whole.seconds)


def rapped(
    chance: np.random.Generator, whole: Plan, plays: NDArray[np.bool_], *, lowest: int
) -> list[Syllable]:
    """Return the rhythm of speech on the grid; its pitch sinks through each line."""
    syllables = []
    fast = between(chance, 0.5, 1.0)
    for bar in np.flatnonzero(plays).tolist():
        top = lowest + between(chance, 4.0, 9.0)
        last = whole.grid.steps_per_bar - pick(chance, (0, 1, 2, 4))
        steps = [
            s
            for s in range(last)
            if s % 4 == 0 or happens(chance, fast if s % 2 == 0 else 0.6 * fast)
        ]
        for step, end in zip(steps, [*steps[1:], last], strict=True):
            accent = 2.0 if step % 4 == 0 else 0.0
            length_s = max(0.05, (end - step) * whole.grid.step_s * between(chance, 0.6, 0.95))
            syllables.append(
                Syllable(
                    start_s=whole.grid.time_s(bar, step) + float(chance.normal(0.0, 0.018)),
                    length_s=min(length_s, 0.4),
                    pitch=top - 4.0 * step / last + accent + float(chance.normal(0.0, 1.0)),
                    fall=between(chance, 1.0, 5.0),
                    velocity=between(chance, 0.5, 0.8) + 0.1 * accent,
                    consonant=pick(chance, CONSONANTS),
                    vowel=pick(chance, VOWELS),
                )
            )
    return _within(syllables, whole.seconds)


def _rhythm(chance: np.random.Generator, per_bar: int) -> list[int]:
    density = between(chance, 0.15, 0.85)
    start = pick(chance, (0, 0, 2, 4, per_bar // 2))
    weak = [0.15 * density, 0.9 * density, 0.15 * density, density]
    return [start, *[s for s in range(start + 1, per_bar) if happens(chance, weak[(s - 1) % 4])]]


def _next(chance: np.random.Generator, at: int, chord: int, *, on_chord: bool) -> int:
    """Return the next degree of a melody, mostly a step away."""
    if not on_chord:
        return int(np.clip(at + chance.choice([-3, -2, -1, -1, 0, 0, 1, 1, 2, 4]), 0, 10))
    near = [degree for degree in range(11) if (degree - chord) % 7 in (0, 2, 4)]
    return min(near, key=lambda degree: abs(degree - at))


def _within(syllables: list[Syllable], seconds: float) -> list[Syllable]:
    """Leave out what does not fit, and what would begin before the one before it has sounded."""
    kept: list[Syllable] = []
    for one in sorted(syllables, key=lambda syllable: syllable.start_s):
        free = not kept or one.start_s - kept[-1].start_s > 0.07
        if free and 0.15 < one.start_s < seconds - 0.05:
            kept.append(one)
    return [_cut(one, after) for one, after in zip(kept, [*kept[1:], None], strict=True)]


def _cut(one: Syllable, after: Syllable | None) -> Syllable:
    if after is None:
        return one
    room_s = after.start_s - one.start_s
    longest_s = room_s * (_CLOSED if after.consonant else 1.0) if room_s < 0.3 else room_s - 0.08
    if not after.consonant and room_s - one.length_s < 0.12:
        longest_s = room_s
    length_s = min(one.length_s, longest_s)
    return Syllable(
        one.start_s, length_s, one.pitch, one.fall, one.velocity, one.consonant, one.vowel
    )
