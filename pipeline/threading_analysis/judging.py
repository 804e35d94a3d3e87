"""From trials to verdicts."""

from __future__ import annotations

from pipeline.threading_analysis.analysis import Tried
from pipeline.threading_analysis.brief import Way
from pipeline.threading_analysis.verdicts import Point, Pools, of_threads, of_tracks


def verdict(tried: Tried) -> str:
    """Return what is to be said of a subject: its threads, and a pool where that was tried."""
    alone = points(tried)
    by_threads = {threads: point for threads, point in alone.items() if threads is not None}
    said = of_threads(by_threads, alone.get(None))
    pools = Pools(_by_workers(tried, Way.PROCESSES, 1), _by_workers(tried, Way.PROCESSES, None))
    if not pools.limited:
        return said
    told = of_tracks(by_threads, _by_workers(tried, Way.THREADS, 1), pools)
    return f"{said} Of many tracks: {told}"


def points(tried: Tried) -> dict[int | None, Point]:
    """Return speed and cores of one track alone, by the number of threads; None: not set."""
    return {
        trial.threads: Point(tried.speed_up(trial), trial.cost.cores)
        for trial in tried.trials
        if trial.way is Way.ALONE
    }


def _by_workers(tried: Tried, way: Way, threads: int | None) -> dict[int, float]:
    return {
        trial.workers: tried.speed_up(trial)
        for trial in tried.trials
        if trial.way is way and trial.threads == threads
    }
