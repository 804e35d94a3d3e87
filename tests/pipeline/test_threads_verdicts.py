"""The words of `pipeline threads` follow from its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pipeline.threading_analysis.verdicts import Point, Pools, of_threads, of_tracks

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
