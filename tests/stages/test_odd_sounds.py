"""What every measuring stage makes of odd sounds: a right number, or null with a reason."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import STAGES
from stages.audio import Audio
from stages.base import Stage, StageSettings, Track
from stages.settings import EssentiaSettings
from tests.stages.sounds import song, tone

MEASURING = [name for name, declared in STAGES.items() if declared.lane == "features"]


def _samples(*shape: int, value: float = 0.0) -> Audio:
    return Audio(np.full(shape, value, np.float32), 44_100)


def _at(rate_hz: int) -> Audio:
    return tone(440.0, rate_hz=rate_hz, seconds=2.0)


def _clipped() -> Audio:
    return Audio(np.clip(song(seconds=4.0).samples * 20, -1, 1), 44_100)


def _surround() -> Audio:
    stereo = song(seconds=4.0).samples
    return Audio(np.concatenate([stereo, 0.5 * stereo, 0.2 * stereo]), 44_100)


ODD: dict[str, Callable[[], Audio]] = {
    "nothing": lambda: _samples(1, 0),
    "one sample": lambda: _samples(1, 1, value=0.5),
    "10 ms": lambda: _samples(2, 441, value=0.1),
    "silence": lambda: _samples(2, 3 * 44_100),
    "quieter than silence": lambda: _samples(2, 3 * 44_100, value=1e-8),
    "constant": lambda: _samples(2, 3 * 44_100, value=0.7),
    "out of phase": lambda: Audio(
        song(seconds=3.0).samples * np.array([[1], [-1]], np.float32), 44_100
    ),
    "clipped": _clipped,
    "far above full scale": lambda: Audio(song(seconds=3.0).samples * np.float32(1e4), 44_100),
    "one click": lambda: Audio(np.eye(1, 2 * 44_100, 30_000, dtype=np.float32), 44_100),
    "5.1": _surround,
    "16 channels": lambda: Audio(np.tile(song(seconds=2.0).samples, (8, 1)), 44_100),
    "4 kHz": lambda: _at(4_000),
    "8 kHz": lambda: _at(8_000),
    "192 kHz": lambda: _at(192_000),
}


@pytest.fixture(scope="module", params=MEASURING)
def stage(request: pytest.FixtureRequest) -> Stage[StageSettings]:
    declared = STAGES[request.param]
    module, _, kind = declared.target.partition(":")
    settings = (
        EssentiaSettings(models="none") if request.param == "essentia" else declared.settings()
    )
    made: Stage[StageSettings] = getattr(importlib.import_module(module), kind)(settings)
    made.load()
    return made


def _run(stage: Stage[StageSettings], sources: dict[str, Audio], out: Path) -> dict[str, object]:
    out.mkdir()
    stage.run(Track("0" * 64, sources), out)
    found: dict[str, object] = json.loads((out / "features.json").read_text())
    with np.load(out / "frames.npz") as frames:
        assert all(np.isfinite(values).all() for values in frames.values())
    return found


@pytest.mark.parametrize("what", ODD)
def test_each_value_is_a_finite_number_or_null_with_a_reason(
    stage: Stage[StageSettings], what: str, tmp_path: Path
) -> None:
    found = _run(stage, {"mix": ODD[what]()}, tmp_path / "out")

    reasons = found.get("null_reasons", {})
    assert isinstance(reasons, dict)
    mix = found["mix"]
    assert isinstance(mix, dict)
    for name, value in mix.items():
        assert (value is None) == bool(reasons.get("mix", {}).get(name)), name
        assert not isinstance(value, float) or math.isfinite(value), name


def test_the_same_sound_gives_the_same_bytes(stage: Stage[StageSettings], tmp_path: Path) -> None:
    for name in ("once", "again"):
        _run(stage, {"mix": song(seconds=4.0)}, tmp_path / name)

    for file in ("features.json", "frames.npz"):
        once, again = ((tmp_path / name / file).read_bytes() for name in ("once", "again"))
        assert once == again


def test_every_source_is_measured_by_itself(stage: Stage[StageSettings], tmp_path: Path) -> None:
    music, silence = song(seconds=4.0), _samples(2, 44_100)

    both = _run(stage, {"drums": music, "vocals": silence}, tmp_path / "both")
    alone = _run(stage, {"drums": music}, tmp_path / "alone")

    assert list(both)[:2] == ["drums", "vocals"]
    assert both["drums"] == alone["drums"]


def test_progress_goes_forward_to_the_end_of_the_track(
    stage: Stage[StageSettings], tmp_path: Path
) -> None:
    ticks: list[float] = []
    sources = {name: song(seconds=4.0) for name in ("drums", "bass")}

    stage.run(Track("0" * 64, sources, ticks.append), tmp_path)

    assert ticks == sorted(ticks)
    assert ticks[-1] == pytest.approx(4.0, abs=0.6)
