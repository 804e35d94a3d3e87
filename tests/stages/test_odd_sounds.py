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
from stages.downmix import to_mono
from tests.stages.small_models import small_models
from tests.stages.sounds import noise, scaled, song, tone

MEASURING = [name for name, declared in STAGES.items() if declared.lane == "features"]


def _samples(*shape: int, value: float = 0.0) -> Audio:
    return Audio(np.full(shape, value, np.float32), 44_100)


def _at(rate_hz: int) -> Audio:
    return tone(440.0, rate_hz=rate_hz, seconds=2.0)


def _clipped() -> Audio:
    return Audio(np.clip(song(seconds=4.0).samples * 20, -1, 1), 44_100)


def _click(level: float) -> Audio:
    samples = np.zeros((1, 2 * 44_100), np.float32)
    samples[0, 30_000] = level
    return Audio(samples, 44_100)


def _with_offset() -> Audio:
    return Audio(song(seconds=4.0).samples + np.float32(0.3), 44_100)


def _surround() -> Audio:
    stereo = song(seconds=4.0).samples
    return Audio(np.concatenate([stereo, 0.5 * stereo, 0.2 * stereo]), 44_100)


_OPPOSED = np.array([[1], [-1]], np.float32)

ODD: dict[str, Callable[[], Audio]] = {
    "nothing": lambda: _samples(1, 0),
    "one sample": lambda: _samples(1, 1, value=0.5),
    "10 ms": lambda: _samples(2, 441, value=0.1),
    "one sample less than a frame": lambda: tone(440.0, seconds=2047 / 22_050, rate_hz=22_050),
    "exactly a frame": lambda: tone(440.0, seconds=2048 / 22_050, rate_hz=22_050),
    "fewer frames than a delta needs": lambda: tone(440.0, seconds=0.15),
    "silence": lambda: _samples(2, 3 * 44_100),
    "one step of 16 bits": lambda: _click(1 / 32_768),
    "a click of -70 dB": lambda: _click(10**-3.5),
    "noise of -106 dB": lambda: scaled(noise(), 1.2e-5),
    "quieter than silence": lambda: _samples(2, 3 * 44_100, value=1e-8),
    "constant": lambda: _samples(2, 3 * 44_100, value=0.7),
    "music with an offset": _with_offset,
    "out of phase": lambda: Audio(tone(440.0).samples * _OPPOSED, 44_100),
    "clipped": _clipped,
    "far above full scale": lambda: Audio(song(seconds=3.0).samples * np.float32(1e4), 44_100),
    "one click": lambda: _click(1.0),
    "5.1": _surround,
    "16 channels": lambda: Audio(np.tile(song(seconds=2.0).samples, (8, 1)), 44_100),
    "4 kHz": lambda: _at(4_000),
    "8 kHz": lambda: _at(8_000),
    "192 kHz": lambda: _at(192_000),
}


@pytest.fixture(scope="module", params=MEASURING)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Stage[StageSettings]:
    declared = STAGES[request.param]
    module, _, kind = declared.target.partition(":")
    made: Stage[StageSettings] = getattr(importlib.import_module(module), kind)(declared.settings())
    with small_models(tmp_path_factory.mktemp("models")):
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


def test_silence_is_null_with_that_reason_and_left_against_right_with_another(
    stage: Stage[StageSettings], tmp_path: Path
) -> None:
    sources = {"silence": ODD["silence"](), "cancelled": ODD["out of phase"]()}

    found = _run(stage, sources, tmp_path / "out")

    reasons = found["null_reasons"]
    assert isinstance(reasons, dict)
    assert {why.partition(":")[0] for why in reasons["silence"].values()} <= {
        "silence", "no 400 ms above the gate of -70 LUFS", "shorter than 3 s",
        "no 3 s above the gate of -70 LUFS",
    }  # fmt: skip
    cancelled = set(reasons.get("cancelled", {}).values())
    assert cancelled <= {"left and right cancel: their mean is silent"}
    assert bool(cancelled) == (type(stage).__name__ != "Loudness")  # which hears each channel


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 96_000, 192_000])
def test_a_tone_is_the_same_tone_at_any_rate(
    stage: Stage[StageSettings], rate_hz: int, tmp_path: Path
) -> None:
    found = _run(stage, {"mix": _at(rate_hz)}, tmp_path / "out")["mix"]

    assert isinstance(found, dict)
    expected = {
        "rms_dbfs": (-10.97, 0.01),  # of a sine of 0.4
        "crest_factor_db": (3.01, 0.05),
        "centroid_mean_hz": (440.0, 12.0),
        "zero_crossing_rate_p50": (2 * 440 / 22_050, 1 / 2048),
        "rms_body_dbfs": (-10.97, 0.05),
        "tuning_cents": (0.0, 4.0),
        "loudness_db": (-11.8, 0.5),
    }
    for name, (value, within) in expected.items():
        if name in found:
            assert found[name] == pytest.approx(value, abs=within), name
    assert found.get("key", "A") == "A"


KNOWN = {
    "constant": {
        "rms_dbfs": 20 * math.log10(0.7),
        "crest_factor_db": 0.0,
        "zero_crossing_rate_mean": 0.0,
        "zero_crossing_rate_p90": 0.0,
        "onset_count": 1,
    },
    "clipped": {"sample_peak_dbfs": 0.0},
    "one sample": {"sample_peak_dbfs": -6.02, "crest_factor_db": 0.0, "onset_count": 0},
    "one click": {"crest_factor_db": 10 * math.log10(2 * 44_100), "rms_dbfs": -49.46},
}


@pytest.mark.parametrize("what", KNOWN)
def test_what_is_known_of_an_odd_sound_is_what_is_found(
    stage: Stage[StageSettings], what: str, tmp_path: Path
) -> None:
    found = _run(stage, {"mix": ODD[what]()}, tmp_path / "out")["mix"]

    assert isinstance(found, dict)
    for name, value in KNOWN[what].items():
        if name in found:
            assert found[name] == pytest.approx(value, abs=0.01), name


def test_surround_is_measured_as_its_downmix(stage: Stage[StageSettings], tmp_path: Path) -> None:
    surround = _surround()
    mono = Audio(to_mono(surround.samples)[np.newaxis], surround.sample_rate_hz)

    found = _run(stage, {"mix": surround}, tmp_path / "six")["mix"]
    mixed = _run(stage, {"mix": mono}, tmp_path / "one")["mix"]

    if type(stage).__name__ != "Loudness":  # which weighs the channels, tests/stages/test_bs1770.py
        assert found == mixed


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
