"""What the demo says of its stems: against the true ones, and only of what can be held against them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pipeline.manifest import FILE_NAME, File, Manifest
from pipeline.music.bundle import BUNDLED, FOLDER
from pipeline.music.compare import compare, separated
from pipeline.music.render import mastered, render
from pipeline.music.score import STEMS
from stages.base import JsonValue

PIECE = BUNDLED[0]  # in which nobody sings
SHIPPED = hashlib.sha256((FOLDER / PIECE.file_name).read_bytes()).hexdigest()
FACTS: Mapping[str, JsonValue] = {"gain": 1.0, "lossless": True, "sample_rate_hz": 44_100}

Stems = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def true() -> Stems:
    return mastered(render(PIECE))


def publish(out: Path, stems: Stems, *, source: str = SHIPPED, **facts: JsonValue) -> None:
    folder = out / "tracks" / PIECE.file_name / "separation"
    folder.mkdir(parents=True)
    for name, samples in stems.items():
        soundfile.write(folder / f"{name}.flac", samples.T, 44_100, subtype="PCM_24")
    files = [
        File(file.name, file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(folder.iterdir())
    ]
    made = Manifest(
        stage="separation", version=1, scope="mix", fingerprint="f", recipe="r", upstream=None,
        folder=f"tracks/{PIECE.file_name}/separation", source={"sha256": source}, settings={},
        weights={}, numeric_path={}, facts={**FACTS, **facts}, flags=(), files=tuple(files),
        attempt="a", created_utc="2020-01-01T00:00:00Z", timings={},
    )  # fmt: skip
    (folder / FILE_NAME).write_bytes(made.to_bytes())


def test_true_stems_are_as_near_as_24_bits_let_them(tmp_path: Path, true: Stems) -> None:
    publish(tmp_path, true)

    found = compare(tmp_path)

    assert list(found) == [PIECE.file_name]
    assert tuple(found[PIECE.file_name]) == STEMS
    for stem in ("drums", "bass", "other"):
        near = found[PIECE.file_name][stem]
        assert near.sdr_db is not None
        assert near.mix_sdr_db is not None
        assert near.sdr_db > 100.0
        assert near.mix_sdr_db < 5.0
    assert found[PIECE.file_name]["vocals"].sdr_db is None


def test_the_gain_of_the_files_is_taken_back(tmp_path: Path, true: Stems) -> None:
    publish(tmp_path, {name: 0.5 * stem for name, stem in true.items()}, gain=0.5)

    near = compare(tmp_path)[PIECE.file_name]["bass"]

    assert near.sdr_db is not None
    assert near.sdr_db > 100.0


def test_a_stem_that_was_not_asked_for_is_left_out(tmp_path: Path, true: Stems) -> None:
    publish(tmp_path, {"vocals": true["vocals"]})

    assert list(compare(tmp_path)[PIECE.file_name]) == ["vocals"]


@pytest.mark.parametrize(
    ("source", "facts"),
    [
        pytest.param("0" * 64, {}, id="a file of the user's own, of the same name"),
        pytest.param(SHIPPED, {"lossless": False}, id="a lossy format"),
        pytest.param(SHIPPED, {"sample_rate_hz": 48_000}, id="another rate"),
    ],
)
def test_what_cannot_be_held_against_the_true_stems_is_left_out(
    tmp_path: Path, true: Stems, source: str, facts: dict[str, JsonValue]
) -> None:
    publish(tmp_path, true, source=source, **facts)

    assert compare(tmp_path) == {}


def test_what_was_not_separated_is_left_out(tmp_path: Path) -> None:
    assert list(separated(tmp_path)) == []
