"""The two files every feature stage writes."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path

import numpy as np
import pytest

from stages import STAGES
from stages.base import Track
from stages.outputs import Missing, write_features, write_frames
from tests.stages.sounds import song


def test_features_are_keyed_by_source_then_feature(tmp_path: Path) -> None:
    write_features(tmp_path, {"drums": {"rms_dbfs": -20.5, "key": "C"}, "bass": {"rms_dbfs": -3.0}})

    text = (tmp_path / "features.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "drums": {"rms_dbfs": -20.5, "key": "C"},
        "bass": {"rms_dbfs": -3.0},
    }
    assert text.endswith("}\n")


def test_what_is_missing_is_null_and_says_why(tmp_path: Path) -> None:
    write_features(tmp_path, {"drums": {"a_db": Missing("silence"), "b_db": 1.0}, "bass": {"a": 2}})

    document = json.loads((tmp_path / "features.json").read_bytes())
    assert document == {
        "drums": {"a_db": None, "b_db": 1.0},
        "bass": {"a": 2},
        "null_reasons": {"drums": {"a_db": "silence"}},
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite_are_refused_and_nothing_is_written(
    tmp_path: Path, value: float
) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_features(tmp_path, {"mix": {"rms_dbfs": value}})

    assert list(tmp_path.iterdir()) == []


def test_a_source_cannot_take_the_place_of_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="null_reasons"):
        write_features(tmp_path, {"null_reasons": {"rms_dbfs": -1.0}})


def test_names_that_are_not_ascii_stay_readable(tmp_path: Path) -> None:
    write_features(tmp_path, {"mix": {"tag": "später"}})

    assert "später" in (tmp_path / "features.json").read_text(encoding="utf-8")


def test_frames_are_float32_and_need_no_pickle(tmp_path: Path) -> None:
    write_frames(tmp_path, {"mix": {"times_s": np.array([0.5, 1.0])}, "bass": {"x": np.empty(0)}})

    with np.load(tmp_path / "frames.npz", allow_pickle=False) as frames:
        assert set(frames.files) == {"mix.times_s", "bass.x"}
        assert {frames[name].dtype for name in frames.files} == {np.dtype(np.float32)}
        assert frames["mix.times_s"].tolist() == [0.5, 1.0]


def test_frames_written_at_another_time_are_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = {"mix": {"a": np.arange(5.0), "b": np.ones((2, 3))}}
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    write_frames(first, series)
    tomorrow = time.time() + 86_400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    write_frames(second, series)

    assert (first / "frames.npz").read_bytes() == (second / "frames.npz").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_frames_that_float32_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match=r"mix\.rms_dbfs"):
        write_frames(tmp_path, {"mix": {"rms_dbfs": np.array([0.0, value])}})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["loudness", "onsets", "chroma", "spectral"])
def test_the_room_that_a_stage_asks_for_is_what_its_series_take(name: str, tmp_path: Path) -> None:
    declared = STAGES[name]
    module, _, kind = declared.target.partition(":")
    audio, settings = song(seconds=16.0), declared.settings()

    getattr(importlib.import_module(module), kind)(settings).run(
        Track("0" * 64, {"mix": audio}), tmp_path
    )

    with np.load(tmp_path / "frames.npz") as frames:
        taken = sum(values.nbytes for values in frames.values()) / audio.duration_s
    assert declared.bytes_per_audio_s is not None
    asked = declared.bytes_per_audio_s(settings)
    assert 0.7 * asked < taken < 1.01 * asked
