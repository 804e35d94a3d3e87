"""How like two separations are said to be, and what is not compared at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from pipeline.artifacts import TRACKS
from pipeline.bench import comparison
from pipeline.bench.comparison import likenesses, lowest, sdr_db
from pipeline.errors import NotMeasured

RATE_HZ = 44_100


def test_the_ratio_is_that_of_the_energies_over_all_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_BLOCK_FRAMES", 1000)
    noise = np.random.default_rng(0).normal(0, 0.1, (2500, 2))
    sf.write(tmp_path / "a.wav", noise, RATE_HZ, subtype="DOUBLE")
    sf.write(tmp_path / "b.wav", noise * 1.001, RATE_HZ, subtype="DOUBLE")
    late = noise.copy()
    late[2499] = 0
    sf.write(tmp_path / "c.wav", late, RATE_HZ, subtype="DOUBLE")

    assert sdr_db(tmp_path / "a.wav", tmp_path / "b.wav") == pytest.approx(60, abs=1e-6)
    lost = 10 * math.log10((noise**2).sum() / (noise[2499] ** 2).sum())
    assert sdr_db(tmp_path / "a.wav", tmp_path / "c.wav") == pytest.approx(lost)


@pytest.mark.parametrize(
    ("reference", "ours", "expected"),
    [
        (0.5, 0.5, math.inf),
        (0.0, 0.0, math.inf),
        (0.0, 0.5, -math.inf),
        (0.5, math.nan, -math.inf),
        (0.5, math.inf, -math.inf),
    ],
)
def test_equal_is_infinitely_like_and_what_is_no_signal_not_at_all(
    reference: float, ours: float, expected: float, tmp_path: Path
) -> None:
    for name, value in (("a.wav", reference), ("b.wav", ours)):
        sf.write(tmp_path / name, np.full((100, 2), value), RATE_HZ, subtype="FLOAT")

    assert sdr_db(tmp_path / "a.wav", tmp_path / "b.wav") == expected


def outputs(folder: Path, stems: Mapping[str, np.ndarray[Any, Any]], *, gain: float) -> Path:
    """Write stems as a run publishes them, of one track `0000.wav`."""
    place = folder / TRACKS / "0000.wav" / "separation"
    place.mkdir(parents=True)
    for name, samples in stems.items():
        sf.write(place / f"{name}.flac", samples * gain, RATE_HZ, subtype="PCM_24")
    lists = ("flags", "files")
    keys = [
        "stage",
        "version",
        "scope",
        "fingerprint",
        "recipe",
        "upstream",
        "folder",
        "source",
        "settings",
        "weights",
        "numeric_path",
        "facts",
        "flags",
        "files",
        "attempt",
        "created_utc",
        "timings",
    ]
    manifest: dict[str, Any] = {key: [] if key in lists else {} for key in keys}
    manifest |= {"format": 1, "facts": {"gain": gain, "sources": list(stems)}}
    files = [*(f"{name}.flac" for name in stems), "features.json"]
    manifest["files"] = [{"name": name, "size_bytes": 1, "sha256": ""} for name in files]
    (place / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def stems() -> dict[str, np.ndarray[Any, Any]]:
    """Two stems, one of which leaves full scale."""
    random = np.random.default_rng(5)
    return {name: random.normal(0, 0.3, (3000, 2)) for name in ("bass", "drums")}


@pytest.fixture
def reference(tmp_path: Path, stems: dict[str, np.ndarray[Any, Any]]) -> Path:
    place = tmp_path / "reference" / "0000.wav"
    place.mkdir(parents=True)
    for name, samples in stems.items():
        sf.write(place / f"{name}.wav", samples, RATE_HZ, subtype="FLOAT")
    return place.parent


def test_the_gain_of_a_run_is_undone(
    tmp_path: Path, reference: Path, stems: dict[str, np.ndarray[Any, Any]]
) -> None:
    ours = outputs(tmp_path / "ours", stems, gain=0.25)

    found = lowest(likenesses(ours, reference, ["0000.wav"]))

    assert found is not None
    assert found.sdr_db > 115  # 24 bits, two of them given to the gain


def test_a_wrong_output_is_caught(
    tmp_path: Path, reference: Path, stems: dict[str, np.ndarray[Any, Any]]
) -> None:
    wrong = {"bass": stems["bass"], "drums": np.roll(stems["drums"], 1, axis=0)}
    ours = outputs(tmp_path / "ours", wrong, gain=0.5)

    found = lowest(likenesses(ours, reference, ["0000.wav"]))

    assert found is not None
    assert (found.stem, found.sdr_db < 10) == ("drums", True)


def test_a_stem_that_is_missing_or_shorter_is_caught(
    tmp_path: Path, reference: Path, stems: dict[str, np.ndarray[Any, Any]]
) -> None:
    fewer = outputs(tmp_path / "fewer", {"bass": stems["bass"]}, gain=1.0)
    shorter = outputs(tmp_path / "shorter", {**stems, "drums": stems["drums"][:-1]}, gain=1.0)
    torn = outputs(tmp_path / "torn", stems, gain=1.0)
    (torn / TRACKS / "0000.wav" / "separation" / "bass.flac").write_bytes(b"fLaC")

    half = outputs(tmp_path / "half", stems, gain=1.0)
    drums = half / TRACKS / "0000.wav" / "separation" / "drums.flac"
    drums.write_bytes(drums.read_bytes()[: drums.stat().st_size // 2])

    for ours, said in (
        (half, "drums.flac .*cannot be compared"),
        (fewer, "it has bass, the reference bass, drums"),
        (shorter, "2999 frames .* the reference 3000 frames"),
        (torn, "bass.flac .*cannot be compared"),
        (tmp_path / "nothing", "no manifest"),
    ):
        with pytest.raises(NotMeasured, match=said):
            likenesses(ours, reference, ["0000.wav"])
