"""B1: the power is cut at the n-th system call that changes the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import manifest
from tests.faults.conftest import Stage
from tests.faults.disks import Disk
from tests.faults.rows import row
from tests.faults.scene import Scene, in_parts, in_time, spread

STEPS = {
    "supervisor": {
        "pwrite64": 10,
        "fdatasync": 14,
        "fsync": 6,
        "rename": 3,
        "mkdir": 4,
        "write": 4,
    },
    "lane": {"fsync": 18, "write": 6, "rename": 3, "mkdir": 3, "sendto": 6},
}
_STILL = 6
_CASES = [
    pytest.param(role, *case.values, id=f"{role}-{case.id}")
    for role, calls in STEPS.items()
    for case in in_parts(calls)
]


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[Disk]]:
    made: list[Disk] = []
    yield made
    for disk in made:
        disk.remove()


@row("B1")
@pytest.mark.parametrize(("role", "call", "part", "parts"), _CASES)
def test_a_power_cut_loses_nothing_that_the_ledger_calls_done(
    role: str,
    call: str,
    part: int,
    parts: int,
    scene: Stage,
    disks: list[Disk],
    tmp_path: Path,
    undisturbed: dict[str, object],
) -> None:
    points = spread(scene("count").count(role, call), STEPS[role][call])[part::parts]
    cut = 0
    for point in points:
        disk = Disk(tmp_path / f"disk{point}")
        disks.append(disk)
        box = scene(f"at{point}", out=disk.folder / "out")
        cut += _run_until(box, role, f"{call}:signal=STOP:when={point}", disk)
        box.faults += 1
        box.wait_until_gone()
        disk.unmount()
        disk.mount()

        box.survived(undisturbed, again=2)

        disk.remove()
    in_time(cut, points)


@row("B1")
@pytest.mark.parametrize(("call", "most"), [("fsync", 9), ("rename", 4), ("write", 5)])
def test_a_power_cut_while_a_version_is_replaced_leaves_the_old_one_or_the_new_one_whole(
    call: str,
    most: int,
    scene: Stage,
    disks: list[Disk],
    tmp_path: Path,
    undisturbed: dict[str, object],
) -> None:
    old = Disk(tmp_path / "old")
    disks.append(old)
    first = scene("first", out=old.folder / "out")
    assert first.run("--set", "note.flavour=1").returncode == 0
    old.unmount()
    counted = Disk(tmp_path / "counting", like=old)
    disks.append(counted)
    steps = scene("count", out=counted.folder / "out").count("lane", call)
    points, cut = spread(steps, most), 0
    for point in points:
        disk = Disk(tmp_path / f"disk{point}", like=old)
        disks.append(disk)
        box = scene(f"at{point}", out=disk.folder / "out")
        cut += _run_until(box, "lane", f"{call}:signal=STOP:when={point}", disk)
        box.faults += 1
        box.wait_until_gone()
        disk.unmount()
        disk.mount()

        for track in (box.out / "tracks").iterdir():
            assert manifest.read(track / "note") is not None, f"{call} {point}: {track.name}"
        box.survived(undisturbed, again=2, durable=False)

        disk.remove()
    in_time(cut, points)


def _run_until(box: Scene, role: str, injection: str, disk: Disk) -> bool:
    """Run until one of the processes stops at its step, or to the end; then the power goes.

    Returns:
        Whether it went before the end.
    """
    call = injection.partition(":")[0]
    run = box.start_traced(role, f"-e trace={call} -e inject={injection}")
    end, still = time.monotonic() + 30, 0
    # A traced process stands still for an instant at each call; the one that stays so is meant.
    while run.poll() is None and still < _STILL:
        still = still + 1 if any(_stopped(process) for process in box.processes()) else 0
        assert time.monotonic() < end
        time.sleep(0.005)
    before = run.poll() is None
    disk.cut()
    for process in box.processes():
        process.kill()
    run.communicate()
    return before


def _stopped(process: psutil.Process) -> bool:
    try:
        return bool(process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP))
    except psutil.Error:
        return False
