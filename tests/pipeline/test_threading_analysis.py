"""`pipeline threads`: what is measured is what was done, and what is said follows from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import soundfile as sf

from pipeline.bench.processes import python, spent
from pipeline.cli import main
from pipeline.errors import BadUsage, NotMeasured
from pipeline.threading_analysis import analysis, subjects, words, workers
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
from pipeline.threading_analysis.brief import Brief, Way
from pipeline.threading_analysis.cost import Cost, LibraryPool
from pipeline.threading_analysis.meters import ThreadCount, Usage
from pipeline.threading_analysis.plot import drawn
from pipeline.threading_analysis.subjects import CALLS, Call, Subject
from pipeline.threading_analysis.verdicts import Point, Pools, of_threads, of_tracks
from pipeline.threads import variables
from stages import STAGES
from tests.burning import CPU_S
from tests.stages.sounds import song

ROOT = Path(__file__).parents[2]
BURNING = {**os.environ, "PYTHONPATH": str(ROOT), "NIGHTSHIFT_REGISTRY": "tests.burning:STAGES"}


# ---- a process that measures itself


def brief(folder: Path, **changes: Any) -> Brief:
    """Return the brief for a stage that burns a known amount of the processor's time.

    The song is so short that reading it costs next to nothing.
    """
    audio = song(seconds=2)
    sf.write(folder / "song.wav", audio.samples.T, audio.sample_rate_hz)
    made = Brief(
        registry="tests.burning:STAGES",
        stage="burning",
        settings="{}",
        name="burning",
        module=None,
        song=str(folder / "song.wav"),
        scratch=str(folder),
        ahead=False,
        rounds=2,
    )
    return replace(made, **changes)


def cost(given: Brief, *, threads: int | None) -> Cost:
    """Measure in a process of its own."""
    folder = Path(given.scratch)
    given.write(folder / "brief.json")
    plain = {name: value for name, value in BURNING.items() if name not in variables(1)}
    module = "pipeline.threading_analysis.measuring"
    spent(
        [python(module, folder / "brief.json", folder / "answer.json")],
        environment=plain if threads is None else {**plain, **variables(threads)},
        what="this",
    )
    return Cost.read(folder / "answer.json")


def test_work_that_threads_share_takes_the_same_of_the_processor(tmp_path: Path) -> None:
    one, two = (cost(brief(tmp_path), threads=threads) for threads in (1, 2))

    for found in (one, two):
        assert len(found.walls_s) == 2
        assert found.cpu_s / found.times_done == pytest.approx(CPU_S, rel=0.4, abs=0.05)
        # Decoding belongs to it. No thread can use more than its core.
        assert found.cores == pytest.approx(found.cpu_s / found.total_s)
    assert one.cores < 1.1
    assert two.cores < 2.1
    assert two.threads >= one.threads + 1
    assert one.is_parallel


def test_work_that_each_thread_does_whole_is_seen_as_cpu_use_without_speed_up(
    tmp_path: Path,
) -> None:
    whole = brief(tmp_path, settings='{"shared": false}')

    one, two = (cost(whole, threads=threads) for threads in (1, 2))

    more_s = two.cpu_s / two.times_done - one.cpu_s / one.times_done
    assert more_s == pytest.approx(CPU_S, rel=0.4)
    assert two.wall_s > 0.8 * one.wall_s


def test_threads_and_processes_do_all_tracks_and_are_counted_whole(tmp_path: Path) -> None:
    many = brief(tmp_path, workers=2, tracks=5, rounds=1, repeats=1)

    by_threads = cost(replace(many, way=Way.THREADS), threads=1)
    by_processes = cost(replace(many, way=Way.PROCESSES), threads=1)

    for found in (by_threads, by_processes):
        assert found.times_done == 5
        assert found.cpu_s / 5 == pytest.approx(CPU_S, rel=0.4, abs=0.05)
        assert found.wall_s == pytest.approx(found.total_s / 5)
        assert found.threads >= 4  # two that wait, two that burn
    assert by_threads.pools
    assert by_processes.pools == ()


def test_a_pool_that_is_slow_does_fewer_tracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_LONGEST_S", 0.0)
    given = brief(tmp_path, way=Way.PROCESSES, workers=2, tracks=9, rounds=1, repeats=1)

    with workers.Workers(given, repeats=1) as pool:
        done, used = pool.do(given.tracks)

    assert done == 2
    assert used.cpu_s == pytest.approx(4 * CPU_S / 2, rel=0.5, abs=0.1)


def test_what_is_quick_is_done_so_often_that_it_can_be_timed(tmp_path: Path) -> None:
    quick = brief(
        tmp_path,
        name="librosa.feature.zero_crossing_rate",
        module="pipeline.threading_analysis.librosa_work",
        rounds=1,
    )
    pytest.importorskip("librosa")

    found = cost(quick, threads=1)

    assert found.repeats > 5
    assert 0.05 < found.wall_s * found.repeats < 1
    assert "OpenBLAS (numpy)" in {pool.name for pool in found.pools}
    assert {pool.threads for pool in found.pools} == {1}


def test_work_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    for way in (Way.ALONE, Way.PROCESSES):
        with pytest.raises(NotMeasured, match="there is nothing to burn"):
            cost(brief(tmp_path, stage="breaking", way=way), threads=1)


def test_switches_and_seconds_of_a_process_grow() -> None:
    before = Usage.now()
    subprocess.run([sys.executable, "-c", "for _ in range(10**6): pass"], check=True)

    used = Usage.now() - before

    assert used.cpu_s > 0.01
    assert used.voluntary >= 1  # it waited for its child


def test_the_thread_that_counts_threads_is_not_counted() -> None:
    with ThreadCount() as before:
        pass
    over = threading.Event()
    waiting = threading.Thread(target=over.wait)
    with ThreadCount() as during:
        waiting.start()
    over.set()
    waiting.join()

    assert during.most == before.most + 1


# ---- verdicts


def scaling(*points: tuple[int, float, float]) -> dict[int, Point]:
    return {threads: Point(speed, cores) for threads, speed, cores in points}


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([(1, 1, 1.0), (2, 1.05, 1.8)], "uses 1.8 cores with 2 threads for 1.05 times the speed: "
         "CPU use is not speed-up; one thread is enough."),
        ([(1, 1, 1.0), (2, 1.1, 1.8)], "uses 1.8 cores with 2 threads for 1.10 times the speed: "
         "CPU use is not speed-up; one thread is enough."),
        ([(1, 1, 1.0), (2, 1.11, 1.2)], "2 threads help a little: 1.11 times the speed for 1.2 cores."),
        ([(1, 1, 1.0), (2, 1.39, 1.9)], "2 threads help a little: 1.39 times the speed for 1.9 cores."),
        ([(1, 1, 1.0), (2, 1.4, 1.9)], "2 threads are worth it: 1.40 times the speed for 1.9 cores."),
        ([(1, 1, 1.0), (2, 1.9, 1.9), (4, 2.0, 3.9)], "2 threads are worth it: 1.90 times the speed "
         "for 1.9 cores."),
        ([(1, 1, 1.0), (2, 1.9, 1.9), (4, 3.6, 3.9)], "4 threads are worth it: 3.60 times the speed "
         "for 3.9 cores."),
        ([(1, 1, 1.0), (2, 1.0, 1.0)], "keeps to one core, however many threads it may have."),
        ([(1, 1, 1.0), (2, 0.8, 1.1)], "2 threads make it slower, 0.80 times the speed: one thread "
         "is best."),
        ([(1, 1, 1.0)], "one core is here, so that threads cannot be compared."),
    ],
)  # fmt: skip
def test_threads_are_judged_by_what_they_bring(
    points: list[tuple[int, float, float]], said: str
) -> None:
    assert of_threads(scaling(*points)) == said


def test_a_library_that_is_slow_by_itself_is_named() -> None:
    two = scaling((1, 1, 1.0), (2, 1.8, 1.9))

    assert of_threads(two, Point(0.9, 1.9)).endswith("it takes 2.0 times as long: set them.")
    assert "no variable" not in of_threads(two, Point(1.7, 1.9))


FLAT = scaling((1, 1, 1.0), (2, 1.0, 1.0))
STEEP = scaling((1, 1, 1.0), (2, 1.9, 1.9))


@pytest.mark.parametrize(
    ("points", "side_by_side", "pools", "said"),
    [
        (FLAT, {}, Pools({2: 1.8, 4: 1.85}, {2: 1.8, 4: 1.75}), "a pool of 2 processes, one thread "
         "each, does 1.80 times as many tracks as one process with one thread."),
        (FLAT, {2: 1.8}, Pools({2: 1.8}, {2: 1.8}), "no pool does more than one process with a track "
         "on each of 2 threads; the best is one of 2 processes, one thread each."),
        (STEEP, {2: 1.95}, Pools({2: 1.5}, {2: 1.5}), "the best pool, 2 processes, one thread each, "
         "is 1.27 times slower than one process with 2 threads."),
        (FLAT, {}, Pools({2: 1.8, 4: 1.8}, {2: 1.7, 4: 0.6}), "a pool of 2 processes, one thread "
         "each, does 1.80 times as many tracks as one process with one thread. Where the threads of "
         "4 processes are not set it is 3.0 times slower than with one each."),
    ],
)  # fmt: skip
def test_a_pool_is_held_against_the_best_without_one(
    points: Mapping[int, Point], side_by_side: Mapping[int, float], pools: Pools, said: str
) -> None:
    assert of_tracks(points, side_by_side, pools) == said


# ---- what is tried


def test_threads_are_doubled_up_to_the_budget_and_that_is_tried_too() -> None:
    assert [thread_counts(most) for most in (1, 2, 6, 24)] == [
        [1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16, 24],
    ]  # fmt: skip
    assert [pool_sizes(most) for most in (1, 2, 24)] == [[2, 4], [2, 4], [2, 4, 24]]


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
