"""Three short pieces of music, made here so that `pipeline demo` needs no network and no licence.

The score (`PIECES`) knows beats, pitches and a key; `demo_synth` knows samples; `render` joins
them. Nothing is humanised: what the score says is where it sounds, to the sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline import demo_synth as synth

CEILING = 0.89  # -1 dB, so that MP3 may overshoot without clipping
STEMS = ("drums", "bass", "other")


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


def render(piece: Piece) -> dict[str, NDArray[np.float32]]:
    """Play a piece into its true stems, float32, shape `(2, samples)`, at 44.1 kHz.

    Their sum is the mix before the limiter; it may exceed ±1.
    """
    length = synth.samples(piece.duration_s)
    stems: dict[str, synth.Sound] = {name: np.zeros((2, length), np.float32) for name in STEMS}
    noise = np.random.default_rng(piece.seed)
    for hit in piece.hits:
        at_s = piece.time_s(hit.start_beats)
        synth.add(stems["drums"], synth.DRUMS[hit.drum](noise), at_s=at_s, level=hit.velocity)
    for part in piece.parts:
        for note in part.notes:
            hz = 440.0 * 2.0 ** ((note.pitch - 69) / 12.0)
            at_s = piece.time_s(note.start_beats)
            sound = synth.VOICES[part.voice](hz, piece.time_s(note.length_beats))
            synth.add(stems[part.stem], sound, at_s=at_s, level=part.level)
    if piece.duck:
        stems["other"] *= synth.ducking(piece.onsets_s("kick"), length, depth=piece.duck)
    for name, wet in (("drums", 0.1), ("other", 0.3)):
        stems[name] = synth.with_room(stems[name], noise, wet=wet, decay_s=piece.room_s)
    gain = np.float32(10.0 ** (piece.gain_db / 20.0))
    return {name: stem * gain for name, stem in stems.items()}


def master(stems: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the sum of the stems, limited to -1 dB."""
    mix: synth.Sound = np.stack(list(stems.values())).sum(axis=0)
    return mix * synth.limiter_gain(mix, ceiling=CEILING)


def write_demo_music(folder: Path) -> list[Path]:
    """Write every piece into a folder, which is made if need be: two FLAC of 16 bits, one MP3.

    The same bytes each time with the same libraries, so that a second demo finds its work done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for piece in PIECES:
        file = folder / piece.file_name
        soundfile.write(file, master(render(piece)).T, synth.RATE_HZ)
        written.append(file)
    return written


# How the scores below are written.


def _pitch(name: str) -> int:
    """Return the MIDI number of a name such as `Bb3`; `C4` is 60."""
    step = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[name[0]]
    return step + name.count("#") - name.count("b") + 12 * (int(name[-1]) + 1)


def _part(
    voice: str, stem: str, level: float, text: str, *, start_beats: float = 0.0, unit: float = 1.0
) -> Part:
    """Read notes one after another: `A4` lasts a unit, `A3+C4:1.5` is a chord, `-` a rest."""
    notes = []
    for names, _, length in (word.partition(":") for word in text.split()):
        beats = float(length or 1.0) * unit
        pitches = [] if names == "-" else [_pitch(name) for name in names.split("+")]
        notes += [Note(start_beats, beats, pitch) for pitch in pitches]
        start_beats += beats
    return Part(voice, stem, level, tuple(notes))


_STROKES = {"x": 1.0, "o": 0.45}


def _drums(bars: int, *, start_beats: float = 0.0, swing: float = 0.0, **rows: str) -> list[Hit]:
    """Repeat a bar of sixteenths, `x` loud, `o` soft, every second one late by `swing` of one."""
    return [
        Hit(
            start_beats + (bar * len(row) + step + swing * (step % 2)) / 4.0,
            drum.replace("_", " "),
            _STROKES[stroke],
        )
        for drum, row in rows.items()
        for bar in range(bars)
        for step, stroke in enumerate(row)
        if stroke in _STROKES
    ]


NIGHT_BUS = Piece(
    file_name="Night Bus.flac",
    key="D minor",
    tempo_bpm=84.0,
    beats=25,
    beats_per_bar=4,
    hits=(
        *_drums(1, swing=0.3, hat="x.o.x.o.x.o.x.oo"),
        *_drums(5, start_beats=4.0, swing=0.3, kick="x.....x...x.....", hat="x.o.x.oox.o.x.oo"),
        *_drums(5, start_beats=4.0, swing=0.3, snare="....x.......x..o"),
        *_drums(1, start_beats=24.0, kick="x", open_hat="o"),
    ),
    parts=(
        _part(
            "round bass",
            "bass",
            0.42,
            "Bb1:1.5 Bb1:.5 F2:1 A1:1  G1:1.5 G1:.5 D2:1 Bb1:1  A1:1.5 A1:.5 E2:1 C#2:1 "
            "D2:1.5 D2:.5 A1:1 F2:1  G1:2 A1:2  D2:1",
            start_beats=4.0,
        ),
        _part(
            "keys",
            "other",
            0.18,
            "D3+F3+A3+C4+E4:2.5 F3+A3+C4+E4:1.5  D3+F3+A3+C4:2.5 D3+F3+A3+C4:1.5 "
            "F3+A3+Bb3+D4:2.5 F3+A3+Bb3+D4:1.5  G3+Bb3+C#4+E4:2.5 G3+Bb3+C#4+E4:1.5 "
            "F3+A3+C4+E4:2.5 F3+A3+C4+E4:1.5  F3+A3+Bb3+D4:2 G3+Bb3+C#4+E4:2 D3+F3+A3+C4+E4:1",
        ),
        _part(
            "saw lead",
            "other",
            0.24,
            "D5:1.5 Bb4:.5 A4:1 F4:1  G4:1 E4:1 C#5:1.5 -:.5 "
            "A4:1.5 F4:.5 E4:.5 D4:1 -:.5  Bb4:1 A4:.5 G4:.5 E4:1 C#4:1  D4:1",
            start_beats=8.0,
        ),
    ),
    seed=84,
    gain_db=-8.2,
    room_s=1.3,
)

HARBOUR_LIGHTS = Piece(
    file_name="Harbour Lights.flac",
    key="G major",
    tempo_bpm=96.0,
    beats=27,
    beats_per_bar=3,
    hits=(
        *_drums(8, kick="x...........", snare="....o...o...", hat="..o...o...o."),
        *_drums(1, start_beats=24.0, kick="x", open_hat="o"),
    ),
    parts=(
        _part(
            "round bass",
            "bass",
            0.4,
            "G2:2 D2:1  E2:3  C2:2 G2:1  D2:3  G2:2 D2:1  B1:3  C2:2 E2:1  D2:3  G1:3",
        ),
        _part(
            "pluck",
            "other",
            0.24,
            "G3 D4 G4 B4 G4 D4  E3 B3 E4 G4 E4 B3  C3 G3 C4 E4 C4 G3  D3 A3 D4 F#4 D4 A3 "
            "G3 D4 G4 B4 G4 D4  B2 F#3 B3 D4 B3 F#3  C3 G3 C4 E4 C4 G3  D3 A3 D4 F#4 C4 A3 "
            "G3+D4+G4+B4:6",
            unit=0.5,
        ),
        _part(
            "pad",
            "other",
            0.06,
            "B3+D4+G4 B3+E4+G4 C4+E4+G4 A3+D4+F#4 B3+D4+G4 B3+D4+F#4 C4+E4+G4 C4+D4+F#4 B3+D4+G4",
            unit=3.0,
        ),
        _part(
            "flute",
            "other",
            0.24,
            "B4:1 E5:2 D5:1 D5:1.5 A4:.5 F#4:1 G4:2 B4:1 D5:1.5 C#5:.5 B4:1 "
            "E5:1 G5:1.5 E5:.5 F#5:2 D5:1 G5:3",
            start_beats=5.0,
        ),
    ),
    seed=96,
    gain_db=-7.3,
    room_s=2.0,
)

_GALLOP = "-:.25 {0}:.25 {0}:.5 " * 4
_GALLOPS = "".join(map(_GALLOP.format, ("A1", "F1", "C2", "G1")))
_ARPEGGIO = "A3 E4 C5 E4 " * 4 + "F3 C4 A4 C4 " * 4 + "G3 E4 C5 E4 " * 4 + "G3 D4 B4 D4 " * 4

THIRD_SHIFT = Piece(
    file_name="Third Shift.mp3",
    key="A minor",
    tempo_bpm=126.0,
    beats=33,
    beats_per_bar=4,
    hits=(
        *_drums(8, kick="x...x...x...x...", open_hat="..o...o...o...o."),
        *_drums(6, start_beats=8.0, snare="....x.......x...", hat="xo.oxo.oxo.oxo.o"),
        *_drums(1, start_beats=32.0, kick="x", open_hat="x"),
    ),
    parts=(
        _part("saw bass", "bass", 0.6, _GALLOPS * 2 + "A1:1"),
        _part(
            "pad",
            "other",
            0.2,
            "A3+C4+E4+G4 A3+C4+F4 G3+C4+E4 G3+B3+D4 " * 2 + "A3+C4+E4:.25",
            unit=4.0,
        ),
        _part("pluck", "other", 0.3, _ARPEGGIO * 2 + "A3+E4+C5:4", unit=0.25),
        _part(
            "saw lead",
            "other",
            0.45,
            "E5:.75 D5:.75 C5:.5 A4:2  C5:.75 D5:.75 F5:.5 A5:2 "
            "G5:.75 E5:.75 C5:.5 E5:2  D5:.75 B4:.75 G4:.5 B4:1 D5:1  A4:1",
            start_beats=16.0,
        ),
    ),
    seed=126,
    gain_db=-11.1,
    room_s=1.1,
    duck=0.6,
)

PIECES = (NIGHT_BUS, HARBOUR_LIGHTS, THIRD_SHIFT)
