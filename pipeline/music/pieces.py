"""Three pieces of music, written by hand."""

from __future__ import annotations

from pipeline.music.score import Piece, drums, part

NIGHT_BUS = Piece(
    file_name="Night Bus.flac",
    key="D minor",
    tempo_bpm=84.0,
    beats=25,
    beats_per_bar=4,
    hits=(
        *drums(1, {"hat": "x.o.x.o.x.o.x.oo"}, swing=0.3),
        *drums(
            5, {"kick": "x.....x...x.....", "hat": "x.o.x.oox.o.x.oo"}, start_beats=4.0, swing=0.3
        ),
        *drums(5, {"snare": "....x.......x..o"}, start_beats=4.0, swing=0.3),
        *drums(1, {"kick": "x", "open hat": "o"}, start_beats=24.0),
    ),
    parts=(
        part(
            "round bass",
            "bass",
            0.42,
            "Bb1:1.5 Bb1:.5 F2:1 A1:1  G1:1.5 G1:.5 D2:1 Bb1:1  A1:1.5 A1:.5 E2:1 C#2:1 "
            "D2:1.5 D2:.5 A1:1 F2:1  G1:2 A1:2  D2:1",
            start_beats=4.0,
        ),
        part(
            "keys",
            "other",
            0.18,
            "D3+F3+A3+C4+E4:2.5 F3+A3+C4+E4:1.5  D3+F3+A3+C4:2.5 D3+F3+A3+C4:1.5 "
            "F3+A3+Bb3+D4:2.5 F3+A3+Bb3+D4:1.5  G3+Bb3+C#4+E4:2.5 G3+Bb3+C#4+E4:1.5 "
            "F3+A3+C4+E4:2.5 F3+A3+C4+E4:1.5  F3+A3+Bb3+D4:2 G3+Bb3+C#4+E4:2 D3+F3+A3+C4+E4:1",
        ),
        part(
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
        *drums(8, {"kick": "x...........", "snare": "....o...o...", "hat": "..o...o...o."}),
        *drums(1, {"kick": "x", "open hat": "o"}, start_beats=24.0),
    ),
    parts=(
        part(
            "round bass",
            "bass",
            0.4,
            "G2:2 D2:1  E2:3  C2:2 G2:1  D2:3  G2:2 D2:1  B1:3  C2:2 E2:1  D2:3  G1:3",
        ),
        part(
            "pluck",
            "other",
            0.24,
            "G3 D4 G4 B4 G4 D4  E3 B3 E4 G4 E4 B3  C3 G3 C4 E4 C4 G3  D3 A3 D4 F#4 D4 A3 "
            "G3 D4 G4 B4 G4 D4  B2 F#3 B3 D4 B3 F#3  C3 G3 C4 E4 C4 G3  D3 A3 D4 F#4 C4 A3 "
            "G3+D4+G4+B4:6",
            unit=0.5,
        ),
        part(
            "pad",
            "other",
            0.06,
            "B3+D4+G4 B3+E4+G4 C4+E4+G4 A3+D4+F#4 B3+D4+G4 B3+D4+F#4 C4+E4+G4 C4+D4+F#4 B3+D4+G4",
            unit=3.0,
        ),
        part(
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
        *drums(8, {"kick": "x...x...x...x...", "open hat": "..o...o...o...o."}),
        *drums(6, {"snare": "....x.......x...", "hat": "xo.oxo.oxo.oxo.o"}, start_beats=8.0),
        *drums(1, {"kick": "x", "open hat": "x"}, start_beats=32.0),
    ),
    parts=(
        part("saw bass", "bass", 0.6, _GALLOPS * 2 + "A1:1"),
        part(
            "pad",
            "other",
            0.2,
            "A3+C4+E4+G4 A3+C4+F4 G3+C4+E4 G3+B3+D4 " * 2 + "A3+C4+E4:.25",
            unit=4.0,
        ),
        part("pluck", "other", 0.3, _ARPEGGIO * 2 + "A3+E4+C5:4", unit=0.25),
        part(
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
