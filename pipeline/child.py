"""A child process of the supervisor: how it is started, heard and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from pipeline.wire import BadFrame, Message, Wire

_TAIL_BYTES = 16 << 10


class Child:
    """A process in a session of its own, with a private pipe and a drained stderr.

    Start it from the main thread: the parent-death signal fires when the creating thread dies.
    """

    def __init__(
        self,
        module: str,
        *,
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        inherit: Sequence[int] = (),
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: a file called numpy.py in the current folder must not be imported
                [
                    sys.executable,
                    "-P",
                    "-m",
                    module,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    *arguments,
                ],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno(), *inherit],
                start_new_session=True,
            )
        self.wire = Wire(ours)
        assert self._process.stdout is not None
        self.output = self._process.stdout
        os.set_blocking(self.output.fileno(), False)
        self._tail = b""

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Send a message; one to a child that is gone is dropped, its end is heard elsewhere."""
        try:
            self.wire.send(message)
        except OSError:
            return

    def receive(self) -> tuple[list[Message], bool]:
        """Return what arrived and whether the child is still there; a bad frame counts as gone."""
        try:
            return self.wire.read_ready()
        except BadFrame as error:
            self._tail += f"\nsent {error}".encode()
            return [], False

    def drain(self) -> bool:
        """Keep the end of what the child printed; return whether it can print more."""
        try:
            block = self.output.read(1 << 16)
        except OSError:
            return False
        if block is None:
            return True
        self._tail = (self._tail + block)[-_TAIL_BYTES:]
        return bool(block)

    def tail(self) -> str:
        """Return the end of what the child printed."""
        while self.drain() and self.output.peek(1):  # type: ignore[attr-defined]
            continue
        return self._tail.decode(errors="backslashreplace").strip()

    def kill(self) -> int:
        """Kill the whole process group, wait for the child; return its exit status.

        Only when this has returned may the lock be let go: grandchildren die with the group.
        """
        self.end()
        status = self._process.wait()
        self._kill_group()  # what the group still held when its leader died by itself
        self.wire.close()
        return status

    def end(self) -> None:
        """Kill the group and wait for the child's death, also from within a signal handler.

        `Popen.wait` holds a lock that the interrupted code may hold too; this takes none.
        """
        self._kill_group()
        if hasattr(os, "waitid"):
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def kill_within(self, timeout_s: float) -> int | None:
        """Kill the whole process group and wait so long at most; None when it is not dead by then.

        Only for a child that does not hold the lock: it may outlive the run.
        """
        self._kill_group()
        return self.wait(timeout_s)

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the child to end by itself; None when it does not in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Close the pipes of a child that has ended."""
        self.output.close()

    def cpu_s(self) -> float:
        """Return the CPU seconds of the child and of what it started."""
        total = 0.0
        try:
            process = psutil.Process(self.pid)
            for one in (process, *process.children(recursive=True)):
                times = one.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        except psutil.Error:
            return total
        return total

    def resident_bytes(self) -> int:
        """Return the memory the child holds, 0 when it is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0


def ending(status: int | None) -> str:
    """Say how a process ended: the name of its signal, or its exit status."""
    if status is None:
        return "still running"
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"exit status {status}"
