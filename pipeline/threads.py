"""How many threads the libraries may start: one budget, set in a lane's environment.

One process per lane and no process pool: N processes that each start a thread per core
oversubscribe the machine. The variables work only if they are set before the libraries are
imported, so they are part of how a lane is started. The measurements behind each number here, and
behind one process for each lane, stand in THREADING_ANALYSIS.md.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",  # the first alone does nothing: THREADING_ANALYSIS.md#tensorflows-pools
)


@dataclass(frozen=True)
class Cores:
    """What of the processor is ours: of those `online` the `allowed` ones, cut by a `quota`."""

    online: int
    allowed: int
    quota: float | None

    @property
    def budget(self) -> int:
        """How many threads may compute at once: THREADING_ANALYSIS.md#the-budget."""
        return max(1, min(self.allowed, math.ceil(self.quota or self.allowed)))


def cores(*, cgroup: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Cores:
    """Return what this process may use: by affinity, and by the CPU quota of its control group."""
    online = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else online
    return Cores(online, allowed, min(_quotas(cgroup, own), default=None))


def budget(*, cgroup: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many cores this process may use: affinity, cut by a cgroup's CPU quota."""
    return cores(cgroup=cgroup, own=own).budget


def _quotas(cgroup: Path, own: Path) -> list[float]:
    """Return the quotas in cores of the control groups this process is in; version 1's if alone."""
    files = [folder / "cpu.max" for folder in _groups(cgroup, own)]
    texts = [file.read_text() for file in files if file.is_file()]
    if not texts:
        texts = [_version_1(cgroup / "cpu")]
    found = []
    for text in texts:
        try:
            limit, period = map(int, text.split())
            found.append(limit / period)
        except (ValueError, ZeroDivisionError):
            continue  # "max": no limit
    return [quota for quota in found if quota > 0]


def _groups(cgroup: Path, own: Path) -> list[Path]:
    """Return the control groups of version 2 this process is in: its own and those above."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    name = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
    group = cgroup / name.lstrip("/")
    return [folder for folder in (group, *group.parents) if folder.is_relative_to(cgroup)]


def _version_1(group: Path) -> str:
    try:
        parts = [(group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")]
    except OSError:
        return "max"
    return " ".join(parts)


# GNU OpenMP's own is 300,000: THREADING_ANALYSIS.md#threads-that-wait-for-one-another.
_TURNS_OF_WAITING = "1000"


def variables(threads: int) -> dict[str, str]:
    """Return the environment that holds every library to this many threads.

    Those of OpenMP (torch's) sleep soon where they wait for one that another program keeps from its
    core: spinning, they would keep it from it for longer still.

    Should TensorFlow ever find a GPU, it must not take all of its memory, as it does if not told.
    """
    fixed = {
        "GOMP_SPINCOUNT": _TURNS_OF_WAITING,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    return {name: str(threads) for name in _VARIABLES} | fixed


# A third of the weight of a lane that feeds the device: THREADING_ANALYSIS.md#lanes-beside-one-another.
_BESIDE_THE_DEVICE = 5


@dataclass(frozen=True)
class Share:
    """What a lane may use: threads, and how far it steps back for others (`nice`)."""

    threads: int
    nice: int = 0


def share(threads: int, *, device_lane: bool, beside: bool) -> Share:
    """Return a lane's part of the budget.

    Beside one another each has all threads: their number decides the last bits of a separation, and
    must not change. What is not the lane of the device takes what that leaves of the cores.
    """
    return Share(threads, 0 if device_lane or not beside else _BESIDE_THE_DEVICE)
