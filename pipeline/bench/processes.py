"""A process that is measured: started as a user starts it, timed from outside, heard when it fails."""

from __future__ import annotations

import os
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
    """What processes took: by the clock, and of the processor with all their children.

    `peak_bytes`: the memory of the largest of them all at its highest, and at least that of the
    process that started them: the system counts what a child was before it became a program.
    `switches`: how often one of their threads gave up its core, or had it taken away.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    switches: int = 0


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
    took = [_one(command, environment, what=what) for command in commands]
    return Spent(
        wall_s=sum(one.wall_s for one in took),
        cpu_s=sum(one.cpu_s for one in took),
        peak_bytes=max((one.peak_bytes for one in took), default=0),
        switches=sum(one.switches for one in took),
    )


def _one(command: Sequence[str], environment: Mapping[str, str], *, what: str) -> Spent:
    start = time.monotonic()
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            assert process.stdout is not None
            output = process.stdout.read()
            # Not `wait`, which forgets what this child and all of its own have used.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            raise
    wall_s = time.monotonic() - start
    if process.returncode != 0:
        raise NotMeasured(what, ending(process.returncode), last_lines(output))
    switches = used.ru_nvcsw + used.ru_nivcsw
    return Spent(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, switches)


def last_lines(output: bytes) -> str:
    """Return the end of what a process printed; of a progress bar only its last state."""
    lines = output.decode(errors="backslashreplace").strip().split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines[-_LAST_LINES:])
