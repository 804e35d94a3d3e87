"""The process that does the work and measures itself, and leaves its answer in a file.

    python -P -m pipeline.threading_analysis.measuring <brief> <answer>

The variables that hold libraries to some number of threads are in its environment when it starts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.threading_analysis.brief import Brief, Way
from pipeline.threading_analysis.cost import Cost
from pipeline.threading_analysis.library_pools import library_pools
from pipeline.threading_analysis.meters import NOTHING, Stopwatch, ThreadCount, Usage
from pipeline.threading_analysis.work import Work, load_work
from pipeline.threading_analysis.workers import ProcessDied, Workers

# A track takes this long at least, done several times where once is shorter: a clock's grain, a
# wake-up, a page that is missing are then less than a hundredth of it.
_LEAST_S = 0.1
# No round is begun after so much of them: what is slow is also steady.
_ENOUGH_S = 4.0


def main() -> None:
    """Do what the brief says."""
    brief, answer = Brief.read(Path(sys.argv[1])), Path(sys.argv[2])
    done_by = {Way.ALONE: _alone, Way.THREADS: _threads, Way.PROCESSES: _processes}
    try:
        done_by[brief.way](brief).write(answer)
    except ProcessDied as died:
        # Only the last lines are shown: they shall be what it said, and not how we came to know.
        raise died.with_traceback(None) from None


def _alone(brief: Brief) -> Cost:
    work = load_work(brief)
    with ThreadCount() as alive:
        work.do()  # compiles, plans, fills caches, starts threads
        repeats = brief.repeats or _repeats(work)

    def one_round() -> None:
        for _ in range(brief.tracks * repeats):
            work.do()

    return _timed(brief, one_round, work=work, threads=alive.most, repeats=repeats)


def _repeats(work: Work) -> int:
    seconds = _LEAST_S
    for _ in range(3):  # the quickest: one that was held up would be repeated too seldom
        watch = Stopwatch()
        work.do()
        seconds = min(seconds, watch.seconds())
        if seconds >= _LEAST_S:
            break
    return max(1, math.ceil(_LEAST_S / max(seconds, 1e-6)))


def _threads(brief: Brief) -> Cost:
    work, repeats = load_work(brief), brief.repeats or 1

    def one_track(_: int) -> None:
        for _ in range(repeats):
            work.do()

    with ThreadPoolExecutor(brief.workers) as pool:

        def one_round() -> None:
            list(pool.map(one_track, range(brief.tracks)))

        with ThreadCount() as alive:
            list(pool.map(one_track, range(brief.workers)))
        return _timed(brief, one_round, work=work, threads=alive.most, repeats=repeats)


def _timed(
    brief: Brief, one_round: Callable[[], None], *, work: Work, threads: int, repeats: int
) -> Cost:
    rounds: list[_Round] = []
    before = Usage.now()
    while _goes_on(brief, rounds):
        watch = Stopwatch()
        one_round()
        rounds.append(_Round(watch.seconds(), brief.tracks))
    cost = _cost(rounds, Usage.now() - before, threads=threads, repeats=repeats)
    return replace(cost, pools=library_pools(), is_parallel=work.is_parallel)


def _processes(brief: Brief) -> Cost:
    """Their work is loaded in other processes, whose libraries' pools are those of one alone."""
    repeats = brief.repeats or 1
    rounds: list[_Round] = []
    used = NOTHING
    with Workers(brief, repeats=repeats) as workers:
        while _goes_on(brief, rounds):
            watch = Stopwatch()
            done, spent = workers.do(brief.tracks)
            rounds.append(_Round(watch.seconds(), done))
            used += spent
        return _cost(rounds, used, threads=workers.threads, repeats=repeats)


@dataclass(frozen=True)
class _Round:
    seconds: float
    tracks: int


def _goes_on(brief: Brief, rounds: Sequence[_Round]) -> bool:
    return len(rounds) < brief.rounds and sum(one.seconds for one in rounds) < _ENOUGH_S


def _cost(rounds: Sequence[_Round], used: Usage, *, threads: int, repeats: int) -> Cost:
    return Cost(
        walls_s=tuple(one.seconds / (one.tracks * repeats) for one in rounds),
        total_s=sum(one.seconds for one in rounds),
        cpu_s=used.cpu_s,
        done=sum(one.tracks for one in rounds),
        repeats=repeats,
        threads=threads,
        voluntary=used.voluntary,
        involuntary=used.involuntary,
    )


if __name__ == "__main__":
    main()
