"""A supervisor's children, forked from it instead of started anew: the imports are there already.

Only what `exec` would do is left out, and done by hand as far as it can be seen: the lane or probe is
a child of the supervisor, made by `subprocess` with its own session, pipes and inherited descriptors.
It dies by its own signals, and with its parent. What it does not get is a command line and an
environment of its own in /proc: `QuickSandbox` finds it by its working directory, and what it is by
its name.
"""

from __future__ import annotations

import ctypes
import gc
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from typing import Any

_CHILDREN = ("pipeline.lane", "pipeline.probe")
# What notes calls and kills in a process is installed when this is imported there.
_ANEW = "tests.fakes"
_PR_SET_NAME = 15  # linux/prctl.h


def fork_children() -> None:
    """From now on, fork the lanes and probes that this process starts."""
    subprocess.Popen = _Forked  # type: ignore[misc, assignment]


class _Forked(subprocess.Popen):  # type: ignore[type-arg]
    """A child that goes on as a lane or a probe where it would have been replaced by one."""

    def __init__(self, arguments: Sequence[str], **options: Any) -> None:
        if list(arguments[:3]) == [sys.executable, "-P", "-m"] and arguments[3] in _CHILDREN:
            # Threads of the supervisor would leave their locks held in what is forked.
            assert threading.active_count() == 1
            # Others' at-fork hooks close what they think their own, filelock the lock among it:
            # the child gets copies of what it inherits, and moves them to where they belong.
            inherited = {number: os.dup(number) for number in options.pop("pass_fds")}
            said, environment = list(arguments[3:]), options["env"]
            options["preexec_fn"] = lambda: _become(said, environment, inherited)
            try:
                super().__init__(arguments, **options)
            finally:
                for copy in inherited.values():
                    os.close(copy)
        else:
            super().__init__(arguments, **options)


def _become(
    arguments: list[str], environment: Mapping[str, str], inherited: Mapping[int, int]
) -> None:
    """Do what `exec` and the start of Python would do; run the module and end this process."""
    status = 1
    try:
        gc.freeze()  # nothing of the supervisor's is finalised here, its ledger least of all
        for number, copy in inherited.items():
            os.dup2(copy, number)
        _close_all_but({0, 1, 2, *inherited})
        ctypes.CDLL(None).prctl(_PR_SET_NAME, arguments[0].encode())
        _reset_signals()
        _reset_streams()
        os.environ.clear()
        os.environ.update(environment)
        sys.modules.pop(_ANEW, None)
        sys.argv = list(arguments)
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else error.code is not None
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


def _close_all_but(kept: Container[int]) -> None:
    """Close the supervisor's descriptors; the last of them tells `subprocess` that `exec` worked."""
    for descriptor in map(int, os.listdir("/dev/fd")):
        if descriptor not in kept:
            with suppress(OSError):  # the listing itself was one
                os.close(descriptor)


def _reset_signals() -> None:
    """Give up the supervisor's handlers and have those that Python starts with."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _reset_streams() -> None:
    """Have streams of its own: what the supervisor has not yet written is not this process's."""
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
