"""A process that puts itself under strace, to have one of its system calls killed, stopped or failed.

FAULT_STRACE=<lane|supervisor|probe>:<flag file>:<arguments of strace>. It happens once, the file
remembers that. Only the main thread is traced: it is the one that writes, and what the others do
would make the count of calls a matter of timing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

_PROGRAMS = {"lane.py": "lane", "probe.py": "probe"}
_ATTACH_S = 10.0


def trace_myself() -> None:
    """Attach strace to this process, if it is the one that is meant, and wait until it is."""
    role, flag, arguments = os.environ.get("FAULT_STRACE", "nobody::").split(":", 2)
    if role != _PROGRAMS.get(os.path.basename(sys.argv[0]), "supervisor") or os.path.exists(flag):
        return
    os.close(os.open(flag, os.O_CREAT | os.O_WRONLY))
    environment = {key: value for key, value in os.environ.items() if key != "FAULT_STRACE"}
    subprocess.Popen(
        ["strace", "-qq", "-o", "/dev/null", *arguments.split(" "), "-p", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        env={**environment, "NIGHTSHIFT_TEST_CALLS": ""},
        close_fds=True,  # it must hold neither the lock nor the pipe
    )
    end = time.monotonic() + _ATTACH_S
    while not _traced():
        if time.monotonic() > end:
            raise RuntimeError("strace did not attach")
        time.sleep(0.002)


def _traced() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in lines)
