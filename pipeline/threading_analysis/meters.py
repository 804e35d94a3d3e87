"""What this process has used so far, and how many threads it has."""

from __future__ import annotations

import resource
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import psutil

_LOOK_S = 0.01


@dataclass(frozen=True)
class Usage:
    """CPU seconds, user and system, and context switches: of all threads and ended children."""

    cpu_s: float
    voluntary: int
    involuntary: int

    @classmethod
    def now(cls) -> Usage:
        """Return what was used since this process began."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(
            cpu_s=sum(one.ru_utime + one.ru_stime for one in used),
            voluntary=sum(one.ru_nvcsw for one in used),
            involuntary=sum(one.ru_nivcsw for one in used),
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.cpu_s + other.cpu_s,
            self.voluntary + other.voluntary,
            self.involuntary + other.involuntary,
        )

    def __sub__(self, before: Usage) -> Usage:
        return Usage(
            self.cpu_s - before.cpu_s,
            self.voluntary - before.voluntary,
            self.involuntary - before.involuntary,
        )


NOTHING = Usage(0.0, 0, 0)


class Stopwatch:
    """Seconds by the clock since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def seconds(self) -> float:
        """Return how long ago that is."""
        return time.perf_counter() - self._began


class ThreadCount:
    """The most threads that this process has while a block runs, without the one that counts.

    It counts while work warms up, so that the work that is timed has no thread beside it.
    """

    def __init__(self) -> None:
        self.most = 0
        self._process = psutil.Process()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> ThreadCount:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        over = False
        while not over:  # it looks once more when the block is over, where that was short
            over = self._over.wait(_LOOK_S)
            self.most = max(self.most, self._process.num_threads() - 1)
