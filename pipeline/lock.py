"""The run lock: one run per output folder, held for as long as anything of it can still write.

It is an flock through `filelock`, so the kernel frees it at a kill -9 and no stale lock is left.
The lane inherits the descriptor: while an orphaned lane lives, the lock is held. For the same
reason nothing here releases it: filelock's release, its context manager and its `__del__` all
unlock for every holder of the descriptor, children included (measured). It goes with the process,
after the supervisor has killed and awaited its children.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from pipeline.errors import DatasetBusy, LockLost, Unfit

FILE_NAME = "run.lock"
_KEPT: list[FileLock] = []  # until the process ends; `__del__` would unlock
_POLL_S = 0.05
_NAMELESS_S = 2.0  # a holder writes its name within milliseconds of taking the lock


@dataclass(frozen=True)
class Holder:
    """Who holds, or last held, the lock."""

    pid: int
    host: str
    started: float  # of the process, seconds since the epoch: tells a reused pid
    since_utc: str

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, running since {self.since_utc}"

    def alive(self) -> bool:
        """Say whether that very process still runs; of other hosts, assume so."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < 1.0
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


@dataclass(frozen=True)
class HeldLock:
    """The descriptor that holds the lock, here or inherited by a lane."""

    path: Path
    descriptor: int

    def check(self) -> None:
        """Make sure that the lock path still is the file that is held.

        Raises:
            LockLost: it was deleted or replaced, and another run may have taken the new one.
        """
        held = os.fstat(self.descriptor)
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            raise LockLost(self.path) from None
        if (held.st_dev, held.st_ino) != (there.st_dev, there.st_ino):
            raise LockLost(self.path)


def acquire(
    out: Path,
    *,
    since_utc: str,
    wait_for_orphan_s: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> HeldLock:
    """Take the run lock of an output folder, until this process ends.

    Waits only for the lane of a dead run, which is about to die itself.

    Raises:
        DatasetBusy: a live run holds it, or an orphan outlived the wait.
        Unfit: the lock file cannot be opened here.
    """
    path = out / FILE_NAME
    descriptors: list[int] = []
    lock = FileLock(
        path,
        timeout=0,
        fallback_to_soft=False,
        preserve_lock_file=True,
        on_acquired=descriptors.append,
    )
    started = time.monotonic()
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            holder = read_holder(path)
            waited_s = time.monotonic() - started
            if holder is not None and holder.alive():
                raise DatasetBusy(out, str(holder)) from None
            if waited_s > (wait_for_orphan_s if holder else _NAMELESS_S):
                raise DatasetBusy(out, _orphan(holder)) from None
            sleep(_POLL_S)
        except OSError as error:
            raise Unfit(
                f"the lock {path} cannot be taken ({error.strerror}). Is the folder writable, and on a "
                "local disk? If not, name one with --out."
            ) from error
    _KEPT.append(lock)
    held = HeldLock(path, descriptors[-1])
    _write_holder(held.descriptor, since_utc)
    return held


def _orphan(holder: Holder | None) -> str:
    if holder is None:
        return "a process that has not said its name"
    return f"a process left over by a dead run ({holder}); `fuser` on its {FILE_NAME} names it"


def _write_holder(descriptor: int, since_utc: str) -> None:
    me = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": psutil.Process().create_time(),
        "since_utc": since_utc,
    }
    # In place and in one write: a contender reads either the old name or the new one, and padding
    # covers what is left of a longer old one.
    os.pwrite(descriptor, json.dumps(me).ljust(512).encode(), 0)


def read_holder(path: Path) -> Holder | None:
    """Return who wrote the lock file last, None if nobody's name can be read."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Holder(said["pid"], said["host"], said["started"], said["since_utc"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running(out: Path) -> Holder | None:
    """Return the live run that holds an output folder, for those who only look."""
    holder = read_holder(out / FILE_NAME)
    return holder if holder is not None and holder.alive() else None
