"""What a song is on paper: notes and strokes in seconds, and the grid and key they come from."""

from __future__ import annotations

from dataclasses import dataclass

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
}


@dataclass(frozen=True)
class Note:
    """One pitch (MIDI number), velocity in (0, 1]."""

    start_s: float
    length_s: float
    pitch: int
    velocity: float


@dataclass(frozen=True)
class Hit:
    """One stroke of a drum, velocity in (0, 1]."""

    start_s: float
    drum: str
    velocity: float


@dataclass(frozen=True)
class Grid:
    """Bars of sixteenths; `origin_s` is when the first begins, not after 0."""

    tempo_bpm: float
    steps_per_bar: int
    steps_per_beat: int
    bars: int
    origin_s: float
    swing: float

    @property
    def step_s(self) -> float:
        """Length of a sixteenth."""
        return 15.0 / self.tempo_bpm

    def time_s(self, bar: int, step: float) -> float:
        """Return when a step of a bar sounds; every second one is late by `swing` of one."""
        late = self.swing if step % 2 == 1 else 0.0
        return self.origin_s + (bar * self.steps_per_bar + step + late) * self.step_s


@dataclass(frozen=True)
class Key:
    """A tonic (pitch class, C is 0) and a scale of seven pitches."""

    tonic: int
    scale: tuple[int, ...]

    def pitch(self, degree: int, *, lowest: int) -> int:
        """Return the MIDI number of a degree; degree 0 is the first tonic from `lowest` on."""
        octave, step = divmod(degree, 7)
        return lowest + (self.tonic - lowest) % 12 + 12 * octave + self.scale[step]
