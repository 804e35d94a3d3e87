"""A pool of processes that is measured: each loads the work, then takes tracks as it gets free."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection, wait
from types import TracebackType

from pipeline.threading_analysis.brief import Brief
from pipeline.threading_analysis.meters import NOTHING, Stopwatch, ThreadCount, Usage
from pipeline.threading_analysis.work import load_work

# Of a round: threads that wait for one another in four processes can take twenty times as long.
_LONGEST_S = 15.0


class ProcessDied(RuntimeError):
    """A process of the pool ended by itself; if it could, it has said why on stderr."""


class Workers:
    """Processes that are loaded and warm. Started anew, not forked: a fork inherits no threads."""

    def __init__(self, brief: Brief, *, repeats: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._used: dict[Connection, Usage] = {}
        self.threads = 0
        for _ in range(brief.workers):
            ours, theirs = context.Pipe()
            context.Process(target=serve, args=(theirs, brief, repeats), daemon=True).start()
            theirs.close()  # so that its end is seen here
            self._pipes.append(ours)

    def __enter__(self) -> Workers:
        for pipe in self._pipes:
            threads, self._used[pipe] = _heard(pipe)
            self.threads += threads
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()

    def do(self, tracks: int) -> tuple[int, Usage]:
        """Do so many tracks, fewer where they are slow; return how many, and what all processes used."""
        before, watch = dict(self._used), Stopwatch()
        left, at_work = tracks, set()
        for pipe in self._pipes[:left]:
            pipe.send(True)
            at_work.add(pipe)
            left -= 1
        while at_work:
            ready = wait(list(at_work))
            for pipe in [one for one in at_work if one in ready]:
                _, self._used[pipe] = _heard(pipe)
                if left > 0 and watch.seconds() < _LONGEST_S:
                    pipe.send(True)
                    left -= 1
                else:
                    at_work.discard(pipe)
        used = sum((self._used[pipe] - before[pipe] for pipe in self._pipes), NOTHING)
        return tracks - left, used


def _heard(pipe: Connection) -> tuple[int, Usage]:
    try:
        threads, used = pipe.recv()
    except EOFError:
        raise ProcessDied("a process of the pool died") from None
    return threads, used


def serve(pipe: Connection, brief: Brief, repeats: int) -> None:
    """Do a track each time one is asked for, until the pipe is closed."""
    work = load_work(brief)
    with ThreadCount() as alive:
        work.do()
    pipe.send((alive.most, Usage.now()))
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        for _ in range(repeats):
            work.do()
        pipe.send((alive.most, Usage.now()))
