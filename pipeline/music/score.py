"""What a piece of music is on paper: its true tempo, key and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STEMS = ("drums", "bass", "other", "vocals")


@dataclass(frozen=True)
class Note:
    """One pitch (MIDI number) from a beat on, for some beats."""

    start_beats: float
    length_beats: float
    pitch: int


@dataclass(frozen=True)
class Hit:
    """One stroke of a drum, velocity in (0, 1]."""

    start_beats: float
    drum: str
    velocity: float


@dataclass(frozen=True)
class Part:
    """What one voice plays, and the stem it belongs to."""

    voice: str
    stem: str
    level: float
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Piece:
    """A score with its true tempo, key and times; `file_name` decides the format.

    `gain_db` was chosen for -16 LUFS. `duck` is how far every kick pushes the parts of the stem
    `other` down, in [0, 1].
    """

    file_name: str
    key: str
    tempo_bpm: float
    beats: int
    beats_per_bar: int
    hits: tuple[Hit, ...]
    parts: tuple[Part, ...]
    seed: int
    gain_db: float
    room_s: float
    duck: float = 0.0

    @property
    def duration_s(self) -> float:
        """Length of the recording: the score, and two seconds in which it dies away."""
        return self.time_s(self.beats) + 2.0

    def time_s(self, beats: float) -> float:
        """Return when a beat sounds."""
        return beats * 60.0 / self.tempo_bpm

    def onsets_s(self, drum: str) -> list[float]:
        """Return when a drum is struck, ascending."""
        return sorted(self.time_s(hit.start_beats) for hit in self.hits if hit.drum == drum)

    def all_onsets_s(self) -> list[float]:
        """Return when anything begins to sound, ascending, each time once."""
        notes = (note.start_beats for part in self.parts for note in part.notes)
        return sorted({self.time_s(beat) for beat in (*notes, *(h.start_beats for h in self.hits))})

    def beats_s(self) -> list[float]:
        """Return when each beat is, ascending."""
        return [self.time_s(beat) for beat in range(self.beats)]


# How scores are written.


def pitch_of(name: str) -> int:
    """Return the MIDI number of a name such as `Bb3`; `C4` is 60."""
    step = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[name[0]]
    return step + name.count("#") - name.count("b") + 12 * (int(name[-1]) + 1)


def part(
    voice: str, stem: str, level: float, text: str, *, start_beats: float = 0.0, unit: float = 1.0
) -> Part:
    """Read notes one after another: `A4` lasts a unit, `A3+C4:1.5` is a chord, `-` a rest."""
    notes = []
    for names, _, length in (word.partition(":") for word in text.split()):
        beats = float(length or 1.0) * unit
        pitches = [] if names == "-" else [pitch_of(name) for name in names.split("+")]
        notes += [Note(start_beats, beats, pitch) for pitch in pitches]
        start_beats += beats
    return Part(voice, stem, level, tuple(notes))


_STROKES = {"x": 1.0, "o": 0.45}


def drums(
    bars: int, rows: Mapping[str, str], *, start_beats: float = 0.0, swing: float = 0.0
) -> list[Hit]:
    """Repeat a bar of sixteenths, `x` loud, `o` soft, every second one late by `swing` of one."""
    return [
        Hit(
            start_beats + (bar * len(row) + step + swing * (step % 2)) / 4.0,
            drum,
            _STROKES[stroke],
        )
        for drum, row in rows.items()
        for bar in range(bars)
        for step, stroke in enumerate(row)
        if stroke in _STROKES
    ]
