"""A child process and its end, where a signal handler has to bring it about."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.sandbox import ROOT

# The second Ctrl-C while the loop waits for its child: `Popen.wait` holds its lock all the while.
INTERRUPTED = """
import os, signal, threading
from pipeline.child import Child

child = Child("pipeline.probe", environment=os.environ)
waiting = child._process._waitpid_lock

def asked(number, frame):
    print("interrupted", waiting.locked(), flush=True)
    child.end()
    print("ended", flush=True)

def interrupt():
    while not waiting.locked():
        pass
    os.kill(os.getpid(), signal.SIGUSR1)

signal.signal(signal.SIGUSR1, asked)
threading.Thread(target=interrupt).start()
print("status", child._process.wait(), child.kill(), flush=True)
child.close()
"""


def test_a_signal_handler_can_end_a_child_that_the_interrupted_code_waits_for() -> None:
    """In a process of its own, because what is guarded against is that it never comes back."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.stdout.splitlines() == ["interrupted True", "ended", "status -9 -9"], done.stderr
    assert done.returncode == 0
