"""`pipeline bench features` on real files: a table, JSON, and values that are those of the libraries."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve, firwin

from pipeline.bench import feature_words as words
from pipeline.bench import features
from pipeline.bench.clips import Clip
from pipeline.bench.feature_differences import Difference, far
from pipeline.bench.feature_ways import Way
from pipeline.bench.features import Measured, Question, Took, measure
from pipeline.bench.processes import Spent
from pipeline.bench.subjects import FEATURES
from pipeline.cli import main
from pipeline.cli_bench import numbers_of_threads
from pipeline.errors import Unfit
from tests.stages.sounds import song

pytest.importorskip("librosa")


def _files(folder: Path) -> tuple[Path, ...]:
    """Music that ends at 16 kHz, as MP3 has it: above, two oversamplers differ by their filters."""
    audio = song()
    low = firwin(255, 16_000, fs=audio.sample_rate_hz)
    music = fftconvolve(audio.samples, low[np.newaxis], mode="same", axes=1).T
    soundfile.write(folder / "song.wav", music, audio.sample_rate_hz)
    soundfile.write(folder / "soft.flac", 0.5 * music, audio.sample_rate_hz)
    return folder / "song.wav", folder / "soft.flac"


def test_ours_gives_the_values_of_a_script(tmp_path: Path) -> None:
    question = Question(_files(tmp_path), against=(Way.LOADED_ONCE,), runs=1, threads=(2,))
    said: list[str] = []

    measured = measure(question, environment=os.environ, say=said.append)

    largest = words.measured_json(measured)["largest_difference"]
    # pyloudnorm looks for the range in 1.5 s of silence after the end, too: much of so short a song.
    within = {"true_peak_dbtp": 0.01, "loudness_range_lu": 1.0, "integrated_lufs": 0.01}
    assert {name for name, far in largest.items() if far > within.get(name, 1e-4)} == set()
    assert len(largest) == 19
    assert len(measured.differences) == 2 * 19
    took = [*measured.rivals.values(), *measured.ours.values()]
    assert [len(one.rounds) for one in took] == [1, 1]
    assert all(one.wall_s > 0.1 for way in took for one in (way.start, *way.rounds))
    told = said[said.index("round 1 of 1") + 1 :]
    assert [line.rsplit(maxsplit=2)[0] for line in told] == [
        "  loaded-once",
        "  ours",
    ]


def test_a_script_may_use_as_many_threads_as_ours_has_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = Question((), against=(Way.LOADED_ONCE,), threads=(1, 4))
    limits: list[tuple[str, str]] = []

    def spent(commands: object, *, environment: Mapping[str, str], what: str) -> Spent:
        limits.append((what, environment["OMP_NUM_THREADS"]))
        return Spent(1.0, 1.0, 1)

    monkeypatch.setattr(features, "spent", spent)
    features._Bench(question, tmp_path / "out", environment={}, say=print).round(tmp_path)

    assert limits == [("loaded-once", "4"), ("ours, 1 thread", "1"), ("ours, 4 threads", "4")]


def _took(start_s: float, *walls_s: float, cores: float = 1.0, peak_mb: int = 300) -> Took:
    spents = [Spent(wall_s, cores * wall_s, peak_mb * 10**6) for wall_s in (start_s, *walls_s)]
    return Took(spents[0], tuple(spents[1:]))


def _measured(ours: Mapping[int, Took], **found: float) -> Measured:
    question = Question((Path("a.wav"),), against=(Way.LOADED_ONCE,), runs=2, threads=tuple(ours))
    return Measured(
        question,
        clips=(Clip(Path("a.wav"), "0000.wav", 60.0), Clip(Path("b.wav"), "0001.wav", 40.0)),
        rivals={Way.LOADED_ONCE: _took(1.0, 11.0, 13.0)},
        ours=ours,
        differences=(
            Difference("0000.wav", "mfcc", 1e-6),
            Difference("0001.wav", "mfcc", 2e-5),
            *(Difference("0001.wav", name, largest) for name, largest in found.items()),
        ),
    )


ONE = {2: _took(1.0, 3.0, 3.0, cores=1.5)}
SEVERAL = {1: _took(1.0, 5.0, 5.0), 2: _took(2.0, 4.0, 4.0, cores=1.5, peak_mb=1200)}


def test_the_table_tells_of_one_number_of_threads() -> None:
    told = words.table(_measured(ONE)).splitlines()

    assert told[0].startswith("2 files, 100.0 s of music; 2 threads of ")
    cells = [line.split("  ") for line in told[2:5]]
    assert [[cell.strip() for cell in line if cell.strip()] for line in cells] == [
        ["seconds: median (all)", "of it start", "CPU", "peak MB", "times ours", "without starts"],
        ["loaded-once", "12.00 (11.00, 13.00)", "1.00", "100%", "300", "4.0", "5.5"],
        ["ours", "3.00 (3.00, 3.00)", "1.00", "150%", "300"],
    ]
    assert "ours: 50.0 times real time after its start" in told
    assert "mfcc: differs by at most 2.0e-05" in told


def test_the_table_has_ours_with_every_number_of_threads() -> None:
    told = words.table(_measured(SEVERAL)).splitlines()

    assert told[0].startswith("2 files, 100.0 s of music; 1 thread and 2 threads of ")
    assert [line.split()[-4:] for line in told[3:6]] == [
        ["2.4", "2.8", "3.0", "5.5"],
        ["5.00)", "1.00", "100%", "300"],
        ["4.00)", "2.00", "150%", "1,200"],
    ]
    assert "times ours, 1 thread  without starts  times ours, 2 threads  without starts" in told[2]
    assert [line.split("  ")[0] for line in told[4:6]] == ["ours, 1 thread", "ours, 2 threads"]
    assert "ours, 2 threads: 50.0 times real time after its start" in told


def test_the_json_has_ours_by_its_number_of_threads() -> None:
    one, several = (
        json.loads(json.dumps(words.measured_json(_measured(ours)))) for ours in (ONE, SEVERAL)
    )

    assert one["threads"] == [2]
    assert one["seconds"] == {"loaded-once": [11.0, 13.0], "ours": {"2": [3.0, 3.0]}}
    assert one["times_ours_without_starts"] == {"loaded-once": {"2": [5.0, 6.0]}}
    assert several["threads"] == [1, 2]
    assert several["start_seconds"] == {"loaded-once": 1.0, "ours": {"1": 1.0, "2": 2.0}}
    assert several["cpu_seconds"]["ours"] == {"1": [5.0, 5.0], "2": [6.0, 6.0]}
    assert several["peak_bytes"]["ours"]["2"] == [1_200_000_000, 1_200_000_000]
    assert several["times_ours"] == {"loaded-once": {"1": [2.2, 2.6], "2": [2.75, 3.25]}}
    assert several["times_real_time_after_start"] == {"1": [25.0, 25.0], "2": [50.0, 50.0]}


def test_no_ratio_is_told_where_ours_took_no_longer_than_its_start() -> None:
    brief = _measured({1: _took(3.0, 2.9, 3.1)})

    answer = words.measured_json(brief)
    assert answer["times_ours_without_starts"]["loaded-once"]["1"][0] is None
    assert answer["times_real_time_after_start"]["1"][0] is None
    row = next(line for line in words.table(brief).splitlines() if line.startswith("loaded-once"))
    assert row.split()[-2:] == ["4.0", "-"]
    assert "ours: - times real time after its start" in words.table(brief)


def test_the_json_holds_no_infinity() -> None:
    answer = words.measured_json(_measured(ONE, chroma=math.inf))

    assert answer["largest_difference"] == {"mfcc": 2e-5, "chroma": None}


def test_values_of_another_shape_are_infinitelyfar() -> None:
    assert far(np.zeros(3), np.zeros(4)) == math.inf
    assert far(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 0.5
    assert far(-14.0, np.array(-14.5)) == 0.5


def test_a_script_starts_without_the_pipeline() -> None:
    shown = "import sys, pipeline.bench.feature_calls; print(*sys.modules)"

    loaded = subprocess.check_output([sys.executable, "-c", shown], text=True).split()

    assert {name for name in loaded if name.startswith(("pipeline", "stages"))} == {
        "pipeline",
        "pipeline.bench",
        "pipeline.bench.feature_calls",
        "pipeline.bench.feature_ways",
        "pipeline.bench.level_calls",
        "pipeline.bench.librosa_calls",
    }


def test_a_way_that_is_not_known_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["bench", "features", str(tmp_path / "a.wav"), "--against", "magic"])

    assert code == 2
    assert "--against magic: give some of each-by-itself, loaded-once" in capsys.readouterr().err


def test_a_missing_library_is_named() -> None:
    lacking = replace(FEATURES, needed=("librosa", "no_such_library"))

    with pytest.raises(Unfit, match="no_such_library is not installed"):
        measure(Question((), subject=lacking), environment={}, say=print)


@pytest.mark.parametrize("number", ["0", "-1", "two", "4097"])
def test_a_number_of_threads_that_cannot_be_is_refused(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["bench", "features", "a.wav", "--threads", "1", "--threads", number])

    assert code == 2
    assert "Invalid value for '--threads'" in capsys.readouterr().err


def test_numbers_of_threads_are_each_taken_once_from_the_smallest_on() -> None:
    assert numbers_of_threads([4, 1, 4]) == (1, 4)
    assert numbers_of_threads(None) == (1,)
