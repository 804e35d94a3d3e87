"""What work took: by the clock, of the processor, in threads and in switches between them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class LibraryPool:
    """Threads that a library holds. `threads` is None where it does not say how many."""

    name: str
    threads: int | None


@dataclass(frozen=True)
class Cost:
    """What the rounds of a measurement took, of the whole tree of processes.

    `walls_s`: of each round, for one track done once. `total_s`, `cpu_s`, `voluntary` and
    `involuntary` (context switches): of all rounds, in which `done` tracks were done, each
    `repeats` times. `threads`: alive at the most, in all processes that work. `is_parallel`:
    several threads may do it at once.
    """

    walls_s: tuple[float, ...]
    total_s: float
    cpu_s: float
    done: int
    repeats: int
    threads: int
    voluntary: int
    involuntary: int
    pools: tuple[LibraryPool, ...] = ()
    is_parallel: bool = False

    @property
    def wall_s(self) -> float:
        """The median of the rounds."""
        return median(self.walls_s)

    @property
    def cores(self) -> float:
        """How many cores were in use in the mean; times 100 it is what `top` shows."""
        return self.cpu_s / self.total_s

    @property
    def times_done(self) -> int:
        """How often the work was done in all rounds."""
        return self.done * self.repeats

    def write(self, file: Path) -> None:
        """Leave it in a file."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Cost:
        """Return what was left in a file."""
        found = json.loads(file.read_text(encoding="utf-8"))
        pools = tuple(LibraryPool(**pool) for pool in found["pools"])
        return cls(**{**found, "walls_s": tuple(found["walls_s"]), "pools": pools})
