"""A1, A2, A14, C12: SIGKILL at the n-th system call that changes the disk, SQLite's own among them."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Stage
from tests.faults.rows import row
from tests.faults.scene import Scene, in_parts, in_time, spread, was_killed

SUPERVISOR = {
    "pwrite64": 16, "fdatasync": 19, "fsync": 11, "write": 12, "rename": 3,
    "mkdir": 8, "unlink": 4, "ftruncate": 3,
}  # fmt: skip
LANE = {"write": 12, "fsync": 18, "rename": 3, "mkdir": 6, "sendto": 15}
REPLACING = {"renameat2": 3, "rename": 3, "fsync": 9}


@row("A1")
@pytest.mark.parametrize(("call", "part", "parts"), in_parts(SUPERVISOR))
def test_a_killed_supervisor_is_resumed_by_the_next_run(
    call: str, part: int, parts: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    points = spread(scene("count").count("supervisor", call), SUPERVISOR[call])[part::parts]
    killed = 0
    for point in points:
        box = scene(f"at{point}")
        killed += was_killed(box.traced("supervisor", f"{call}:signal=KILL:when={point}"))
        box.survived(undisturbed)
    in_time(killed, points)
    box.does_nothing_more()


@row("A2")
@pytest.mark.parametrize(("call", "part", "parts"), in_parts(LANE))
def test_a_killed_lane_is_started_again_by_the_same_run(
    call: str, part: int, parts: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    points, deaths = spread(scene("count").count("lane", call), LANE[call])[part::parts], 0
    for point in points:
        box = scene(f"at{point}")
        done = box.traced("lane", f"{call}:signal=KILL:when={point}")
        assert done.returncode == 0, done.stderr
        deaths += len(box.events("lane_died"))
        box.finished(undisturbed)
    # Killed while it says goodbye, a lane was asked to leave, and nobody calls that a death.
    assert max(1, len(points) - 1) <= deaths <= len(points)


@row("A2")
@pytest.mark.parametrize(("call", "most"), REPLACING.items(), ids=[*REPLACING])
def test_a_lane_killed_while_it_replaces_a_version_is_started_again_by_the_same_run(
    call: str, most: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    points = spread(_replacing(scene("count")).count("lane", call), most)
    for point in points:
        box = _replacing(scene(f"at{point}"))
        done = box.traced("lane", f"{call}:signal=KILL:when={point}")
        assert done.returncode == 0, done.stderr
        assert len(box.events("lane_died")) == 1, point
        box.finished(undisturbed)


def _replacing(box: Scene) -> Scene:
    """Give every track a version that the next run replaces."""
    assert box.run("--set", "note.flavour=1").returncode == 0
    box.forget_calls()
    return box


RECOVERY = {"rename": 3, "unlink": 3, "rmdir": 6, "fsync": 8, "fdatasync": 6, "unlinkat": 6}


@row("A14")
@pytest.mark.parametrize("call", RECOVERY)
def test_a_recovery_killed_at_any_step_is_recovered_from(
    call: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    """What it finds: a version being replaced by a whole attempt, and another half written."""
    counted = _half_done(scene("count"))
    points, killed = spread(_calls_before_work(counted, call), RECOVERY[call]), 0
    for point in points:
        box = _half_done(scene(f"at{point}"))

        killed += was_killed(box.traced("supervisor", f"{call}:signal=KILL:when={point}"))

        box.survived(undisturbed, again=3, durable=False)
    in_time(killed, points)


def _half_done(box: Scene) -> Scene:
    """Leave a dataset as a power cut in the middle of things does."""
    assert box.run("--set", "note.flavour=1").returncode == 0
    tracks, tmp, trash = box.out / "tracks", box.out / ".tmp", box.out / ".trash"
    (tracks / "t00.wav/note").rename(tmp / "whole")
    (tracks / "t01.wav/note").rename(trash / "set-aside")
    (tmp / "set-aside").mkdir()
    (tmp / "set-aside/features.json").write_text("{")
    (tmp / "half").mkdir()
    (tmp / "half/features.json").write_text("")
    box.forget_calls()
    return box


def _calls_before_work(box: Scene, call: str) -> int:
    """Return how many calls a start makes until it has recovered: with no stage to run, all."""
    return box.count("supervisor", call, "--set", "note.flavour=1")
