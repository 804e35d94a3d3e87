"""A process that is measured: started as a user starts it, timed from outside, heard when it fails."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.child import ending
from pipeline.errors import NotMeasured

_LAST_LINES = 12


def python(module: str, *arguments: object) -> list[str]:
    """Return the command that runs a module in this Python, whatever lies in the current folder."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


@dataclass(frozen=True)
class Spent:
    """What processes took: by the clock, and of the processor with all their children."""

    wall_s: float
    cpu_s: float


def seconds(
    commands: Sequence[Sequence[str]], *, environment: Mapping[str, str], what: str
) -> float:
    """Run processes one after another and return what all of them took by the clock.

    Raises:
        NotMeasured: one failed; with the last lines of what it printed.
    """
    return spent(commands, environment=environment, what=what).wall_s


def spent(commands: Sequence[Sequence[str]], *, environment: Mapping[str, str], what: str) -> Spent:
    """Run processes one after another and return what all of them took.

    Raises:
        NotMeasured: one failed; with the last lines of what it printed.
    """
    wall_s, cpu_before_s = 0.0, _children_s()
    for command in commands:
        start = time.monotonic()
        done = subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        wall_s += time.monotonic() - start
        if done.returncode != 0:
            raise NotMeasured(what, ending(done.returncode), last_lines(done.stdout))
    return Spent(wall_s, _children_s() - cpu_before_s)


def _children_s() -> float:
    """Return the CPU seconds of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def last_lines(output: bytes) -> str:
    """Return the end of what a process printed; of a progress bar only its last state."""
    lines = output.decode(errors="backslashreplace").strip().split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines[-_LAST_LINES:])
