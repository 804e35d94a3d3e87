"""The first thing a child does, before it imports anything heavy: tie its life to its parent's."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import socket
import sys
from contextlib import suppress

from pipeline.wire import Wire

_PR_SET_PDEATHSIG = 1
_LANE_OOM_SCORE = 500  # the kernel takes the lane, and not the supervisor


def tied_to_parent(*, expendable: bool) -> Wire:
    """Arrange to die with the supervisor; return the pipe to it.

    Args:
        expendable: whether the out-of-memory killer should prefer this process.
    """
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the line above; where there is no such signal, the end of
    # the pipe is what ends us.
    if os.getppid() != parent:
        os._exit(1)
    if expendable and sys.platform == "linux":
        _prefer_for_oom()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    os.set_inheritable(descriptor, False)
    return Wire(socket.socket(fileno=descriptor))


def step_back(by: int) -> None:
    """Give way to other lanes: `by` is added to this process's nice value.

    Every child is a session of its own. Where Linux weighs sessions against each other, a nice value
    counts only within one; a session's own weight stands in `autogroup`.
    """
    if not by:
        return
    os.nice(by)
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write(str(by))  # a kernel without it weighs processes


def _prefer_for_oom() -> None:
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write(str(_LANE_OOM_SCORE))
    except OSError:
        return
