"""`pipeline bench separation`: a small random model, short clips, all ways for real."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
import yaml
from demucs.api import Separator
from demucs.pretrained import get_model

from pipeline.bench import separation, words
from pipeline.bench.apply_model import read, separated
from pipeline.bench.clips import Clip, gather
from pipeline.bench.comparison import Likeness
from pipeline.bench.preparing import Network, Prepared
from pipeline.bench.processes import seconds
from pipeline.bench.repository import write_repository
from pipeline.bench.separation import Measured, Question, Round
from pipeline.bench.ways import NAME, Precision, Task, Way, commands
from pipeline.cli import main
from pipeline.errors import BadUsage, NotMeasured
from stages.demucs_loader import load_model
from stages.weights import ModelFiles, WeightFile
from tests.models import write_model

ROOT = Path(__file__).parents[2]
RATE_HZ = 44_100


def write_clip(path: Path, *, length_s: float, seed: int) -> Path:
    """Write some noise over a tone that dies away."""
    time_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * 220 * (seed + 1) * time_s) * np.exp(-time_s)
    noise = np.random.default_rng(seed).normal(0, 0.05, (len(time_s), 2))
    sf.write(path, tone[:, np.newaxis] + noise, RATE_HZ, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips and a model."""
    folder = tmp_path_factory.mktemp("bench")
    write_model(folder / "small.safetensors", half=True)
    write_clip(folder / "one.wav", length_s=2.0, seed=1)
    write_clip(folder / "two.flac", length_s=2.6, seed=2)
    return folder


# ---- the whole command


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """One round of everything, in real processes. What the environment sets must not count."""
    (folder / "tmp").mkdir()
    surroundings = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1",  # of Demucs' own ways: beside other tests two take longer than one
        "NIGHTSHIFT_SEPARATION__STEMS": '["vocals"]',
    }
    command = ["bench", "separation", "one.wav", "two.flac", "--model", "small.safetensors"]
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *command, "--runs", "1", "--json"],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_way_is_timed_once_a_round(answer: Mapping[str, Any]) -> None:
    ways = ["cli-per-file", "cli-in-one-call", "apply-model", "ours"]

    assert list(answer["seconds"]) == ways
    assert all(len(values) == 1 and values[0] > 0 for values in answer["seconds"].values())
    ours_s = answer["median_s"]["ours"]
    for rival in ways[:-1]:
        ratio = answer["median_s"][rival] / ours_s
        assert answer["median_times_ours"][rival] == pytest.approx(ratio)
    assert answer["times_real_time"] == pytest.approx(4.6 / ours_s)


def test_ours_gives_the_stems_of_demucs(answer: Mapping[str, Any]) -> None:
    (found,) = answer["sdr"]

    assert [(one["name"], one["stem"]) for one in found] == [
        (name, stem)
        for name in ("0000.wav", "0001.flac")
        for stem in ("bass", "drums", "other", "vocals")
    ]
    assert all(one["identical"] or one["sdr_db"] > 100 for one in found)
    assert answer["keeps_the_promise"] is True


def test_the_share_of_the_peak_is_that_of_the_model_s_operations(
    answer: Mapping[str, Any],
) -> None:
    # A segment of 39/20 s moves on by three quarters of that.
    segments = sum(math.ceil(length_s / (0.75 * 39 / 20)) for length_s in (2.0, 2.6))
    (flop_per_segment,) = answer["flop_per_segment"]

    speed = segments * flop_per_segment / answer["median_s"]["ours"]

    assert list(answer["peak_flop_per_s"]) == ["float32"]
    assert answer["peak_flop_per_s"]["float32"] > speed
    share = answer["share_of_peak"]["float32"]
    assert share == pytest.approx(speed / answer["peak_flop_per_s"]["float32"])


def test_the_json_says_of_what_and_where(answer: Mapping[str, Any]) -> None:
    assert set(answer) == {
        "bench", "started_utc", "versions", "processor", "threads", "device", "model", "precision",
        "runs", "files", "audio_s", "seconds", "median_s", "times_ours", "median_times_ours",
        "times_real_time", "flop_per_segment", "peak_flop_per_s", "share_of_peak", "lowest_sdr",
        "sdr", "keeps_the_promise",
    }  # fmt: skip
    assert set(answer["versions"]) == {"nightshift", "python", "torch", "demucs"}
    assert [one["path"] for one in answer["files"]] == ["one.wav", "two.flac"]
    assert [one["duration_s"] for one in answer["files"]] == pytest.approx([2.0, 2.6])


def test_words_go_to_stderr_and_nothing_is_left_behind(
    done: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert "round 1 of 1\n" in done.stderr
    assert list((folder / "tmp").glob("nightshift*")) == []  # torch leaves something too


# ---- what people see


def measured(*, sdr: float = 120.0, precision: Precision = Precision.EXACT) -> Measured:
    """Return three rounds of one file of 10 s; the machine was slow in the second."""
    rounds = [
        Round(
            {Way.APPLY_MODEL: 4.0 * slow, Way.OURS: 2.0 * slow},
            (Likeness("0000.wav", "bass", 140.0), Likeness("0000.wav", "drums", sdr)),
        )
        for slow in (1.0, 3.0, 1.0)
    ]
    network = Network(segment_samples=80_000, flop_per_segment=10**10, is_padded=True)
    return Measured(
        Question((Path("a/song.wav"),), "htdemucs", precision, "cpu", (Way.APPLY_MODEL,), 3),
        datetime(2026, 1, 2, tzinfo=UTC),
        (Clip(Path("a/song.wav"), "0000.wav", 10.0),),
        Prepared("cpu", 8_000, ("bass", "drums"), (network,), {"float32": 4 * 10**10}),
        tuple(rounds),
    )


def test_the_table_shows_medians_with_all_values() -> None:
    lines = words.table(measured()).splitlines()

    assert lines[3].split() == ["apply-model", "4.00", "(4.00,", "12.00,", "4.00)", "2.00",
                                "(2.00,", "2.00,", "2.00)"]  # fmt: skip
    assert lines[4].split() == ["ours", "2.00", "(2.00,", "6.00,", "2.00)"]
    # Two segments of 10 s, 7.5 s apart: 2e10 operations in 2 s.
    assert "5.00 times real time, 25.0% of the peak of 40 GFLOP/s (float32)" in lines[6]
    assert lines[7] == "lowest SDR against apply-model: 120.0 dB (song.wav, drums)"


@pytest.mark.parametrize(("sdr", "shown"), [(math.inf, None), (-math.inf, None), (42.0, 42.0)])
def test_the_json_holds_no_infinity(sdr: float, shown: float | None) -> None:
    found = words.measured_json(measured(sdr=sdr))

    json.dumps(found, allow_nan=False)
    assert found["sdr"][0][1]["sdr_db"] == shown
    assert found["sdr"][0][1]["identical"] == (sdr == math.inf)


@pytest.mark.parametrize(
    ("sdr", "precision", "code"),
    [
        (99.9, Precision.EXACT, 1),
        (-math.inf, Precision.EXACT, 1),
        (100.0, Precision.EXACT, 0),
        (math.inf, Precision.EXACT, 0),
        (39.0, Precision.FAST, 0),
    ],
)
def test_stems_that_break_the_promise_of_exact_end_it_with_1(
    sdr: float,
    precision: Precision,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = measured(sdr=sdr, precision=precision)
    monkeypatch.setattr(separation, "measure", lambda *args, **keywords: found)

    assert main(["bench", "separation", "song.wav"]) == code

    assert ("promises 100 dB" in capsys.readouterr().err) == (code == 1)


def test_a_last_segment_costs_as_much_as_the_model_fills_up() -> None:
    padded = Network(segment_samples=100, flop_per_segment=1000, is_padded=True)
    plain = dataclasses.replace(padded, is_padded=False)

    assert padded.flop(160) == 3000  # from 0, 75 and 150
    assert plain.flop(160) == 1000 + 850 + 100


# ---- the ways


def task(folder: Path, **changes: object) -> Task:
    """Return a task of two files."""
    names = ("0000.wav", "0001.wav")
    made = Task(folder, names, folder / "demucs", "m", "cuda", "rocm", Precision.EXACT)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_the_command_line_of_demucs_runs_once_for_each_file_or_once_for_all(
    tmp_path: Path,
) -> None:
    each = commands(Way.CLI_PER_FILE, task(tmp_path), tmp_path / "out")
    once = commands(Way.CLI_IN_ONE_CALL, task(tmp_path), tmp_path / "out")

    files = [str(tmp_path / "0000.wav"), str(tmp_path / "0001.wav")]
    assert [command[-1:] for command in each] == [[file] for file in files]
    assert [command[-2:] for command in once] == [files]
    assert each[0][:-1] == once[0][:-2]
    assert {"--shifts", "--float32", "cuda"} < set(once[0])


def test_a_run_gets_the_model_the_device_as_it_was_given_and_the_precision(tmp_path: Path) -> None:
    fast = task(tmp_path, precision=Precision.FAST)

    (command,) = commands(Way.OURS, fast, tmp_path / "out")

    assert command[4:] == [
        "run", str(tmp_path), "--out", str(tmp_path / "out"), "--stages", "separation",
        "--model", "m", "--device", "rocm", "--precision", "fast",
        "--set", "separation.format=wav32f",
    ]  # fmt: skip


def test_a_way_that_fails_is_named_with_its_last_words() -> None:
    failing = [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"]

    with pytest.raises(NotMeasured, match=r"(?s)ours .*exit status 3.*no such thing"):
        seconds([failing], environment=os.environ, what="ours")


def test_a_way_that_leaves_stems_out_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(separation, "seconds", lambda *args, **keywords: 0.1)
    bench = separation._Bench(task(tmp_path), tmp_path / "out", stems=4, environment={})

    with pytest.raises(NotMeasured, match="0 stems of 8"):
        bench.round((Way.CLI_PER_FILE,), say=print)


def test_demucs_loads_from_the_repository_what_a_run_loads(tmp_path: Path) -> None:
    sources = [write_model(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (1, 2)]
    rows = ((1.0, 0.0, 0.5, 0.25), (0.0, 1.0, 0.5, 0.75))
    files = ModelFiles(tuple(map(WeightFile, sources)), rows, segment_s=1.5)
    ours = load_model(files)

    write_repository(tmp_path / "demucs", files, ours)

    theirs = get_model(NAME, repo=tmp_path / "demucs")
    assert theirs.weights == [list(row) for row in rows]
    for network, other in zip(ours.networks, theirs.models, strict=True):
        assert network.segment == other.segment == 1.5
        state = other.state_dict()
        assert all(torch.equal(state[key], one) for key, one in network.state_dict().items())
    assert yaml.safe_load((tmp_path / "demucs" / f"{NAME}.yaml").read_text())["segment"] == 1.5


def test_the_reference_has_the_numbers_of_demucs_own_separator(
    tmp_path: Path, folder: Path
) -> None:
    files = ModelFiles((WeightFile(folder / "small.safetensors"),))
    write_repository(tmp_path / "demucs", files, load_model(files))
    separator = Separator(NAME, repo=tmp_path / "demucs", device="cpu", shifts=0)
    mix = read(folder / "one.wav", RATE_HZ)[:, : RATE_HZ // 2]

    stems = separated(separator.model, mix, device="cpu")

    _, expected = separator.separate_tensor(torch.from_numpy(mix))
    assert list(expected) == separator.model.sources
    for stem, other in zip(stems, expected.values(), strict=True):
        np.testing.assert_array_equal(stem, other.numpy())


# ---- what it refuses


def test_files_are_gathered_under_names_that_differ_and_stay_as_they_are(
    folder: Path, tmp_path: Path
) -> None:
    """A link more would change when a file was last changed, and a run would hash it anew."""
    again = shutil.copy(folder / "two.flac", tmp_path / "ONE.FLAC")
    before = os.stat(again)

    clips = gather([folder / "one.wav", Path(again)], tmp_path / "music")

    assert [clip.name for clip in clips] == ["0000.wav", "0001.flac"]
    assert [clip.samples(8000) for clip in clips] == [16_000, 20_800]
    assert (tmp_path / "music" / "0001.flac").read_bytes() == Path(again).read_bytes()
    assert os.stat(again).st_ctime_ns == before.st_ctime_ns


def test_the_same_content_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    again = Path(shutil.copy(folder / "one.wav", tmp_path / "copy.wav"))

    with pytest.raises(BadUsage, match=r"copy.wav and .*one.wav have the same content"):
        gather([folder / "one.wav", again], tmp_path / "music")


def refused(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    given = ["--model", str(folder / "small.safetensors"), *arguments]
    code = main(["bench", "separation", *given])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing.wav"], 2, "nothing.wav cannot be read"),
        (["small.safetensors"], 2, "small.safetensors cannot be read"),
        (["one.wav", "--model", "nobody"], 4, "no model, file or folder named 'nobody'"),
        (["one.wav", "--model", "broken.safetensors"], 4, "broken.safetensors: header"),
        (["one.wav", "--precision", "rough"], 2, "give one of exact, balanced, fast"),
        (["one.wav", "--against", "apply-model,me"], 2, "--against me: give some of"),
        (["one.wav", "--against", "ours"], 2, "--against ours: give some of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_measured_is_refused_with_its_code(
    arguments: list[str],
    code: int,
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "broken.safetensors").write_bytes(b"not much")
    monkeypatch.chdir(folder)

    found, words = refused(arguments, folder, capsys)

    assert (found, said in words) == (code, True), words


def test_without_the_libraries_it_says_what_installs_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)

    code, words = refused([str(folder / "one.wav")], folder, capsys)

    assert code == 4
    assert 'pip install "nightshift[separation]"' in words
