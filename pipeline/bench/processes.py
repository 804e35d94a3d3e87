"""A process that is measured: started as a user starts it, timed from outside, heard when it fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from pipeline.child import ending
from pipeline.errors import NotMeasured

_LAST_LINES = 12


def python(module: str, *arguments: object) -> list[str]:
    """Return the command that runs a module in this Python, whatever lies in the current folder."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def seconds(
    commands: Sequence[Sequence[str]], *, environment: Mapping[str, str], what: str
) -> float:
    """Run processes one after another and return what all of them took by the clock.

    Raises:
        NotMeasured: one failed; with the last lines of what it printed.
    """
    total_s = 0.0
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
        total_s += time.monotonic() - start
        if done.returncode != 0:
            raise NotMeasured(what, ending(done.returncode), last_lines(done.stdout))
    return total_s


def last_lines(output: bytes) -> str:
    """Return the end of what a process printed; of a progress bar only its last state."""
    lines = output.decode(errors="backslashreplace").strip().split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines[-_LAST_LINES:])
