"""Songs from a seed: drums, bass, chords, a lead and a voice, with true tempo, key and times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.music.score import Note, Part, Piece, drums

_TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}

# Chords a bar, as degrees of the scale from 0: what songs in a major or a minor key often do.
_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (5, 3, 0, 4), (0, 3, 0, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 3, 6, 2), (0, 5, 3, 4)),
}
# Sixteenths of a bar, as `drums` reads them.
_DRUMS = (
    {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
    {"kick": "x...x...x...x...", "snare": "....x.......x...", "open hat": "..o...o...o...o."},
    {"kick": "x.....x...x.....", "snare": "....x.......x..o", "hat": "xoooxoooxoooxooo"},
    {"kick": "x.........x.....", "snare": "........x.......", "hat": "x...o...x...o..."},
    {"kick": "x..x..x.x..x..x.", "snare": "....x.......x...", "hat": "..x...x...x...x."},
)
# Start and length in beats, and the step of the chord that sounds: 0 its root, 1 its fifth, 2 the octave.
_BASSES = (
    ((0.0, 1.5, 0), (1.5, 0.5, 0), (2.0, 1.0, 1), (3.0, 1.0, 2)),
    ((0.0, 2.0, 0), (2.0, 2.0, 1)),
    tuple((beat / 2.0, 0.5, 2 * (beat % 2)) for beat in range(8)),
    ((0.0, 0.75, 0), (0.75, 0.75, 0), (1.5, 1.0, 1), (2.5, 1.5, 0)),
)
_COMPS = (
    ((0.0, 4.0),),
    ((0.0, 2.5), (2.5, 1.5)),
    ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0)),
    ((0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (3.5, 0.5)),
)
_LINES = (
    ((0.0, 1.0), (1.0, 0.5), (1.5, 0.5), (2.0, 1.5)),
    ((0.0, 1.5), (1.5, 0.5), (2.0, 1.0), (3.0, 1.0)),
    ((0.5, 0.5), (1.0, 0.5), (1.5, 0.5), (2.0, 2.0)),
    ((0.0, 0.5), (0.5, 0.5), (1.0, 1.0), (2.0, 0.75), (2.75, 1.25)),
    ((0.0, 2.0), (2.0, 2.0)),
)
_BEATS_PER_BAR = 4

Given = TypeVar("Given")


@dataclass(frozen=True)
class _Key:
    tonic: int  # pitch class, C is 0
    mode: str

    def pitch(self, degree: int, *, lowest: int) -> int:
        """Return the MIDI number of a degree; degree 0 is the first tonic from `lowest` on."""
        octave, step = divmod(degree, 7)
        base = lowest + (self.tonic - lowest) % 12
        return base + 12 * octave + _SCALES[self.mode][step]


def compose(seed: int, *, bars: int = 8, file_name: str | None = None) -> Piece:
    """Return the song of a seed: the same each time, another one for each.

    The first bar is without the voice and the last note is the tonic, on the beat after the bars.
    """
    chance = np.random.default_rng(seed)
    mode = str(chance.choice(["major", "minor"]))
    key = _Key(int(chance.integers(12)), mode)
    chords = [_choice(chance, _PROGRESSIONS[mode]) for _ in range(2)]
    degrees = [chords[bar // 4 % 2][bar % 4] for bar in range(bars)]
    beats = bars * _BEATS_PER_BAR + 1
    pattern = _choice(chance, _DRUMS)
    swing = float(chance.choice([0.0, 0.0, 0.3]))
    return Piece(
        file_name=file_name or f"Song {seed:04}.flac",
        key=f"{_TONICS[key.tonic]} {mode}",
        tempo_bpm=float(chance.integers(72, 156)),
        beats=beats,
        beats_per_bar=_BEATS_PER_BAR,
        hits=(
            *drums(bars, pattern, swing=swing),
            *drums(1, {"kick": "x", "open hat": "o"}, start_beats=beats - 1.0),
        ),
        parts=(
            _bass(chance, key, degrees),
            _comp(chance, key, degrees),
            _line(chance, key, degrees, voice=str(chance.choice(["flute", "saw lead"])), stem="other",
                  level=0.3, lowest=72, from_bar=bars // 2, to_bar=bars),
            *_sung(_line(chance, key, degrees, voice="", stem="vocals", level=0.9, lowest=52,
                         from_bar=1, to_bar=bars), chance),
        ),
        seed=seed,
        gain_db=float(np.round(chance.uniform(-13.0, -9.0), 1)),
        room_s=float(np.round(chance.uniform(0.8, 2.0), 2)),
        duck=float(chance.choice([0.0, 0.0, 0.5])),
    )  # fmt: skip


def _choice(chance: np.random.Generator, given: Sequence[Given]) -> Given:
    return given[int(chance.integers(len(given)))]


def _bar(bar: int) -> float:
    return float(bar * _BEATS_PER_BAR)


def _bass(chance: np.random.Generator, key: _Key, degrees: Sequence[int]) -> Part:
    voice = str(chance.choice(["round bass", "saw bass"]))
    pattern = _choice(chance, _BASSES)
    notes = []
    for bar, degree in enumerate(degrees):
        root = key.pitch(degree % 7, lowest=31)
        for start, length, step in pattern:
            pitch = (root, key.pitch(degree % 7 + 4, lowest=31), root + 12)[step]
            notes.append(Note(_bar(bar) + start, length, pitch))
    notes.append(Note(_bar(len(degrees)), 1.0, key.pitch(0, lowest=31)))
    return Part(voice, "bass", 0.42, tuple(notes))


def _comp(chance: np.random.Generator, key: _Key, degrees: Sequence[int]) -> Part:
    voice = str(chance.choice(["keys", "pad", "pluck"]))
    pattern = _choice(chance, _COMPS)
    notes = []
    for bar, degree in enumerate(degrees):
        for start, length in pattern:
            notes += [Note(_bar(bar) + start, length, pitch) for pitch in _triad(key, degree)]
    notes += [Note(_bar(len(degrees)), 1.0, pitch) for pitch in _triad(key, 0)]
    return Part(voice, "other", {"keys": 0.26, "pad": 0.14, "pluck": 0.32}[voice], tuple(notes))


def _triad(key: _Key, degree: int) -> Iterable[int]:
    """Return a chord within the octave and a half from F3 on."""
    for step in (0, 2, 4):
        pitch = key.pitch(degree + step, lowest=53)
        yield pitch - 12 if pitch > 70 else pitch


def _line(
    chance: np.random.Generator,
    key: _Key,
    degrees: Sequence[int],
    *,
    voice: str,
    stem: str,
    level: float,
    lowest: int,
    from_bar: int,
    to_bar: int,
) -> Part:
    """Walk through the scale in small steps; a bar begins on a note of its chord."""
    at = 4
    notes = []
    for bar in range(from_bar, to_bar):
        for number, (start, length) in enumerate(_choice(chance, _LINES)):
            at = _next(chance, at, degrees[bar], on_chord=number == 0)
            # A little short, so that the same pitch twice is two notes.
            notes.append(Note(_bar(bar) + start, 0.92 * length, key.pitch(at, lowest=lowest)))
    notes.append(Note(_bar(to_bar), 1.0, key.pitch(7 if at > 3 else 0, lowest=lowest)))
    return Part(voice, stem, level, tuple(notes))


def _next(chance: np.random.Generator, at: int, chord: int, *, on_chord: bool) -> int:
    if not on_chord:
        return int(np.clip(at + chance.choice([-2, -1, -1, 1, 1, 2]), 0, 10))
    near = [degree for degree in range(11) if (degree - chord) % 7 in (0, 2, 4)]
    return min(near, key=lambda degree: (abs(degree - at), degree))


def _sung(line: Part, chance: np.random.Generator) -> list[Part]:
    """Give each note of a line a vowel; a part for each vowel."""
    vowels = [str(chance.choice(list("aeiou"))) for _ in line.notes]
    return [
        Part(f"voice {vowel}", line.stem, line.level, notes)
        for vowel in "aeiou"
        if (notes := tuple(n for n, v in zip(line.notes, vowels, strict=True) if v == vowel))
    ]
