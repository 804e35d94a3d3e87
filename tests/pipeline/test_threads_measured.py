"""`pipeline threads`: a process that measures itself tells what it did."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import NotMeasured
from pipeline.threading_analysis import workers
from pipeline.threading_analysis.brief import Way
from pipeline.threading_analysis.meters import ThreadCount, Usage
from tests.burning import CPU_S
from tests.pipeline.threading_briefs import brief, cost


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
