"""`pipeline threads`: what is tried, what is left out, and how it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.cli import main
from pipeline.errors import BadUsage, NotMeasured
from pipeline.threading_analysis import analysis, subjects, words
from pipeline.threading_analysis.analysis import (
    LeftOut,
    Measured,
    Question,
    Trial,
    Tried,
    measure,
    pool_sizes,
    thread_counts,
)
from pipeline.threading_analysis.brief import Way
from pipeline.threading_analysis.cost import Cost, LibraryPool
from pipeline.threading_analysis.plot import drawn
from pipeline.threading_analysis.subjects import CALLS, Call, Subject
from stages import STAGES
from tests.pipeline.threading_briefs import BURNING, ROOT, brief

# ---- what is tried


def test_threads_are_doubled_up_to_the_budget_and_that_is_tried_too() -> None:
    assert [thread_counts(most) for most in (1, 2, 6, 24)] == [
        [1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16, 24],
    ]  # fmt: skip
    assert [pool_sizes(most) for most in (1, 2, 3, 24)] == [[2, 4], [2, 4], [2, 3, 4], [2, 4, 24]]


def test_every_registered_stage_has_calls_that_can_be_loaded() -> None:
    assert set(CALLS) == set(STAGES)
    for call in (call for calls in CALLS.values() for call in calls):
        file = ROOT / f"{call.module.replace('.', '/')}.py"
        assert "def work(brief: Brief) -> Work:" in file.read_text(encoding="utf-8")


def names_in(module: str) -> set[str]:
    """Return the calls that a module has to know."""
    return {
        call.name
        for calls in CALLS.values()
        for call in calls
        if call.module == f"pipeline.threading_analysis.{module}"
    }


def test_calls_of_librosa_and_pyloudnorm_are_those_that_the_features_are_held_against() -> None:
    pytest.importorskip("librosa")
    pytest.importorskip("pyloudnorm")
    from pipeline.bench import level_calls, librosa_calls
    from pipeline.threading_analysis import level_work, librosa_work

    assert set(librosa_work._CALLS) == names_in("librosa_work")
    assert set(librosa_work._CALLS.values()) <= set(librosa_calls.MUSIC)
    assert set(level_work._CALLS) == names_in("level_work")
    assert set(level_work._CALLS.values()) <= set(level_calls.LEVELS)


def test_calls_of_essentia_and_demucs_give_what_they_give(tmp_path: Path) -> None:
    pytest.importorskip("essentia")
    pytest.importorskip("demucs")
    from pipeline.threading_analysis import demucs_work, essentia_work

    nano = brief(
        tmp_path, stage="separation", name="demucs.apply_model", settings='{"model": "nano"}'
    )

    key: Any = essentia_work.work(brief(tmp_path, name="essentia.KeyExtractor")).do()
    stems: Any = demucs_work.work(nano).do()

    assert key[1] in ("major", "minor")
    assert stems.shape[:2] == (4, 2)


def test_what_cannot_be_measured_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Call("no.such.call", "nowhere", ("no_such_library",))
    monkeypatch.setitem(subjects.CALLS, "burning", (lacking,))
    monkeypatch.setattr(analysis._Bench, "trials", lambda self, subject: iter(costs()))
    question = Question(("burning",), seconds=1)

    found = measure(question, environment=BURNING, say=lambda words: None)

    assert [one.subject for one in found.tried] == [Subject("burning")]
    (left_out,) = found.left_out
    assert (left_out.subject.name, left_out.failed) == ("no.such.call", False)
    assert left_out.why.startswith("not installed: no_such_library. Install with: pip install")
    assert f"  no.such.call: {left_out.why}" in words.table(found).splitlines()


def test_what_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def trials(self: object, subject: Subject) -> list[Trial]:
        if subject.stage == "breaking":
            raise NotMeasured("breaking, 1 thread", "exit status 1", "no luck")
        return costs()

    monkeypatch.setattr(analysis._Bench, "trials", trials)

    found = measure(Question(seconds=1), environment=BURNING, say=lambda words: None)

    assert [one.subject.name for one in found.tried] == ["burning"]
    assert [(one.subject.name, one.failed) for one in found.left_out] == [("breaking", True)]


def test_an_unknown_stage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["threads", "--stages", "onsets,magic"]) == 2

    assert "there is no stage magic. Stages: loudness, onsets" in capsys.readouterr().err


def test_a_plot_that_has_no_folder_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    from pipeline.cli_threads import threads

    with pytest.raises(BadUsage, match="there is no folder"):
        threads(stages="magic", plot=tmp_path / "nowhere" / "plot.svg")


# ---- how it is told


def made(wall_s: float, cores: float, **changes: Any) -> Cost:
    pools = (LibraryPool("OpenBLAS (numpy)", 2), LibraryPool("TensorFlow", None))
    given = Cost(
        walls_s=(wall_s, 2 * wall_s, wall_s / 2),
        total_s=3.5 * wall_s,
        cpu_s=3.5 * wall_s * cores,
        done=3,
        repeats=2,
        threads=4,
        voluntary=60,
        involuntary=6,
        pools=pools,
        is_parallel=True,
    )
    return replace(given, **changes)


def costs() -> list[Trial]:
    return [
        Trial(Way.ALONE, 1, 1, made(1.0, 1.0)),
        Trial(Way.ALONE, 1, 2, made(0.95, 1.8)),
        Trial(Way.ALONE, 1, None, made(0.96, 1.9)),
        Trial(Way.THREADS, 2, 1, made(0.55, 1.9)),
        Trial(Way.PROCESSES, 2, 1, made(0.6, 1.9, pools=())),
        Trial(Way.PROCESSES, 2, None, made(1.2, 2.0, pools=())),
    ]


def measured() -> Measured:
    call = Call("a.call<>", "a", ())
    return Measured(
        Question(),
        2,
        (Tried(Subject("onsets"), tuple(costs())), Tried(Subject("onsets", call), (*costs()[:3],))),
        (LeftOut(Subject("tagging"), "no weights"),),
    )


def test_the_table_shows_cpu_use_beside_speed_up() -> None:
    lines = words.table(measured()).splitlines()

    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    assert ["2 threads", "0.9500", "1.05", "53%", "180%", "4", "10", "1"] in cells
    assert [
        "2 processes, threads not set",
        "1.2000",
        "0.83",
        "21%",
        "200%",
        "4",
        "10",
        "1",
    ] in cells
    assert (
        "threads held where none are set: OpenBLAS (numpy) 2, TensorFlow ? (the stage, a.call<>)"
        in lines
    )
    (told,) = [line for line in lines if line.startswith("the stage: ")]
    assert "uses 1.8 cores with 2 threads for 1.05 times the speed" in told
    assert "no pool does more than one process with a track on each of 2 threads" in told
    assert lines[-2:] == ["not measured:", "  tagging: no weights"]


def test_a_machine_that_is_busy_is_told_of() -> None:
    busy = words.table(replace(measured(), busy_cores=1.46))

    assert "When this began other programs kept 1.5 cores busy" in busy
    assert "kept" not in words.table(replace(measured(), busy_cores=0.3))


def test_the_plot_is_well_formed_and_shows_every_subject() -> None:
    picture = ElementTree.fromstring(drawn(measured()))

    told = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"onsets", "a.call<>", "not set", "2 processes, 1 thread each"} <= set(told)
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for mark in picture.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(mark.attrib["cx"]) < width
        assert 0 < float(mark.attrib["cy"]) < height


def test_a_long_name_is_drawn_without_its_library() -> None:
    long = Call("essentia.TensorflowPredictMusiCNN", "a", ())
    tried = Tried(Subject("tagging", long), (*costs()[:3],))

    told = drawn(replace(measured(), tried=(tried,)))

    assert ">TensorflowPredictMusiCNN<" in told
    assert long.name not in told


def test_the_command_measures_a_stage_and_draws_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "threads", "--stages", "burning", "--seconds", "1",
         "--rounds", "1", "--plot", str(tmp_path / "plot.svg"), "--json"],
        env={**BURNING, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {
        "analysis", "versions", "processor", "cores", "cores_busy_before", "music_s", "rounds", "model", "subjects",
        "left_out",
    }  # fmt: skip
    (subject,) = found["subjects"]
    assert (subject["stage"], subject["call"], bool(subject["verdict"])) == ("burning", None, True)
    tried = [(one["way"], one["workers"], one["threads"]) for one in subject["trials"]]
    assert tried[0] == ("alone", 1, 1)
    assert {("alone", 1, None), ("processes", 2, 1), ("processes", 4, None)} <= set(tried)
    assert set(subject["trials"][0]) == {
        "way", "workers", "threads", "seconds", "median_s", "speed_up", "efficiency",
        "cores_in_use", "cpu_s", "threads_alive", "voluntary_switches", "involuntary_switches",
        "times_done", "pools",
    }  # fmt: skip
    assert "burning, 2 processes, 1 thread each: " in done.stderr
    ElementTree.parse(tmp_path / "plot.svg")
    assert [entry.name for entry in tmp_path.iterdir()] == ["plot.svg"]
