"""The loudness stage from samples to files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import Track
from stages.loudness import Loudness
from stages.settings import LoudnessSettings

FEATURES = [
    "integrated_lufs",
    "loudness_range_lu",
    "loudness_range_low_lufs",
    "loudness_range_high_lufs",
    "momentary_max_lufs",
    "short_term_max_lufs",
    "true_peak_dbtp",
    "sample_peak_dbfs",
    "rms_dbfs",
    "crest_factor_db",
]
RANGE = ["loudness_range_lu", "loudness_range_low_lufs", "loudness_range_high_lufs"]
SERIES = {
    "momentary_lufs",
    "momentary_times_s",
    "short_term_lufs",
    "short_term_times_s",
    "rms_dbfs",
    "rms_times_s",
}
SILENCE = "silence: nothing above -120 dB"

Features = dict[str, dict[str, float | None]]
Sources = dict[str, NDArray[np.float32]]


class Measured(NamedTuple):
    """What stands in the two files; `reasons` is empty when there are none."""

    features: Features
    reasons: dict[str, dict[str, str]]
    frames: dict[str, NDArray[np.float32]]


def test_the_mix_gives_every_feature_and_series(tmp_path: Path) -> None:
    features, _, frames = measured(tmp_path, {"mix": sine(seconds=5)})

    assert list(features) == ["mix"]
    assert list(features["mix"]) == FEATURES
    assert set(frames) == {f"mix.{name}" for name in SERIES}
    assert {file.name for file in tmp_path.iterdir()} == {"features.json", "frames.npz"}


def test_every_stem_gives_every_feature_and_series(tmp_path: Path) -> None:
    stems = {"drums": sine(seconds=4), "vocals": np.float32(0.5) * sine(seconds=4)}

    features, _, frames = measured(tmp_path, stems)

    assert list(features) == ["drums", "vocals"]
    assert set(frames) == {f"{stem}.{name}" for stem in stems for name in SERIES}
    assert value(features, "vocals", "rms_dbfs") == pytest.approx(
        value(features, "drums", "rms_dbfs") - 20 * math.log10(2)
    )


def test_a_steady_sine_has_the_levels_known_on_paper(tmp_path: Path) -> None:
    features, _, _ = measured(tmp_path, {"mix": 0.1 * sine(seconds=5)})

    lufs = 20 * math.log10(0.1)  # 1 kHz in two channels reads its peak level
    assert features["mix"] == {
        "integrated_lufs": pytest.approx(lufs, abs=0.05),
        "loudness_range_lu": pytest.approx(0.0, abs=0.05),
        "loudness_range_low_lufs": pytest.approx(lufs, abs=0.05),
        "loudness_range_high_lufs": pytest.approx(lufs, abs=0.05),
        "momentary_max_lufs": pytest.approx(lufs, abs=0.05),
        "short_term_max_lufs": pytest.approx(lufs, abs=0.05),
        "true_peak_dbtp": pytest.approx(-20.0, abs=0.1),
        "sample_peak_dbfs": pytest.approx(-20.0, abs=0.01),
        "rms_dbfs": pytest.approx(-23.01, abs=0.01),
        "crest_factor_db": pytest.approx(3.01, abs=0.01),
    }


@pytest.mark.parametrize("hop_ms", [50, 100])
def test_times_are_those_of_the_ends_of_whole_windows(tmp_path: Path, hop_ms: int) -> None:
    settings = LoudnessSettings.model_validate({"series_hop_ms": hop_ms})

    _, _, frames = measured(tmp_path, {"mix": sine(seconds=5)}, settings=settings)

    for name, first_s in [("momentary", 0.4), ("short_term", 3.0), ("rms", hop_ms / 1000)]:
        times_s = frames[f"mix.{name}_times_s"]
        count = round((5.0 - first_s) * 1000 / hop_ms) + 1
        assert times_s == pytest.approx(first_s + np.arange(count) * hop_ms / 1000, rel=1e-6)
        level = "dbfs" if name == "rms" else "lufs"
        assert frames[f"mix.{name}_{level}"].shape == (count,)


def test_a_level_stands_at_the_time_when_it_was_heard(tmp_path: Path) -> None:
    burst = sine(seconds=4)
    burst[:, : 3 * 48_000] = 0.0

    _, _, frames = measured(tmp_path, {"mix": burst})

    for name in ("momentary_lufs", "rms_dbfs"):
        times_s = frames[f"mix.{name.split('_')[0]}_times_s"]
        assert times_s[frames[f"mix.{name}"] > -60].min() == pytest.approx(3.1)


def test_silence_is_null_in_features_and_the_floor_in_frames(tmp_path: Path) -> None:
    silent = np.zeros((2, 5 * 48_000), dtype=np.float32)

    features, reasons, frames = measured(tmp_path, {"mix": silent})

    assert features["mix"] == dict.fromkeys(FEATURES)
    assert reasons["mix"] == {
        **dict.fromkeys(FEATURES, SILENCE),
        "integrated_lufs": "no 400 ms above the gate of -70 LUFS",
        **dict.fromkeys(RANGE, "no 3 s above the gate of -70 LUFS"),
    }
    for name in ("momentary_lufs", "short_term_lufs", "rms_dbfs"):
        assert set(frames[f"mix.{name}"].tolist()) == {-120.0}


def test_reasons_name_only_the_sources_that_miss_something(tmp_path: Path) -> None:
    stems = {"drums": sine(seconds=4), "vocals": np.zeros((2, 4 * 48_000), dtype=np.float32)}

    _, reasons, _ = measured(tmp_path, stems)

    assert list(reasons) == ["vocals"]


@pytest.mark.parametrize("rate_hz", [8_000, 48_000, 192_000])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3, 0.399])
def test_less_than_a_block_has_peaks_but_no_loudness(
    tmp_path: Path, rate_hz: int, seconds: float
) -> None:
    # One sample more than nothing: 0.0 s stands for a track of a single sample.
    short = np.full((2, int(seconds * rate_hz) + 1), 0.5, dtype=np.float32)

    features, reasons, frames = measured(tmp_path, {"mix": short}, rate_hz=rate_hz)

    assert reasons["mix"] == {
        "integrated_lufs": "shorter than 0.4 s",
        **dict.fromkeys(RANGE, "shorter than 3 s"),
        "momentary_max_lufs": "shorter than 0.4 s",
        "short_term_max_lufs": "shorter than 3 s",
    }
    assert value(features, "mix", "sample_peak_dbfs") == pytest.approx(20 * math.log10(0.5))
    assert value(features, "mix", "rms_dbfs") == pytest.approx(20 * math.log10(0.5))
    assert len(frames["mix.momentary_lufs"]) == 0


def test_between_a_block_and_a_window_only_short_term_and_range_are_missing(
    tmp_path: Path,
) -> None:
    _, reasons, _ = measured(tmp_path, {"mix": sine(seconds=2)})

    assert set(reasons["mix"]) == {*RANGE, "short_term_max_lufs"}


def test_a_source_without_samples_is_silence(tmp_path: Path) -> None:
    features, _, frames = measured(tmp_path, {"mix": np.zeros((2, 0), dtype=np.float32)})

    assert features["mix"] == dict.fromkeys(FEATURES)
    assert all(len(frames[name]) == 0 for name in frames)


def test_what_only_the_lfe_plays_has_a_peak_but_no_loudness(tmp_path: Path) -> None:
    surround = np.zeros((6, 4 * 48_000), dtype=np.float32)
    surround[3] = sine(seconds=4)[0]

    features, reasons, _ = measured(tmp_path, {"mix": surround})

    assert reasons["mix"]["momentary_max_lufs"] == SILENCE
    assert value(features, "mix", "sample_peak_dbfs") == pytest.approx(0.0, abs=0.01)


def test_a_square_wave_has_no_crest_and_noise_that_of_its_distribution(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sources = {
        "square": 0.3 * np.sign(sine(seconds=1) + np.float32(1e-6)),
        "noise": random.uniform(-0.5, 0.5, (2, 48_000)).astype(np.float32),
    }

    features, _, _ = measured(tmp_path, sources)

    assert value(features, "square", "crest_factor_db") == pytest.approx(0.0, abs=1e-6)
    assert value(features, "noise", "crest_factor_db") == pytest.approx(4.77, abs=0.05)


def test_the_crest_factor_is_the_peak_over_the_rms_of_all_samples(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((2, 50_000), dtype=np.float32)
    noise[1] *= 0.1

    features, _, _ = measured(tmp_path, {"mix": noise})

    expected = 20 * math.log10(np.abs(noise).max() / np.sqrt(np.mean(noise.astype(float) ** 2)))
    assert value(features, "mix", "crest_factor_db") == pytest.approx(expected, abs=1e-6)


def test_samples_beyond_full_scale_read_above_zero(tmp_path: Path) -> None:
    features, _, _ = measured(tmp_path, {"mix": 2 * sine(seconds=4)})

    assert value(features, "mix", "sample_peak_dbfs") == pytest.approx(6.02, abs=0.01)
    assert value(features, "mix", "true_peak_dbtp") >= value(features, "mix", "sample_peak_dbfs")


def test_the_setting_decides_how_finely_true_peak_looks(tmp_path: Path) -> None:
    # The top of this sine lies between two of the samples of 4x, and on one of 8x.
    phase = np.arange(48_000) * np.pi / 2 + np.radians(45 + 11.25)
    tone = (np.hanning(48_000) * np.sin(phase))[np.newaxis].astype(np.float32)
    peaks = []

    for factor in (4, 8):
        settings = LoudnessSettings.model_validate({"true_peak_oversampling": factor})
        features, _, _ = measured(tmp_path, {"mix": tone}, settings=settings)
        peaks.append(value(features, "mix", "true_peak_dbtp"))

    assert peaks == [pytest.approx(-0.169, abs=0.01), pytest.approx(0.0, abs=0.01)]


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((2, 100_001), dtype=np.float32)
    folders = [tmp_path / "first", tmp_path / "second"]

    for folder in folders:
        folder.mkdir()
        measured(folder, {"mix": noise})

    for name in ("features.json", "frames.npz"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second


def test_progress_of_several_sources_ends_at_the_length_of_the_track(tmp_path: Path) -> None:
    reported: list[float] = []
    sources = {name: Audio(silence(seconds=15), 8_000) for name in ("drums", "bass")}

    track = Track(sha256="0" * 64, sources=sources, tick=reported.append)
    Loudness(LoudnessSettings()).run(track, tmp_path)

    assert reported == [7.5, 15.0]


def measured(
    out: Path,
    sources: Sources,
    *,
    rate_hz: int = 48_000,
    settings: LoudnessSettings | None = None,
) -> Measured:
    """Run the stage as a lane would and read what it wrote as strictly as can be."""
    audio = {name: Audio(samples, rate_hz) for name, samples in sources.items()}
    stage = Loudness(settings or LoudnessSettings())

    facts = stage.run(Track(sha256="0" * 64, sources=audio), out)

    assert facts == {}
    features = json.loads((out / "features.json").read_bytes(), parse_constant=_refuse)
    reasons = features.pop("null_reasons", {})
    with np.load(out / "frames.npz", allow_pickle=False) as npz:
        frames = {name: npz[name] for name in npz.files}
    assert all(np.isfinite(values).all() for values in frames.values())
    assert {values.dtype for values in frames.values()} == {np.dtype(np.float32)}
    return Measured(features, reasons, frames)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def sine(*, seconds: int) -> NDArray[np.float32]:
    wave = np.sin(2 * np.pi * 1000 * np.arange(seconds * 48_000) / 48_000)
    return np.stack([wave, wave]).astype(np.float32)


def silence(*, seconds: int) -> NDArray[np.float32]:
    return np.zeros((1, seconds * 8_000), dtype=np.float32)


def value(features: Features, source: str, name: str) -> float:
    found = features[source][name]
    assert found is not None
    return found
