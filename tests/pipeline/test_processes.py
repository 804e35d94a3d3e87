"""How children are tied to their parent: started away from the current folder, gone when it is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.child import Child
from tests.sandbox import ROOT, Sandbox

# A prctl that does nothing, as on a machine without the parent-death signal.
UNTIED = """
import ctypes, runpy, sys

class Nothing:
    def __init__(self, name):
        pass

    def prctl(self, *arguments):
        return 0

ctypes.CDLL = Nothing
from pipeline.start import tied_to_parent
sys.argv = ["child", *sys.argv[1:]]
wire = tied_to_parent(expendable=False)
print("tied", flush=True)
for message in wire.messages():
    pass
"""

GRANDPARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_neither_lane_nor_probe_imports_what_lies_in_the_current_folder(sandbox: Sandbox) -> None:
    said = sandbox.root / "imported"
    for module in ("numpy", "soundfile", "json"):
        (sandbox.root / f"{module}.py").write_text(f"open({str(said)!r}, 'a').write(__file__)\n")
    sandbox.add("a.wav")

    done = sandbox.run()

    assert done.returncode == 0, done.stderr
    assert not said.exists(), said.read_text()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a parent that is another process")
@pytest.mark.parametrize("module", ["pipeline.lane", "pipeline.probe"])
def test_a_child_whose_parent_is_gone_at_its_start_leaves(module: str, tmp_path: Path) -> None:
    """The pipe stays open, so that nothing else can make it leave."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as lock:
        pipe, held = str(theirs.fileno()), str(lock.fileno())
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module, pipe, str(gone.pid), held],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            pass_fds=[theirs.fileno(), lock.fileno()],
        )
        try:
            assert child.wait(timeout=20) == 1
        finally:
            child.kill()
            child.wait()


def test_a_child_leaves_at_the_end_of_its_pipe_without_any_signal(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", UNTIED, str(theirs.fileno()), str(os.getpid())],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "tied\n"
        assert child.poll() is None
        ours.close()
        assert child.wait(timeout=10) == 0
    finally:
        child.kill()
        child.communicate()


def test_killing_a_child_kills_what_it_started(tmp_path: Path) -> None:
    (tmp_path / "grandparent.py").write_text(GRANDPARENT)
    child = Child("grandparent", environment={**os.environ, "PYTHONPATH": str(tmp_path)})
    printed = _line(child)
    grandchild = psutil.Process(int(printed))

    assert child.kill() == -signal.SIGKILL

    child.close()
    end = time.monotonic() + 5
    while _lives(grandchild):
        assert time.monotonic() < end, "the grandchild outlives its group"
        time.sleep(0.01)


def _line(child: Child) -> str:
    end = time.monotonic() + 20
    while not (block := child.output.read(64)):
        assert time.monotonic() < end
        time.sleep(0.01)
    return block.decode().strip()


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
