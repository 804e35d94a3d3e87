"""How many threads the libraries may start: one budget, set in a lane's environment.

One process per lane and no process pool: N processes that each start a thread per core
oversubscribe the machine. The variables work only if they are set before the libraries are
imported, so they are part of how a lane is started.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


def budget(*, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: affinity, cut by a cgroup's CPU quota."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = _quota(cgroup)
    return max(1, min(cores, math.ceil(quota))) if quota else max(1, cores)


def _quota(cgroup: Path) -> float | None:
    """Return the quota in cores; version 2 first, then version 1."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((cgroup / "cpu/cpu.cfs_period_us").read_text())
        return limit_us / period_us if limit_us > 0 else None
    except (OSError, ValueError):
        return None


def variables(threads: int) -> dict[str, str]:
    """Return the environment that holds every library to this many threads."""
    fixed = {"TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    return {name: str(threads) for name in _VARIABLES} | fixed
