"""What the numbers mean, in words, by thresholds that stand here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.texts import counted

NOISE = 1.1
"""Times that differ by less are the same: on a machine with nothing else to do they move by 8 %."""

BUSY_CORES = 1.25
"""So many cores in use are more than one thread at work."""

WORTH = 0.7
"""A number of threads is worth it that makes it so many times its number as fast."""


@dataclass(frozen=True)
class Point:
    """How fast a way is, in times one thread in one process, and how many cores it keeps busy."""

    speed: float
    cores: float


def of_threads(by_threads: Mapping[int, Point], not_set: Point | None = None) -> str:
    """Say what threads inside a library bring.

    Args:
        by_threads: holds 1, whose speed is 1.
        not_set: what the library does by itself.
    """
    best = _smallest_of_the_best(by_threads)
    said = _one_is_enough(by_threads) if best == 1 else _several(best, by_threads[best])
    slower = _times_slower(by_threads[best], not_set)
    if slower is None:
        return f"{said}."
    return f"{said}. With no variable set it takes {slower:.1f} times as long: set them."


def _smallest_of_the_best(by_threads: Mapping[int, Point]) -> int:
    fastest = max(point.speed for point in by_threads.values())
    return min(threads for threads, point in by_threads.items() if point.speed * NOISE >= fastest)


def _one_is_enough(by_threads: Mapping[int, Point]) -> str:
    if len(by_threads) == 1:
        return "one core is here, so that threads cannot be compared"
    busiest = max(by_threads, key=lambda threads: by_threads[threads].cores)
    point, slowest = by_threads[busiest], min(by_threads, key=lambda n: by_threads[n].speed)
    if point.cores >= BUSY_CORES:
        return (
            f"uses {point.cores:.1f} cores with {counted(busiest, 'thread')} for {point.speed:.2f} "
            "times the speed: CPU use is not speed-up; one thread is enough"
        )
    if by_threads[slowest].speed * NOISE < 1:
        return (
            f"{counted(slowest, 'thread')} make it slower, {by_threads[slowest].speed:.2f} times "
            "the speed: one thread is best"
        )
    return "keeps to one core, however many threads it may have"


def _several(best: int, point: Point) -> str:
    gain = f"{point.speed:.2f} times the speed for {point.cores:.1f} cores"
    if point.speed >= WORTH * best:
        return f"{counted(best, 'thread')} are worth it: {gain}"
    return f"{counted(best, 'thread')} help a little: {gain}"


def _times_slower(best: Point, not_set: Point | None) -> float | None:
    if not_set is None or not_set.speed * NOISE >= best.speed:
        return None
    return best.speed / not_set.speed


@dataclass(frozen=True)
class Pools:
    """Speeds of a pool of processes, by how many there are."""

    limited: Mapping[int, float]
    not_set: Mapping[int, float]


def of_tracks(
    by_threads: Mapping[int, Point], side_by_side: Mapping[int, float], pools: Pools
) -> str:
    """Say whether a pool of processes does more tracks in a second than one process does.

    Args:
        by_threads: as in `of_threads`.
        side_by_side: speeds of one process that does a track on each of so many threads.
    """
    speed, words = _best_without_a_pool(by_threads, side_by_side)
    crowded = _crowded(pools)
    return f"{_of_pool(speed, words, pools)}.{f' {crowded}.' if crowded else ''}"


def _best_without_a_pool(
    by_threads: Mapping[int, Point], side_by_side: Mapping[int, float]
) -> tuple[float, str]:
    inside = _smallest_of_the_best(by_threads)
    words = "one process with one thread"
    best = 1.0
    if inside > 1:
        best, words = by_threads[inside].speed, f"one process with {counted(inside, 'thread')}"
    for workers, speed in sorted(side_by_side.items()):
        if speed > best * NOISE:
            best, words = speed, f"one process with a track on each of {workers} threads"
    return best, words


def _of_pool(speed: float, words: str, pools: Pools) -> str:
    best, which = _best_pool(pools)
    if best >= speed * NOISE:
        return f"a pool of {which}, does {best / speed:.2f} times as many tracks as {words}"
    if best * NOISE <= speed:
        return f"the best pool, {which}, is {speed / best:.2f} times slower than {words}"
    return f"no pool does more than {words}; the best is one of {which}"


def _best_pool(pools: Pools) -> tuple[float, str]:
    """Return the speed of the best pool, and what it is: of those as good the smallest."""
    found = [
        *((size, value, "one thread each") for size, value in pools.limited.items()),
        *((size, value, "threads not set") for size, value in pools.not_set.items()),
    ]
    fastest = max(value for _, value, _ in found)
    as_good = [one for one in found if one[1] * NOISE >= fastest]
    size, value, limit = min(as_good, key=lambda one: one[0])
    return value, f"{size} processes, {limit}"


def _crowded(pools: Pools) -> str:
    """Say what it costs that each process starts as many threads as there are cores."""
    both = [size for size in pools.limited if size in pools.not_set]
    if not both:
        return ""
    slower = {size: pools.limited[size] / pools.not_set[size] for size in both}
    worst = max(both, key=lambda size: slower[size])
    if slower[worst] < NOISE:
        return ""
    return (
        f"Where the threads of {worst} processes are not set it is {slower[worst]:.1f} times slower "
        "than with one each"
    )
