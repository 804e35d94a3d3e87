"""`pipeline bench features` on real files: a table, JSON, and values that are those of the libraries."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.bench import feature_words as words
from pipeline.bench import features
from pipeline.bench.features import Measured, Question, Way, _far, measure
from pipeline.bench.processes import Spent
from pipeline.cli import main
from pipeline.errors import Unfit
from tests.stages.sounds import song

pytest.importorskip("librosa")


def _files(folder: Path) -> tuple[Path, ...]:
    audio = song()
    soundfile.write(folder / "song.wav", audio.samples.T, audio.sample_rate_hz)
    soundfile.write(folder / "soft.flac", 0.5 * audio.samples.T, audio.sample_rate_hz)
    return folder / "song.wav", folder / "soft.flac"


def test_ours_gives_the_values_of_a_script_and_both_are_timed(tmp_path: Path) -> None:
    question = Question(_files(tmp_path), against=(Way.LOADED_ONCE,), runs=1)
    said: list[str] = []

    measured = measure(question, environment=os.environ, say=said.append)

    largest = words.measured_json(measured)["largest_difference"]
    # pyloudnorm looks for the range in 1.5 s of silence after the end, too: much of so short a song.
    assert largest["loudness_range_lu"] < 20
    # Scalars in LU, dB and cents; two oversamplers differ.
    within = {"true_peak_dbtp": 0.05, "loudness_range_lu": 20, "integrated_lufs": 0.01}
    assert {name for name, far in largest.items() if far > within.get(name, 1e-4)} == set()
    assert len(largest) == 15
    assert all(spent.wall_s > 0.1 for one in measured.rounds for spent in one.values())
    assert "round 1 of 1" in said


def _measured() -> Measured:
    rounds = [
        {Way.LOADED_ONCE: Spent(11.0, 11.0), Way.OURS: Spent(3.0, 6.0)},
        {Way.LOADED_ONCE: Spent(13.0, 13.0), Way.OURS: Spent(3.0, 6.0)},
    ]
    starts = {Way.LOADED_ONCE: Spent(1.0, 1.0), Way.OURS: Spent(1.0, 1.0)}
    question = Question((Path("a.wav"),), against=(Way.LOADED_ONCE,), runs=2, threads=2)
    differences = (
        features.Difference("a.wav", "mfcc", 1e-6),
        features.Difference("b.wav", "mfcc", 2e-5),
    )
    return Measured(question, (), starts, tuple(rounds), differences)


def test_the_ratio_is_told_with_and_without_the_starts() -> None:
    told = words.table(_measured()).splitlines()

    row = next(line for line in told if line.startswith("loaded-once"))
    assert row.split()[-4:] == ["1.00", "100%", "4.0", "5.5"]
    assert "ours         3.00 (3.00, 3.00)" in "\n".join(told)
    assert "mfcc: differs by at most 2.0e-05" in told
    assert words.measured_json(_measured())["times_ours_without_starts"] == {
        Way.LOADED_ONCE: [5.0, 6.0]
    }


def test_values_of_another_shape_are_infinitely_far() -> None:
    assert _far(np.zeros(3), np.zeros(4)) == math.inf
    assert _far(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 0.5
    assert _far(-14.0, np.array(-14.5)) == 0.5


def test_a_way_that_is_not_known_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["bench", "features", str(tmp_path / "a.wav"), "--against", "magic"])

    assert code == 2
    assert "--against magic: give some of each-by-itself, loaded-once" in capsys.readouterr().err


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_NEEDED", ("librosa", "no_such_library"))

    with pytest.raises(Unfit, match="no_such_library is not installed"):
        measure(Question(()), environment={}, say=print)


def test_json_is_json() -> None:
    assert json.loads(json.dumps(words.measured_json(_measured())))["threads"] == 2
