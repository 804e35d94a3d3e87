"""Kills a process at its n-th step that changes the disk: a real SIGKILL, at every point that matters.

NIGHTSHIFT_TEST_KILL=<lane|supervisor>:<n>:<flag file>; it happens once, the file remembers that. With
n = 0 the steps are told instead. Steps are: a file opened for writing, before and after each fsync,
each rename, mkdir, remove and link, before and after each exchange, and in the supervisor before and
after each commit.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")
_PROGRAMS = {"lane.py": "lane", "probe.py": "probe"}
_WRITING = os.O_WRONLY | os.O_RDWR


class Steps:
    """Counts the steps, and kills at one."""

    def __init__(self, at: int, flag: str, tell: Callable[..., None]) -> None:
        self._at = at
        self._flag = flag
        self._tell = tell
        self._count = 0
        self._pid = os.getpid()  # what is forked from this process takes no steps of it

    def step(self, what: str) -> None:
        """Take one step, perhaps the last."""
        if os.getpid() != self._pid:
            return
        self._count += 1
        if self._at == 0:
            self._tell("step", str(self._count), what)
        elif self._count == self._at and not os.path.exists(self._flag):
            os.close(os.open(self._flag, os.O_CREAT | os.O_WRONLY))
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear what Python tells of itself."""
        if event in _CHANGES:
            self.step(event)
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            path = arguments[0] if isinstance(arguments[0], str | bytes) else b""
            if b"_pipeline" in os.fsencode(path):
                self.step("open")


def install_killer(tell: Callable[..., None]) -> None:
    """Arm this process, if it is the one that is meant."""
    role, number, flag = os.environ.get("NIGHTSHIFT_TEST_KILL", "nobody:1:").split(":")
    if role != _PROGRAMS.get(os.path.basename(sys.argv[0]), "supervisor"):
        return
    steps = Steps(int(number), flag, tell)
    sys.addaudithook(steps.audit)
    _around(os, "fsync", steps)
    from pipeline import artifacts

    _around(artifacts, "exchange", steps)
    if role == "supervisor":
        from sqlalchemy.engine.default import DefaultDialect

        _around_commits(DefaultDialect, steps)


def _around_commits(dialect: Any, steps: Steps) -> None:
    """Step before and after each commit that writes; how many write nothing is left to timing."""
    real, written = dialect.do_commit, 0

    def stepping(self: Any, connection: Any) -> None:
        nonlocal written
        writes = connection.total_changes != written
        written = connection.total_changes
        if writes:
            steps.step("before commit")
        real(self, connection)
        if writes:
            steps.step("after commit")

    dialect.do_commit = stepping


def _around(module: Any, name: str, steps: Steps) -> None:
    real = getattr(module, name)

    def stepping(*arguments: Any) -> Any:
        steps.step(f"before {name}")
        result = real(*arguments)
        steps.step(f"after {name}")
        return result

    setattr(module, name, stepping)
