"""Who plays what, and when: a song's tempo, key, chords and style, and where each part rests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from training.music.chance import between, happens, pick
from training.music.score import SCALES, Grid, Key

STEMS = ("drums", "bass", "other", "vocals")

# Name -> range of tempos in beats a minute, probability of swing.
STYLES: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "rock": (90.0, 165.0, 0.1),
        "pop": (80.0, 135.0, 0.15),
        "house": (115.0, 132.0, 0.25),
        "hip hop": (70.0, 105.0, 0.6),
        "trap": (60.0, 85.0, 0.1),
        "drum and bass": (155.0, 180.0, 0.1),
        "funk": (90.0, 125.0, 0.4),
        "ballad": (60.0, 90.0, 0.1),
        "jazz": (80.0, 180.0, 0.9),
        "latin": (85.0, 130.0, 0.1),
        "metal": (100.0, 180.0, 0.0),
        "reggae": (65.0, 95.0, 0.4),
        "electro": (95.0, 150.0, 0.1),
        "folk": (75.0, 140.0, 0.2),
    }
)
_COMMON = 16
_TRIPLE = 12

_SILENT = {"drums": 0.04, "bass": 0.04, "other": 0.03, "vocals": 0.2}
_PROGRESSIONS = (
    (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (5, 3, 0, 4), (0, 3, 0, 4), (0, 5, 2, 6),
    (0, 6, 5, 6), (0, 3, 6, 2), (1, 4, 0, 0), (0, 0, 3, 4), (0, 2, 3, 4), (3, 4, 5, 5),
    (0, 0, 0, 0), (0, 0, 6, 6), (0, 1, 0, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What all parts of a song share; `chords` are degrees of the scale, one a bar."""

    seconds: float
    style: str
    grid: Grid
    key: Key
    chords: tuple[int, ...]
    phrase_bars: int
    silent: frozenset[str]
    kick_steps: tuple[int, ...]
    sampled: bool


def plan(chance: np.random.Generator, *, seconds: float, sampled: bool) -> Plan:
    """Draw what all parts of a song share."""
    style = pick(chance, tuple(STYLES))
    grid = _grid(chance, style, seconds)
    key = Key(int(chance.integers(12)), pick(chance, tuple(SCALES.values())))
    loops = [pick(chance, _PROGRESSIONS) for _ in range(2)]
    turn = pick(chance, (4, 8, 8, 16))
    chords = tuple(loops[bar // turn % 2][bar % 4] for bar in range(grid.bars))
    return Plan(
        seconds=seconds,
        style=style,
        grid=grid,
        key=key,
        chords=chords,
        phrase_bars=2 if grid.tempo_bpm < 110.0 else 4,
        silent=_silent(chance),
        kick_steps=_kick_steps(chance, grid.steps_per_bar),
        sampled=sampled,
    )


def _grid(chance: np.random.Generator, style: str, seconds: float) -> Grid:
    slow, fast, swings = STYLES[style]
    steps, per_beat = _COMMON, 4
    if style not in ("house", "trap", "drum and bass", "electro") and happens(chance, 0.16):
        steps, per_beat = _TRIPLE, pick(chance, (4, 6))
    tempo_bpm = float(
        np.clip(between(chance, slow, fast) * pick(chance, (1.0, 1.0, 0.9, 1.12)), 60.0, 180.0)
    )
    swing = between(chance, 0.15, 0.66) if happens(chance, swings) else 0.0
    bar_s = steps * 15.0 / tempo_bpm
    # Songs are cut out of the middle as often as they begin on a bar.
    origin_s = -between(chance, 0.0, bar_s) if happens(chance, 0.5) else 0.0
    bars = math.ceil((seconds - origin_s) / bar_s)
    return Grid(tempo_bpm, steps, per_beat, bars, origin_s, swing)


def _silent(chance: np.random.Generator) -> frozenset[str]:
    silent = [stem for stem in STEMS if happens(chance, _SILENT[stem])]
    return frozenset(silent[:2])


def _kick_steps(chance: np.random.Generator, steps: int) -> tuple[int, ...]:
    """Return a rhythm that bass and kick may share."""
    weak = [step for step in range(1, steps) if happens(chance, 0.35 if step % 2 == 0 else 0.08)]
    return (0, *weak[:5])


def present(chance: np.random.Generator, whole: Plan, *, probability: float) -> NDArray[np.bool_]:
    """Return the bars in which a part plays, shape `(bars,)`; it comes and goes by phrases."""
    phrases = -(-whole.grid.bars // whole.phrase_bars)
    plays = chance.random(phrases) < probability
    # Mostly at least half of the song, as in songs.
    least = -(-phrases // 2) if happens(chance, 0.75) else 1
    for phrase in chance.permutation(phrases)[:least]:
        plays[phrase] = True
    return np.repeat(plays, whole.phrase_bars)[: whole.grid.bars]
