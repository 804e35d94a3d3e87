"""Processors and memory: of the whole machine, and of a run with all its processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class HostSample:
    """The machine between two looks, and its memory at the second.

    Attributes:
        machine_cpu_percent: of all its processors, whoever used them; None when no time passed.
        run_cpu_cores: how many cores the run kept busy, as a mean: 1.5 is one and a half.
        cores: how many it may use.
        run_memory_bytes: what its processes hold. Pages that several share count in each.
    """

    interval_s: float
    machine_cpu_percent: float | None
    machine_memory_used_bytes: int
    machine_memory_total_bytes: int
    run_cpu_cores: float | None
    cores: int
    run_memory_bytes: int


class Host:
    """Looks at the machine; each sample is the mean since the one before.

    A look takes 2.1 ms, as a median of thirty, on a machine with 88 processes, four of them the
    run's: to find those, psutil reads the parent of every process there is.
    """

    def __init__(self, *, cores: int, now_s: float) -> None:
        self._cores = cores
        self._looked_s = now_s
        self._machine = _machine_s()
        self._run_s = _run()[0]

    def sample(self, now_s: float) -> HostSample:
        """Return what happened since the last time."""
        interval_s = now_s - self._looked_s
        machine, (run_s, run_bytes) = _machine_s(), _run()
        busy_s, all_s = machine[0] - self._machine[0], machine[1] - self._machine[1]
        memory = psutil.virtual_memory()
        found = HostSample(
            interval_s=round(interval_s, 1),
            machine_cpu_percent=round(100 * busy_s / all_s, 1) if all_s > 0 else None,
            machine_memory_used_bytes=memory.total - memory.available,
            machine_memory_total_bytes=memory.total,
            # What a process had used that died and that nobody waited for is missing from the sum.
            run_cpu_cores=(
                round(max(0.0, run_s - self._run_s) / interval_s, 2) if interval_s > 0 else None
            ),
            cores=self._cores,
            run_memory_bytes=run_bytes,
        )
        self._looked_s, self._machine, self._run_s = now_s, machine, run_s
        return found


def _machine_s() -> tuple[float, float]:
    """Return the seconds that all processors together were busy, and all their seconds."""
    times = psutil.cpu_times()._asdict()
    # Linux counts a guest's time among the user's already.
    all_s = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return all_s - times["idle"] - times.get("iowait", 0.0), all_s


def _run() -> tuple[float, int]:
    """Return CPU seconds and memory of this process and all below it.

    With the seconds of children that have ended: those of a lane's ffmpeg processes, and of a lane
    that was started afresh.
    """
    used_s, held_bytes = 0.0, 0
    for process in _processes():
        try:
            with process.oneshot():
                times = process.cpu_times()
                held_bytes += process.memory_info().rss
            used_s += times.user + times.system + times.children_user + times.children_system
        except psutil.Error:
            continue  # it has just ended
    return used_s, held_bytes


def _processes() -> Iterator[psutil.Process]:
    me = psutil.Process()
    yield me
    try:
        yield from me.children(recursive=True)
    except psutil.Error:
        return
