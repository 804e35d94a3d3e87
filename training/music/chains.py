"""What is done to each stem before it is mixed, drawn anew for each song."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from pipeline.music.synth import Sound
from training.music import effects
from training.music.arrangement import Plan
from training.music.chance import between, happens, log_between, pick

# How likely each effect is on a stem.
_LIKELY: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "drums": {"tone": 0.8, "drive": 0.3, "squeeze": 0.5, "sway": 0.02, "echo": 0.05, "room": 0.65},
        "bass": {"low tone": 0.7, "drive": 0.15, "squeeze": 0.5, "chorus": 0.15, "room": 0.1},
        "other": {"tone": 0.6, "drive": 0.15, "squeeze": 0.25, "chorus": 0.25, "sway": 0.15, "echo": 0.25, "room": 0.65},
        "vocals": {"tone": 0.8, "drive": 0.15, "squeeze": 0.7, "chorus": 0.12, "sway": 0.03, "echo": 0.35, "room": 0.8},
    }
)  # fmt: skip


def treated(chance: np.random.Generator, sound: Sound, whole: Plan, stem: str) -> Sound:
    """Return a part of a stem through a chain of effects, shape as given."""
    if not np.any(sound):
        return sound
    for name, likely in _LIKELY[stem].items():
        if happens(chance, likely):
            sound = _EFFECTS[name](chance, sound, whole)
    return sound


def _tone(chance: np.random.Generator, sound: Sound, whole: Plan) -> Sound:
    tilt_db = between(chance, -5.0, 5.0)
    sections = [
        effects.shelf(log_between(chance, 150, 500), -tilt_db, high=False),
        effects.shelf(log_between(chance, 2000, 7000), tilt_db, high=True),
        effects.peak(
            log_between(chance, 200, 6000), between(chance, -8, 8), q=between(chance, 0.5, 3)
        ),
    ]
    if happens(chance, 0.12):
        sections.append(effects.passing(None, log_between(chance, 1500, 9000)))
    return effects.filtered(sound, *sections)


def _low_tone(chance: np.random.Generator, sound: Sound, whole: Plan) -> Sound:
    return effects.filtered(
        sound,
        effects.shelf(log_between(chance, 250, 1200), between(chance, -6, 3), high=True),
        effects.peak(
            log_between(chance, 50, 400), between(chance, -4, 5), q=between(chance, 0.5, 2)
        ),
    )


def _drive(chance: np.random.Generator, sound: Sound, whole: Plan) -> Sound:
    return effects.saturated(
        sound, drive=log_between(chance, 0.6, 5.0), bias=between(chance, 0.0, 0.3)
    )


def _squeeze(chance: np.random.Generator, sound: Sound, whole: Plan) -> Sound:
    return sound * effects.compressing(
        sound,
        threshold_db=between(chance, -12.0, 3.0),
        ratio=log_between(chance, 1.5, 8.0),
        release_s=log_between(chance, 0.01, 0.25),
    )


def _chorus(chance: np.random.Generator, sound: Sound, whole: Plan) -> Sound:
    delay_s = log_between(chance, 0.0015, 0.025)
    return effects.chorused(
        sound,
        delay_s=delay_s,
        depth_s=delay_s * between(chance, 0.05, 0.5),
        rate_hz=log_between(chance, 0.1, 3.0),
        wet=between(chance, 0.3, 1.0) * pick(chance, (1.0, 1.0, -1.0)),
    )


def _sway(chance: np.random.Generator, sound: Sound, whole: Plan) -> Sound:
    beats_hz = whole.grid.tempo_bpm / 60.0 * pick(chance, (0.25, 0.5, 1.0, 2.0, 4.0))
    depth = between(chance, 0.2, 0.8)
    return effects.swaying(sound, rate_hz=beats_hz, depth=depth, sides=pick(chance, (0.0, 0.5)))


def _echo(chance: np.random.Generator, sound: Sound, whole: Plan) -> Sound:
    return effects.echoed(
        sound,
        delay_s=whole.grid.step_s * pick(chance, (1, 2, 3, 3, 4, 6)),
        feedback=between(chance, 0.1, 0.6),
        wet=between(chance, 0.08, 0.4),
        crossed=happens(chance, 0.4),
    )


def _room(chance: np.random.Generator, sound: Sound, whole: Plan) -> Sound:
    return effects.roomy(
        sound,
        chance,
        wet=log_between(chance, 0.06, 0.6),
        decay_s=log_between(chance, 0.2, 3.0),
        low_hz=log_between(chance, 100.0, 500.0),
        high_hz=log_between(chance, 2500.0, 9000.0),
    )


_Effect: TypeAlias = Callable[[np.random.Generator, Sound, Plan], Sound]
_EFFECTS: Mapping[str, _Effect] = MappingProxyType(
    {
        "tone": _tone, "low tone": _low_tone, "drive": _drive, "squeeze": _squeeze, "chorus": _chorus, "sway": _sway,
        "echo": _echo, "room": _room,
    }
)  # fmt: skip
