"""A lane or probe that was forked for a test is, seen from outside, the one that is started anew."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.sandbox import Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc says what a process is")


@contextmanager
def _started(box: Sandbox) -> Iterator[None]:
    run = box.start_run("--stages", "note")
    yield
    assert run.wait(60) == -signal.SIGKILL
    run.communicate()


@contextmanager
def _forked(box: Sandbox) -> Iterator[None]:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(box.run("--stages", "note").returncode))
    thread.start()
    yield
    thread.join(60)
    assert codes == [-signal.SIGKILL]


def _facts(process: psutil.Process, box: Sandbox) -> dict[str, object]:
    place = Path(f"/proc/{process.pid}")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
    # The two that the C library keeps for itself are caught from the first thread on.
    caught = int(status["SigCgt"], 16) & ~(0b11 << 31)
    links = [os.readlink(entry) for entry in (place / "fd").iterdir()]
    return {
        "leads its group": os.getpgid(process.pid) == process.pid,
        "leads its session": os.getsid(process.pid) == process.pid,
        "signals": (status["SigIgn"], caught, status["SigBlk"]),
        "descriptors": sorted(re.sub(r"\[\d+\]", "", link) for link in links),
        "folder": process.cwd() == str(box.root.resolve()),
        "expendable": (place / "oom_score_adj").read_text(),
        "core": re.findall(r"core file size +(\d+) +(\d+)", (place / "limits").read_text()),
    }


def _children(box: Sandbox) -> tuple[psutil.Process, list[psutil.Process]]:
    """Return the supervisor and its children."""
    alive = {process.pid: process for process in box.processes()}
    (supervisor,) = [one for one in alive.values() if one.ppid() not in alive]
    children = [one for one in alive.values() if one.ppid() == supervisor.pid]
    assert len(alive) == 1 + len(children)
    return supervisor, children


def test_what_was_forked_looks_like_what_was_started_and_dies_like_it(sandbox: Sandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): "hang"})
    seen = []

    for way in (_started, _forked):
        sandbox.forget_calls()
        os.utime(sandbox.dataset / "song.wav")  # there is something to probe, each time
        with way(sandbox):
            sandbox.wait_for_calls(1)
            supervisor, children = _children(sandbox)
            facts = [_facts(child, sandbox) for child in children]
            seen.append(sorted(facts, key=str))
            supervisor.kill()
        sandbox.wait_until_gone()

    started, forked = seen
    assert len(started) == 2  # the lane and the probe
    assert forked == started
