"""`pipeline bench gpu`, tried on a CPU: what is measured there, and what is said of the rest."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from pipeline.bench.clips import Clip, gather
from pipeline.bench.gpu import (
    features,
    forwards,
    lane,
    memory,
    names,
    runs,
    sections,
    tracks,
    words,
)
from pipeline.bench.gpu.brief import Brief, Row
from pipeline.bench.gpu.formats import FORMATS, allowed
from pipeline.bench.gpu.loaded import Loaded, likeness_db
from pipeline.bench.gpu.pieces import cut
from pipeline.bench.gpu.trying import tried
from pipeline.bench.gpu.watching import busiest, watched
from pipeline.bench.gpu.worker import SECTIONS
from pipeline.bench.processes import Spent
from pipeline.bench.samples import Dataset
from pipeline.bench.ways import Precision, Task
from pipeline.cli import main
from pipeline.errors import NotMeasured, Unfit
from pipeline.monitoring.cards import Cards
from pipeline.monitoring.gpu import GpuSample
from tests.models import write_model

RATE_HZ = 44_100
STRIDE_S = 0.1875


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short songs, a longer one, and a model with short segments."""
    folder = tmp_path_factory.mktemp("gpu")
    write_model(folder / "small.safetensors", {"segment": Fraction(1, 4)})
    for number, seconds in ((1, 1), (2, 1), (3, 5)):
        noise = np.random.default_rng(number).normal(0, 0.1, (seconds * RATE_HZ, 2))
        sf.write(folder / f"{number}.flac", noise, RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def brief(folder: Path) -> Brief:
    return Brief(
        model=str(folder / "small.safetensors"),
        device="cpu",
        formats=("exact", "fast"),
        batches=(1, 2),
        hows=("eager", "graph"),
        files=(folder / "1.flac", folder / "2.flac"),
        runs=1,
    )


@pytest.fixture(scope="module")
def loaded(brief: Brief) -> Loaded:
    return Loaded.of(brief)


def test_what_the_command_line_knows_is_what_is_measured() -> None:
    assert set(names.FORMATS) == set(FORMATS)
    assert set(names.HOWS) == set(forwards.HOWS)
    assert set(sections.SECTIONS) == set(SECTIONS)


def test_a_brief_arrives_as_it_was_sent(brief: Brief) -> None:
    assert Brief.from_json(brief.to_json()) == brief


# ---- forwards


@pytest.fixture(scope="module")
def timed(loaded: Loaded) -> list[Row]:
    return list(forwards.measure(loaded))


def test_forwards_are_timed_by_batch_and_held_against_demucs(timed: list[Row]) -> None:
    network, *rows = timed

    assert network["flop_per_segment"] > 1e6
    done = [row for row in rows if "problem" not in row]
    ways = [(row["network"], row["format"], row["batch"]) for row in done]
    assert ways == [
        *(("demucs", "exact", batch) for batch in (1, 2)),
        *(("ours", format, batch) for format in ("exact", "fast") for batch in (1, 2)),
    ]
    for row in done:
        assert row["times_real_time"] == pytest.approx(
            row["batch"] * STRIDE_S / row["seconds"], 1e-3
        )
        least_db = 110 if row["format"] == "exact" else 25
        assert row["sdr_db"] is None or row["sdr_db"] > least_db


def test_what_cannot_be_done_here_is_told_once_and_the_rest_is_measured(timed: list[Row]) -> None:
    """A CPU has no graphs."""
    failed = [row for row in timed if "problem" in row]

    assert [(row["format"], row["how"], row["batch"]) for row in failed] == [
        ("exact", "graph", 1),
        ("fast", "graph", 1),
    ]
    assert all("CUDA" in row["problem"] for row in failed)


def test_a_device_that_is_lost_ends_its_process() -> None:
    def lost() -> dict[str, Any]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(torch.AcceleratorError):
        tried({}, lost)


def test_tf32_is_allowed_where_it_is_measured_and_nowhere_else() -> None:
    torch.backends.cudnn.allow_tf32 = False
    with allowed(FORMATS["tf32"]):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_likeness_is_that_of_the_worst_stem() -> None:
    stems = np.random.default_rng(0).standard_normal((2, 3, 2, 1000)).astype(np.float32)
    worse = stems.copy()
    worse[:, 1] *= np.float32(1.001)

    assert likeness_db(stems, stems.copy()) is None
    assert likeness_db(stems, worse) == pytest.approx(60, abs=0.1)
    worse[0, 2, 0, 0] = np.nan
    assert likeness_db(stems, worse) == -999


# ---- whole tracks, and the parts of a lane


def test_whole_tracks_are_those_of_the_cpu(loaded: Loaded) -> None:
    exact, fast = tracks.measure(loaded)

    assert exact["format"] == "exact"
    assert exact["sdr_db"] is None
    assert all(exact[kept] is True for kept in ("alone", "turned", "again"))
    assert fast["format"] == "fast"
    assert 25 < fast["sdr_db"] < 60


def test_each_part_of_a_lane_is_timed_alone(loaded: Loaded) -> None:
    rows = list(lane.measure(loaded))

    parts = {row["part"] for row in rows}
    assert parts == {"read", "compute", "write"}
    assert all(row["times_real_time"] > 0 for row in rows)
    assert {row["format"] for row in rows if row["part"] == "compute"} == {"exact", "fast"}
    assert {"wav32f", "flac24", "mp3"} < {row["format"] for row in rows if row["part"] == "write"}


def test_a_cpu_has_no_memory_to_run_short_of_and_says_so(loaded: Loaded) -> None:
    (row,) = memory.measure(loaded)

    assert "no memory of its own" in row["problem"]


def test_a_transform_is_timed_here_and_by_torch(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    mono = features._mono(loaded)

    rows = list(features.measure(loaded))

    assert [row["format"] for row in rows if row["part"] == "stft"] == [
        "ours, one core", "torch, float64", "torch, float32",
    ]  # fmt: skip
    assert "msd-musicnn-1" in rows[-1]["problem"]
    ours = np.concatenate(features._ours(mono))
    by_torch = features._by_torch(mono, torch.float64, "cpu")
    assert by_torch == pytest.approx(ours, abs=1e-4)


# ---- processes


def test_a_section_whose_process_dies_keeps_what_it_found_and_says_why(
    brief: Brief, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(commands: Sequence[Sequence[str]], *, environment: object, what: str) -> float:
        Path(commands[0][-1]).write_text('{"kind": "card"}\n{"kind": "forw')
        raise NotMeasured(what, "killed by SIGSEGV", "")

    monkeypatch.setattr(sections, "seconds", dying)

    found, died = sections.rows_of("card", brief, tmp_path, environment={})

    assert found == {"kind": "card"}
    assert died["kind"] == "died"
    assert "SIGSEGV" in died["problem"]


def test_what_an_earlier_process_found_is_not_that_of_one_that_never_began(
    brief: Brief, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.jsonl").write_text('{"kind": "card"}\n')

    def failing(commands: object, *, environment: object, what: str) -> float:
        raise NotMeasured(what, "exit status 1", "")

    monkeypatch.setattr(sections, "seconds", failing)

    (died,) = sections.rows_of("card", brief, tmp_path, environment={})

    assert died["kind"] == "died"


def test_a_device_that_is_not_there_ends_it_all(brief: Brief, tmp_path: Path) -> None:
    there_is_none = replace(brief, device="cuda:99")

    with pytest.raises(Unfit, match="cuda:99"):
        sections.rows_of("memory", there_is_none, tmp_path, environment=os.environ)


def test_clips_are_the_songs_cut_into_equal_pieces(folder: Path, tmp_path: Path) -> None:
    files = [folder / "1.flac", folder / "2.flac"]
    songs = Dataset(tmp_path / "songs", tuple(gather(files, tmp_path / "songs")))

    clips = cut(songs, tmp_path / "clips", count=5, seconds=0.3)

    assert [clip.path.name for clip in clips.clips] == ["1.flac"] * 3 + ["2.flac"] * 2
    whole = sf.read(files[0])[0]
    pieces = [sf.read(file)[0] for file in clips.files[:3]]
    assert np.array_equal(np.concatenate(pieces), whole[: 3 * 13_230])
    assert clips.audio_s == pytest.approx(1.5)


def _card(name: str, percent: float | None, used: int | None) -> GpuSample:
    return GpuSample(name, utilisation_percent=percent, memory_used_bytes=used)


def test_a_card_s_work_counts_from_its_first_busy_sample_to_its_last() -> None:
    course = [(0, 1), (80, 5), (None, 9), (0, 7), (100, 7), (0, 2)]
    samples = [(_card("idle", 1, 1), _card("busy", *one)) for one in course]

    assert busiest(samples) == {
        "name": "busy", "samples": 3, "utilisation_percent": 60.0, "memory_used_bytes": 9,
    }  # fmt: skip


def test_where_no_card_was_seen_nothing_is_said_of_one() -> None:
    assert busiest([]) is None
    assert busiest([(_card("silent", None, None),)]) is None


def test_a_card_without_utilisation_still_says_its_memory() -> None:
    """As in MIG mode."""
    found = busiest([(_card("slice", None, 3),), (_card("slice", None, 5),)])

    assert found is not None
    assert (found["utilisation_percent"], found["memory_used_bytes"]) == (None, 5)


def test_cards_are_watched_while_a_process_works() -> None:
    environment = {**os.environ, "FAKE_CARDS": "well"}
    cards = Cards(environment, module="tests.fake_drivers", installed=lambda: True)
    with watched(cards) as samples:
        end = time.monotonic() + 30
        while len(samples) < 2 and time.monotonic() < end:
            time.sleep(0.05)

    assert len(samples) >= 2
    assert samples[0][0].utilisation_percent == 87


def _task(dataset: Dataset) -> Task:
    names_ = tuple(clip.name for clip in dataset.clips)
    return Task(dataset.folder, names_, Path("demucs"), "small", "cpu", "cpu", Precision.EXACT)


@pytest.mark.parametrize("stems", [1, 0])
def test_every_way_is_run_in_turn_and_has_to_do_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stems: int
) -> None:
    """One that does not is told, and the others are run."""
    dataset = Dataset(tmp_path / "songs", (Clip(Path("a.flac"), "0000.flac", 60.0),))
    took_s = iter([30.0, 10.0, 5.0, 4.0, 6.0, 8.0] * 2)
    told: list[Sequence[str]] = []

    def spent(commands: Sequence[Sequence[str]], *, environment: object, what: str) -> Spent:
        told.append(commands[0])
        out = Path(commands[0][commands[0].index("-o" if what.startswith("cli") else "--out") + 1])
        out.mkdir(parents=True)
        for number in range(1 if what.startswith("cli") else stems):
            (out / f"{number}.wav").touch()
        return Spent(next(took_s), 1.0, 1)

    monkeypatch.setattr(runs, "spent", spent)
    place = runs.Place(_task(dataset), tmp_path, 1, {"fast": 16}, {"PATH": os.environ["PATH"]})

    rows = list(runs.measure("songs", dataset, place, rounds=2, say=print))

    assert [(row["round"], row["way"]) for row in rows] == [
        (number, way)
        for number in (1, 2)
        for way in (
            "cli-in-one-call", "ours, exact, wav32f", "ours, balanced, wav32f",
            "ours, fast, wav32f", "ours, fast, flac24", "ours, fast, mp3",
        )
    ]  # fmt: skip
    failed = [row["way"] for row in rows if "0 of 1 stems" in row.get("problem", "")]
    assert len(failed) == (0 if stems else 10)
    assert rows[0]["times_real_time"] == 2.0
    assert not (tmp_path / "out").exists()
    assert [command[-1] for command in told[2:4]] == [
        "separation.format=wav32f",
        "separation.batch=16",
    ]


# ---- the whole command


@pytest.fixture(scope="module")
def results(folder: Path) -> Mapping[str, Any]:
    """A lane that is killed, and what has to be known for that, found in the file of results."""
    asked = ["--sections", "kill", "--formats", "exact", "--batches", "1", "--runs", "1"]
    files = [str(folder / f"{number}.flac") for number in (1, 3)]
    model = ["--model", str(folder / "small.safetensors"), "--device", "cpu"]
    path = folder / "results.json"
    assert main(["bench", "gpu", *files, *model, *asked, "--results", str(path)]) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_findings_lie_in_the_file_of_results(results: Mapping[str, Any]) -> None:
    assert [(row["section"], row["kind"]) for row in results["rows"]] == [
        *[("kill", "batch")] * 3,
        ("kill", "kill"),
    ]
    assert results["versions"]["torch"] == torch.__version__


def test_a_lane_that_is_killed_costs_no_stem(results: Mapping[str, Any]) -> None:
    """The second track is long enough to be at work when the first is through."""
    row = results["rows"][-1]

    assert row["killed_at_work"]
    assert row["tracks"] == row["done"] == 2
    assert row["stems"] == row["identical"] == 8
    assert row["sdr_db"] is None


def test_the_table_shows_each_kind_of_finding_and_each_problem(results: Mapping[str, Any]) -> None:
    card = {"utilisation_percent": 97.0, "memory_used_bytes": 3_000_000_000}
    more = [
        {"kind": "card", "name": "A Card", "torch": "2", "peak_flop_per_s": {"float32": 5e13}},
        {
            "kind": "forward", "network": "ours", "format": "fast", "how": "graph", "batch": 16,
            "seconds": 0.05, "times_real_time": 1872.0, "sdr_db": 37.1, "peak_bytes": 2_000_000_000,
        },
        {"kind": "forward", "network": "ours", "batch": 32, "problem": "OutOfMemoryError: full"},
        {
            "kind": "memory", "room_segments": 0.4, "limit_bytes": 500_000_000, "on_cpu": True,
            "ended_batch": 1, "sdr_db": 117.0, "next_sdr_db": None,
        },
        {
            "kind": "track", "format": "exact", "batch": 8, "sdr_db": 117.2, "alone": True,
            "turned": True, "again": False,
        },
        {"kind": "part", "part": "write", "format": "mp3", "threads": 16, "times_real_time": 290.0},
        *(
            {
                "kind": "run", "set": "songs", "way": way, "round": number, "seconds": seconds,
                "times_real_time": 4800 / seconds, "card": card if number == 2 else None,
            }
            for number in (1, 2, 3)
            for way, seconds in (("cli-in-one-call", 60.0), ("ours, fast, mp3", 10.0 * number))
        ),
    ]  # fmt: skip

    table = words.table({**results, "rows": [*results["rows"], *more]})

    for line in (
        "A Card, torch 2; ",
        "peak in TFLOP/s: float32 50.0",
        "ours     fast    graph  16     50.0  1,872            37.1    2.0 GB",
        "songs  cli-in-one-call  60.0     80               1.00           97 %          3.0 GB",
        "0.4                500.0 MB  CPU          117.0   identical",
        "write       mp3     16       290",
        "songs  ours, fast, mp3  20.0     240              3.00           97 %          3.0 GB",
        "ours, 32: OutOfMemoryError: full",
        "2 of 2 tracks done, 8 of 8 stems identical",
        "exact        8      117.2   yes              yes               no",
    ):
        assert line in table, table


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--batches", "1,x", "whole numbers from 1 to 1024"),
        ("--batches", "0", "whole numbers from 1 to 1024"),
        ("--formats", "float8", "give some of exact, balanced, fast, tf32, float16"),
        ("--sections", "all", "give some of card, batches"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    capsys: pytest.CaptureFixture[str], option: str, value: str, says: str
) -> None:
    assert main(["bench", "gpu", "song.flac", option, value]) == 2

    assert says in capsys.readouterr().err
