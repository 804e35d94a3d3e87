"""Rhythms of the drums, and the notes of the bass."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from training.music.arrangement import Plan
from training.music.chance import between, happens, pick
from training.music.score import Hit, Note

# For each sixteenth of a bar, how likely a stroke is, in ninths. `time` is kept by a hat, a ride, …
_COMMON: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "rock": {"kick": "9000002093100002", "snare": "0000900100009001", "time": "9080908090809080"},
        "pop": {"kick": "9000003290400000", "snare": "0000900000009000", "time": "9292929292929292"},
        "house": {"kick": "9000900090009001", "clap": "0000900000009000", "open hat": "0090009000900090", "time": "4242424242424242"},
        "hip hop": {"kick": "9002000630300200", "snare": "0000900102009000", "time": "9391939193919391"},
        "trap": {"kick": "9003001050200300", "clap": "0000000090000000", "time": "9396939693969399"},
        "drum and bass": {"kick": "9000000000900200", "snare": "0000900201009002", "time": "9293929392939293"},
        "funk": {"kick": "9020003320500200", "snare": "0000900302309002", "time": "9696969696969696"},
        "ballad": {"kick": "9000000290000000", "snare": "0000900000009000", "time": "9010801090108010"},
        "jazz": {"kick": "3010200130101002", "snare": "0201000201020012", "time": "9000900890009008", "pedal": "0000900000009000"},
        "latin": {"kick": "9009009090090090", "rim": "9009009000900900", "time": "9595959595959595", "conga": "0050003300500055", "high conga": "0003050000030500"},
        "metal": {"kick": "9393939393939393", "snare": "0000900000009000", "time": "9000900090009000"},
        "reggae": {"kick": "0000000090000010", "rim": "0000000090000000", "time": "8090809080908090"},
        "electro": {"kick": "9002002090200300", "snare": "0000900000009000", "clap": "0000500000005002", "time": "9292929292929292", "cowbell": "1001001001001001"},
        "folk": {"kick": "9000000080000000", "snare": "0000700000007000", "tambourine": "3050305030503050", "time": "6060606060606060"},
    }
)  # fmt: skip
_WALTZ = {"kick": "900000010000", "snare": "000080008001", "time": "908080809080"}
_SIX_EIGHT = {"kick": "900002002010", "snare": "000000900010", "time": "908080908080"}
_PERCUSSION = {"shaker": "9494949494949494", "conga": "0050043000500543", "high conga": "3003050030030500", "rim": "0009000000900000"}  # fmt: skip
_FILLERS = (
    ("snare",),
    ("high tom", "tom", "low tom"),
    ("snare", "tom", "low tom"),
    ("kick", "snare"),
)


def drum_part(chance: np.random.Generator, whole: Plan, plays: NDArray[np.bool_]) -> list[Hit]:
    """Return the strokes of a song, ascending, in the bars that play."""
    rows = _rows(chance, whole)
    bars = [_bar(chance, whole, rows) for _ in range(2)]
    keeper = pick(
        chance,
        ("hat", "hat", "hat", "hat", "ride", "ride", "shaker", "tambourine", "open hat", "crash"),
    )
    filler = pick(chance, _FILLERS)
    loose_s = between(chance, 0.0, 0.009)
    drawn: list[tuple[int, float, str, float]] = []
    for bar in np.flatnonzero(plays).tolist():
        phrase, place = divmod(bar, whole.phrase_bars)
        steps = bars[0 if happens(chance, 0.8) else 1]
        if place == whole.phrase_bars - 1 and happens(chance, 0.45):
            steps = _filled(chance, steps, filler, whole.grid.steps_per_bar)
        if place == 0 and phrase and happens(chance, 0.5):
            steps = [*steps, (0, "crash", 0.8)]
        drawn += [
            (bar, step, keeper if drum == "time" else drum, loud) for step, drum, loud in steps
        ]
    return sorted(_struck(chance, whole, drawn, loose_s), key=lambda hit: hit.start_s)


def _rows(chance: np.random.Generator, whole: Plan) -> Mapping[str, str]:
    if whole.grid.steps_per_bar == 12:
        return _SIX_EIGHT if whole.grid.steps_per_beat == 6 else _WALTZ
    if happens(chance, 0.08):
        return _PERCUSSION
    rows = dict(_COMMON[whole.style if happens(chance, 0.75) else pick(chance, tuple(_COMMON))])
    if happens(chance, 0.12):
        rows.pop(pick(chance, tuple(rows)))
    if happens(chance, 0.15):
        rows["shaker"] = "6363636363636363"
    return rows


def _bar(
    chance: np.random.Generator, whole: Plan, rows: Mapping[str, str]
) -> list[tuple[float, str, float]]:
    """Draw one bar: step, drum, velocity."""
    follows = happens(chance, 0.35)
    steps: list[tuple[float, str, float]] = []
    for drum, row in rows.items():
        for step, digit in enumerate(row):
            if chance.random() * 9.0 >= int(digit):
                continue
            ghost = drum == "snare" and int(digit) < 4
            accent = 1.0 if step % 4 == 0 else between(chance, 0.55, 0.85)
            steps.append((step, "hat" if drum == "pedal" else drum, 0.3 if ghost else accent))
    if follows and "kick" in rows:
        steps = [one for one in steps if one[1] != "kick"]
        steps += [(step, "kick", 0.9) for step in whole.kick_steps]
    if whole.style == "trap" and happens(chance, 0.8):
        at = 2 * int(chance.integers(1, 8))
        steps += [(at + part / 3.0, "time", 0.6) for part in range(1, 6)]
    return steps


def _filled(
    chance: np.random.Generator,
    steps: list[tuple[float, str, float]],
    filler: tuple[str, ...],
    per_bar: int,
) -> list[tuple[float, str, float]]:
    """Return a bar that ends in a fill."""
    start = per_bar - pick(chance, (2, 4, 4, 8))
    kept = [one for one in steps if one[0] < start or one[1] == "kick"]
    for step in range(start, per_bar):
        if happens(chance, 0.8):
            drum = filler[(step - start) * len(filler) // (per_bar - start)]
            kept.append((step, drum, between(chance, 0.5, 1.0)))
    return kept


def _struck(
    chance: np.random.Generator,
    whole: Plan,
    drawn: list[tuple[int, float, str, float]],
    loose_s: float,
) -> list[Hit]:
    human = between(chance, 0.02, 0.2)
    hits = []
    for bar, step, drum, loud in drawn:
        start_s = whole.grid.time_s(bar, step) + float(chance.normal(0.0, loose_s))
        velocity = float(np.clip(loud + chance.normal(0.0, human), 0.1, 1.0))
        if 0.0 <= start_s < whole.seconds:
            hits.append(Hit(start_s, drum, velocity))
    return hits


_BASS_KINDS = ("kick", "kick", "eighths", "walking", "octaves", "long", "offbeat", "riff", "riff")


def bass_part(chance: np.random.Generator, whole: Plan, plays: NDArray[np.bool_]) -> list[Note]:
    """Return the notes of the bass, one at a time, ascending."""
    kind = (
        "walking" if whole.style == "jazz" and happens(chance, 0.7) else pick(chance, _BASS_KINDS)
    )
    lowest = pick(chance, (28, 28, 29, 31, 33, 36))  # E1 to C2
    riff = _riff(chance, whole.grid.steps_per_bar)
    short = between(chance, 0.5, 1.0)
    notes = []
    for bar in np.flatnonzero(plays).tolist():
        steps = _bass_steps(chance, whole, kind, riff)
        ends = [*[step for step, _ in steps[1:]], whole.grid.steps_per_bar]
        for (step, degree), end in zip(steps, ends, strict=True):
            pitch = whole.key.pitch(whole.chords[bar] % 7 + degree, lowest=lowest)
            pitch = pitch - 12 if pitch > 55 else pitch
            start_s = whole.grid.time_s(bar, step)
            length_s = (end - step) * whole.grid.step_s * short
            notes.append(Note(start_s, length_s, pitch, between(chance, 0.7, 1.0)))
    return sounding(notes, whole.seconds)


def _bass_steps(
    chance: np.random.Generator, whole: Plan, kind: str, riff: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the steps of a bar, and how many degrees each lies above the chord's root."""
    per_bar, beat = whole.grid.steps_per_bar, whole.grid.steps_per_beat
    if kind == "kick":
        return [(step, 0 if happens(chance, 0.85) else 4) for step in whole.kick_steps]
    if kind == "eighths":
        return [(step, 0) for step in range(0, per_bar, 2)]
    if kind == "walking":
        return [
            (step, pick(chance, (0, 2, 4, 1, 6, 7)) if step else 0)
            for step in range(0, per_bar, beat)
        ]
    if kind == "octaves":
        return [(step, 7 * (step // 2 % 2)) for step in range(0, per_bar, 2)]
    if kind == "offbeat":
        return [(step, 0) for step in range(2, per_bar, 4)]
    return riff if kind == "riff" else [(0, 0)]


def _riff(chance: np.random.Generator, per_bar: int) -> list[tuple[int, int]]:
    steps = [step for step in range(1, per_bar) if happens(chance, 0.4 if step % 2 == 0 else 0.12)]
    return [(0, 0), *[(step, pick(chance, (0, 0, 0, 2, 4, 6, 7, -1))) for step in steps]]


def sounding(notes: list[Note], seconds: float) -> list[Note]:
    """Return the notes that begin within the song."""
    return [note for note in notes if 0.0 <= note.start_s < seconds - 0.02]
