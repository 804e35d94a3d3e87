"""The run lock: who gets it, who is told what, and that nothing lets it go too early."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline import lock
from pipeline.errors import DatasetBusy, LockLost
from tests.contest import two_at_once
from tests.sandbox import Sandbox
from tests.zygote import QuickSandbox

HOLD = """
import sys, time
from pathlib import Path
from pipeline import lock
held = lock.acquire(Path(sys.argv[1]), since_utc="2026-01-01T00:00:00Z")
print(held.descriptor, flush=True)
time.sleep(60)
"""


def _holder(out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_live_holder_refuses_a_second_run_at_once_and_is_named(tmp_path: Path) -> None:
    holder = _holder(tmp_path)

    try:
        with pytest.raises(DatasetBusy, match=rf"pid {holder.pid} on .*2026-01-01"):
            lock.acquire(tmp_path, since_utc="now", sleep=_never)
    finally:
        _end(holder)


def test_the_lock_of_a_killed_holder_is_free_without_any_manual_step(tmp_path: Path) -> None:
    _end(_holder(tmp_path))

    held = lock.acquire(tmp_path, since_utc="now", sleep=_never)

    assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    held.check()


def test_an_orphan_that_dies_in_time_is_waited_for(tmp_path: Path) -> None:
    orphan = _orphan(tmp_path, seconds=0.5)

    held = lock.acquire(tmp_path, since_utc="now")

    orphan.wait()
    held.check()


def test_an_orphan_that_outlives_the_wait_is_reported(tmp_path: Path) -> None:
    orphan = _orphan(tmp_path, seconds=30)

    with pytest.raises(DatasetBusy, match="left over by a dead run"):
        lock.acquire(tmp_path, since_utc="now", wait_for_orphan_s=0.2)

    orphan.kill()
    orphan.wait()


def _orphan(out: Path, *, seconds: float) -> subprocess.Popen[bytes]:
    """Leave a child that holds the descriptor of a holder that was killed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD.replace("time.sleep(60)", (
        "import subprocess\n"
        f"child = subprocess.Popen(['sleep', '{seconds}'], pass_fds=[held.descriptor])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )), str(out)], stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    child = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    holder.stdout.close()
    # Not our child any more: wait for it by its process id.
    return subprocess.Popen(["tail", f"--pid={child}", "-f", "/dev/null"])


def test_a_name_left_by_a_reused_process_id_is_no_live_holder() -> None:
    someone_else = lock.Holder(os.getpid(), socket.gethostname(), started=0.0, since_utc="long ago")

    assert not someone_else.alive()


def test_a_holder_on_another_host_is_taken_for_alive() -> None:
    assert lock.Holder(1, "another-host", started=0.0, since_utc="").alive()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"pid": 1}'])
def test_a_lock_file_that_names_nobody_is_survived(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.lock").write_bytes(content)

    assert lock.read_holder(tmp_path / "run.lock") is None
    lock.acquire(tmp_path, since_utc="now").check()


def test_a_deleted_lock_file_is_noticed(tmp_path: Path) -> None:
    held = lock.acquire(tmp_path, since_utc="now")

    held.path.unlink()

    with pytest.raises(LockLost, match="deleted or replaced"):
        held.check()


def test_a_replaced_lock_file_is_noticed(tmp_path: Path) -> None:
    held = lock.acquire(tmp_path, since_utc="now")

    held.path.unlink()
    held.path.touch()

    with pytest.raises(LockLost):
        held.check()


def _never(seconds: float) -> None:
    raise AssertionError("it waited")


# ---- with real runs


# On a busy machine a thread that sleeps is woken at once, one that never does waits its turn: with
# the lock let go before the lane was killed, 18 of 18 tries saw the lane alive, without it 14 of 18.
_BREATH_S = 0.0001


class Contender:
    """Tries for the lock of a run again and again, as a second run would, until it has it.

    Args:
        lane: the process that must be dead by then.
    """

    def __init__(self, path: Path, lane: int) -> None:
        self.refused = 0
        self.lane_lived: bool | None = None  # at the instant the lock was free; None: it never was
        self._path, self._lane = path, lane
        self._gave_up_at = time.monotonic() + 60
        self._thread = threading.Thread(target=self._contend, daemon=True)
        self._thread.start()

    def _contend(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            while time.monotonic() < self._gave_up_at:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self.refused += 1
                    time.sleep(_BREATH_S)
                else:
                    self.lane_lived = _lives(self._lane)
                    return
        finally:
            os.close(descriptor)

    def join(self) -> None:
        """Wait until it has had the lock, and has let it go again."""
        self._thread.join()


@pytest.mark.parametrize("way", ["exception", "sys.exit", "second SIGINT"])
def test_a_second_run_is_refused_until_the_lane_of_a_leaving_run_is_dead(
    sandbox: Sandbox, way: str
) -> None:
    """The supervisor takes a lane that ignores SIGTERM and works on with it, and only then goes."""
    said = sandbox.root / "lane said"
    sandbox.script({sandbox.add("song.wav"): f"ignore_term:{said}=60"})
    sandbox.environment["NIGHTSHIFT_TEST_WAY"] = way
    run = sandbox.start_run()
    lane = int(sandbox.wait_for(lambda: said.exists() and said.read_text()))
    contender = Contender(sandbox.out / "run.lock", lane)
    sandbox.wait_for(lambda: contender.refused)
    assert _lives(lane)
    refused_before = contender.refused

    _leave(run, way, sandbox)
    run.communicate()
    contender.join()

    assert run.returncode == {"exception": 1, "sys.exit": 7, "second SIGINT": 130}[way]
    assert contender.lane_lived is False
    assert contender.refused > refused_before
    sandbox.script({})
    assert sandbox.run().returncode == 0
    sandbox.check()


def test_a_second_run_is_refused_while_the_orphan_of_a_killed_run_lives(
    sandbox: QuickSandbox,
) -> None:
    said = sandbox.root / "lane said"
    # An orphan as bad as can be: no parent-death signal, and the pipe's end cannot be heard.
    sandbox.script({sandbox.add("song.wav"): f"orphan:{said}=6"})
    run = sandbox.fork_run()
    lane = int(sandbox.wait_for(lambda: said.exists() and said.read_text()))

    run.kill()
    run.communicate()
    assert _lives(lane)
    second = sandbox.run("--set", "limits.orphan_wait_s=0.3")

    assert second.returncode == 3, second.stderr
    assert "left over by a dead run" in second.stderr
    assert _lives(lane), "the refusal proves nothing if the lane was gone"
    os.kill(lane, signal.SIGKILL)
    sandbox.script({})
    assert sandbox.run().returncode == 0
    sandbox.check()


def _leave(run: subprocess.Popen[str], way: str, sandbox: Sandbox) -> None:
    if way == "second SIGINT":
        run.send_signal(signal.SIGINT)
        sandbox.wait_for(lambda: sandbox.events("stopping"))
        run.send_signal(signal.SIGINT)
    else:
        run.send_signal(signal.SIGUSR1)  # tests.fakes raises there


def _lives(pid: int) -> bool:
    """Say whether any thread of a process is left: the first is a zombie while others still work."""
    try:
        return any(_works(pid, int(thread)) for thread in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return False


def _works(pid: int, thread: int) -> bool:
    try:
        with open(f"/proc/{pid}/task/{thread}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_after_a_lane_s_death_a_run_without_its_lock_leaves_tmp_alone(
    sandbox: QuickSandbox,
) -> None:
    """Recovery empties `.tmp`, where another run may be at work by then."""
    sandbox.script({sandbox.add("song.wav"): "sleep:60"})
    run = sandbox.fork_run()
    lane = sandbox.lane_pid()
    sandbox.wait_for_calls(1)
    # Stopped, so that the lane's death is the first thing it hears, before it looks by itself.
    os.kill(run.pid, signal.SIGSTOP)
    (sandbox.out / "run.lock").unlink()
    other = sandbox.out / ".tmp" / "of another run"
    other.mkdir()
    os.kill(lane, signal.SIGKILL)
    sandbox.wait_for(lambda: not _lives(lane))

    os.kill(run.pid, signal.SIGCONT)
    _, stderr = run.communicate()

    assert run.returncode == 4
    assert "was deleted or replaced while this run held it" in stderr
    assert other.exists()


def test_of_two_runs_at_the_same_instant_one_works_and_the_other_names_it(tmp_path: Path) -> None:
    with two_at_once() as start:
        for number in range(6):  # fifty times: row D1 of `make test-faults`
            (tmp_path / str(number)).mkdir()
            box = Sandbox(tmp_path / str(number), registry="tests.fakes:ONE")
            box.script({box.add("song.wav"): "sleep:0.6"})

            codes = start(box)

            assert sorted(code for code, _ in codes) == [0, 3], codes
            ((_, refusal),) = [found for found in codes if found[0] == 3]
            assert "is in use by pid " in refusal
            assert box.calls().total() == 1
            box.check()
