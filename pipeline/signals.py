"""Signals: the first one ends a run gently, the second at once."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Handlers for the time of a run. `stopping` is the signal that was asked for, if any.

    `kill` ends all children and waits for them, once there can be any. The second signal calls it
    and leaves without unwinding: only then may the lock go, which ends with this process.
    """

    def __init__(self) -> None:
        self.stopping: int | None = None
        self.kill: Callable[[], None] = _nobody
        self.wake, self._alarm = socket.socketpair()
        self.wake.setblocking(False)
        self._alarm.setblocking(False)
        self._before_wake = signal.set_wakeup_fd(self._alarm.fileno(), warn_on_full_buffer=False)
        self._before = {one: signal.signal(one, self._asked) for one in _ENDING}
        # A closed ssh session is no reason to end a night's work.
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.stopping is not None:
            self.kill()
            os._exit(128 + number)
        self.stopping = number

    def drain(self) -> None:
        """Empty the pipe that woke the loop."""
        try:
            self.wake.recv(4096)
        except BlockingIOError:
            return

    def restore(self) -> None:
        """Put the handlers back that were there."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_wake)
        self.wake.close()
        self._alarm.close()


def _nobody() -> None:
    """There is no child yet."""
