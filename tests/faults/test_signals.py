"""A3 to A7: signals, terminals that go away, suspended machines."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import psutil
import pytest

from tests.faults.conftest import Stage
from tests.faults.rows import row
from tests.faults.scene import Scene

PHASES = ("scan", "load", "work", "decode ahead", "publish")


@row("A3")
def test_a_killed_supervisor_takes_its_lane_with_it(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    _slow(box, "sleep:30")
    run = box.start_run()
    lane = box.lane_pid()
    box.wait_for_calls(1)

    run.kill()
    box.faults += 1
    second = box.start_run()  # at once: refused while the lane lives, or waits for its death
    run.communicate()
    box.wait_for(lambda: not _lives(lane), timeout_s=1.0)
    _slow(box, "well")

    _, stderr = second.communicate(timeout=60)
    assert second.returncode in (0, 3), stderr
    box.survived(undisturbed, again=3)


@row("A4")
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
@pytest.mark.parametrize("phase", PHASES)
def test_one_signal_in_any_phase_leaves_a_resumable_dataset(
    phase: str, asked: signal.Signals, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    run = _until(box, phase)

    run.send_signal(asked)
    box.faults += 1
    _, stderr = run.communicate(timeout=30)

    assert run.returncode == 128 + asked, stderr
    assert "Resume with: pipeline run" in stderr
    box.wait_until_gone()
    assert not box.sql("SELECT id FROM jobs WHERE state IN ('running', 'failed')")
    _slow(box, "well")
    box.survived(undisturbed, again=2)


@row("A5")
@pytest.mark.parametrize("part", range(2))
def test_a_storm_of_signals_is_as_harmless_as_a_kill(
    part: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(10):
        box = scene(f"{number}")
        _slow(box, "sleep:0.1")
        run = box.start_run()
        time.sleep(chance.uniform(0.1, 1.2))
        for _ in range(chance.choice([2, 2, 3, 5])):
            run.send_signal(chance.choice([signal.SIGINT, signal.SIGTERM]))
            time.sleep(chance.choice([0.0, 0.001, 0.05]))
        box.faults += 1
        _, stderr = run.communicate(timeout=30)
        # Before Python has our handlers in place, the signals do what they always do.
        assert run.returncode in (0, 130, 143, -signal.SIGINT, -signal.SIGTERM), stderr
        box.wait_until_gone()
        box.survived(undisturbed, again=2)


@row("A6")
@pytest.mark.parametrize("how", ["hang-up", "closed pipes", "no standard streams"])
def test_a_run_outlives_its_terminal(
    how: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    _slow(box, "sleep:0.3")
    box.faults += 1
    if how == "no standard streams":
        assert box.start_run_without_streams().wait(timeout=60) == 0
        box.finished(undisturbed)
        return
    run = box.start_run()
    box.wait_for_calls(1)
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    run.stderr.close()
    if how == "hang-up":
        run.send_signal(signal.SIGHUP)
    assert run.wait(timeout=60) == 0
    box.finished(undisturbed)


@row("A7")
@pytest.mark.parametrize("who", ["both", "lane", "supervisor"])
def test_a_suspended_run_blames_nobody(
    who: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    _slow(box, "sleep:1.5")
    run = box.start_run("--set", "limits.hang_base_s=3")
    lane = box.lane_pid()
    box.wait_for_calls(1)
    pids = {"both": (run.pid, lane), "lane": (lane,), "supervisor": (run.pid,)}[who]

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    box.faults += 1
    time.sleep(2 if who == "lane" else 7)  # a lane that stands still alone for longer does hang
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    _, stderr = run.communicate(timeout=60)

    assert run.returncode == 0, stderr
    box.finished(undisturbed)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _slow(box: Scene, behaviour: str) -> None:
    box.script(dict.fromkeys(map(box.hash_of, sorted(box.dataset.glob("*.wav"))), behaviour))


def _until(box: Scene, phase: str) -> subprocess.Popen[str]:
    """Start a run and wait until it is in a phase."""
    if phase == "publish":
        # Every sync of the lane takes a while: it is somewhere within publishing.
        flag = "-e trace=fsync -e inject=fsync:delay_enter=150000"
        run = box.start_traced("lane", flag)
        box.wait_for_calls(1)
        time.sleep(0.2)
        return run
    if phase == "load":
        run = box.start_run("--set", "note.load=sleep:1")
        box.lane_pid()
        return run
    _slow(box, "sleep:0.7")
    run = box.start_run()
    if phase == "scan":
        box.wait_for(lambda: (box.out / "run.lock").exists())
    else:
        box.wait_for_calls(1 if phase == "work" else 2)
    return run
