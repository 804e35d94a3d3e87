"""B2 to B8, B13: disks that are full, broken, read-only or slow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Stage
from tests.faults.disks import Disk, SmallDisk, sh
from tests.faults.rows import row
from tests.faults.scene import spread


@pytest.fixture
def small(tmp_path: Path) -> Iterator[list[SmallDisk]]:
    made: list[SmallDisk] = []
    yield made
    for disk in made:
        disk.remove()


@row("B2")
@pytest.mark.parametrize("kilobytes", [24, 60, 100, 140, 180, 220, 260, 300, 400, 600])
def test_a_disk_that_fills_up_stops_the_run_which_goes_on_when_there_is_room(
    kilobytes: int,
    scene: Stage,
    small: list[SmallDisk],
    tmp_path: Path,
    undisturbed: dict[str, object],
) -> None:
    disk = SmallDisk(tmp_path / "small", kilobytes=kilobytes)
    small.append(disk)
    box = scene(out=disk.folder / "out")
    box.faults += 1

    done = box.run()

    assert done.returncode in (0, 4), done.stderr
    if done.returncode == 4:
        assert "space" in done.stderr or "full" in done.stderr
        assert "Traceback" not in done.stderr
    box.wait_until_gone()
    disk.enlarge()
    box.survived(undisturbed, again=2)


@row("B2")
@pytest.mark.parametrize(
    ("role", "call", "most"),
    [
        ("supervisor", "pwrite64", 8), ("supervisor", "write", 4), ("supervisor", "mkdir", 4),
        ("lane", "write", 6), ("lane", "mkdir", 4), ("lane", "openat", 5), ("lane", "fsync", 5),
    ],
)  # fmt: skip
def test_a_disk_that_is_full_from_some_call_on_fails_no_track(
    role: str, call: str, most: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    stopped = 0
    for point in spread(scene("count").count(role, call), most):
        box = scene(f"at{point}")

        done = box.traced(role, f"{call}:error=ENOSPC:when={point}+")

        # The last calls of a process tidy up, and what fails then is no loss.
        assert done.returncode in (0, 4), (point, done.stderr)
        stopped += done.returncode == 4
        assert "Traceback" not in done.stderr, (point, done.stderr)
        if (box.out / "ledger.db").exists() and box.sql("SELECT name FROM sqlite_master"):
            assert not box.sql("SELECT id FROM jobs WHERE state = 'failed'"), (point, done.stderr)
        box.survived(undisturbed, again=3)
    assert stopped >= 2


@row("B4")
@pytest.mark.parametrize("inodes", [6, 12, 18, 22])
def test_a_disk_without_inodes_stops_the_run(
    inodes: int,
    scene: Stage,
    small: list[SmallDisk],
    tmp_path: Path,
    undisturbed: dict[str, object],
) -> None:
    disk = SmallDisk(tmp_path / "small", kilobytes=8 << 10, inodes=inodes)
    small.append(disk)
    box = scene(out=disk.folder / "out")
    box.faults += 1

    done = box.run()

    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    disk.enlarge()
    box.survived(undisturbed, again=2)


@row("B5")
@pytest.mark.parametrize(("call", "most"), [("write", 12), ("fsync", 12), ("close", 8)])
def test_one_i_o_error_on_an_output_is_made_good_from_scratch(
    call: str, most: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    for point in spread(scene("count").count("lane", call), most):
        box = scene(f"at{point}")

        done = box.traced("lane", f"{call}:error=EIO:when={point}")

        assert done.returncode == 0, (point, done.stderr)
        box.finished(undisturbed, again=1)


@row("B5")
@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_dying_disk_stops_the_run_and_fails_no_track(
    call: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()

    done = box.traced("lane", f"{call}:error=EIO:when=3+")

    assert done.returncode == 4, done.stderr
    assert "Input/output error" in done.stderr
    assert not box.sql("SELECT id FROM jobs WHERE state = 'failed'")
    box.survived(undisturbed, again=3)


@row("B6")
def test_a_source_that_cannot_be_read_fails_alone_and_is_tried_again(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    source = box.dataset / "t01.wav"
    failing = "-f -e trace=read,pread64 -e inject=read,pread64:error=EIO"
    run = box.start_traced("lane", f"{failing} -P {source}")
    box.faults += 1
    _, stderr = run.communicate(timeout=60)

    assert run.returncode == 1, stderr
    assert box.counts() == {"done": 2, "failed": 1}
    job = box.jobs()["t01.wav", "note", "mix"]
    assert job["reason"] == "io", job
    box.survived(undisturbed)


@row("B6")
def test_a_bad_sector_is_an_error_of_the_source_that_lies_there(
    scene: Stage, tmp_path: Path
) -> None:
    """A real one: the image under the file system is cut off behind the mount's back."""
    box = scene(out=tmp_path / "out", tracks=1)
    disk = Disk(box.dataset / "disk")
    try:
        for number in range(6):
            box.add(f"disk/song{number}.wav", seed=90 + number, seconds=300)
        box.forget_sources()
        disk.unmount()
        disk.mount()
        disk.spoil()
        box.faults += 1

        done = box.run()

        assert done.returncode == 1, done.stderr
        unread = box.sql("SELECT shown, problem FROM paths WHERE problem IS NOT NULL")
        assert 1 <= len(unread) <= 5, "none, or all, lay on the half that is gone"
        assert all("Input/output error" in row["problem"] for row in unread)
        assert box.counts() == {"done": 7 - len(unread)}
    finally:
        disk.remove()


LEDGER_CALLS = [("pwrite64", 10), ("fdatasync", 10), ("pread64", 6), ("ftruncate", 3), ("fsync", 6)]


@row("B7")
@pytest.mark.parametrize(("call", "most"), LEDGER_CALLS)
def test_an_i_o_error_on_the_ledger_stops_the_run_at_once(
    call: str, most: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    stopped = 0
    for point in spread(scene("count").count("supervisor", call), most):
        box = scene(f"at{point}")

        done = box.traced("supervisor", f"{call}:error=EIO:when={point}+")

        # At its very end SQLite tidies up, and what fails then is no loss.
        assert done.returncode in (0, 4), (point, done.stderr)
        stopped += done.returncode == 4
        assert "Traceback" not in done.stderr, (point, done.stderr)
        box.durable()
        box.survived(undisturbed, again=3)
    assert stopped >= 1


@row("B8")
def test_an_output_folder_that_cannot_be_written_is_refused_before_any_work(
    scene: Stage, tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    box = scene(out=place / "out")
    sh("mount", "--bind", str(place), str(place))
    sh("mount", "-o", "remount,ro,bind", str(place))
    box.faults += 1
    try:
        done = box.run()
    finally:
        sh("umount", str(place))

    assert done.returncode == 4
    assert str(place) in done.stderr
    assert "Traceback" not in done.stderr
    assert box.calls().total() == 0
    box.survived(undisturbed)


@row("B8")
@pytest.mark.parametrize(
    ("role", "call"), [("lane", "mkdir"), ("lane", "openat"), ("lane", "rename")]
)
def test_a_file_system_that_turns_read_only_stops_the_run(
    role: str, call: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    last = scene("count").count(role, call)
    point = last - 4 if call == "openat" else last  # it ends with reading, which need not fail

    done = box.traced(role, f"{call}:error=EROFS:when={point}+")

    assert done.returncode == 4, done.stderr
    assert "Read-only file system" in done.stderr
    assert not box.sql("SELECT id FROM jobs WHERE state = 'failed'")
    box.survived(undisturbed, again=2)


@row("B9")
def test_music_on_read_only_media_needs_only_another_place_for_the_outputs(
    scene: Stage, tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    box = scene(out=tmp_path / "out")
    sh("mount", "--bind", str(box.dataset), str(box.dataset))
    sh("mount", "-o", "remount,ro,bind", str(box.dataset))
    box.faults += 1
    try:
        box.survived(undisturbed)
    finally:
        sh("umount", str(box.dataset))


@row("B13")
def test_a_slow_disk_is_slow_and_nothing_else(scene: Stage, undisturbed: dict[str, object]) -> None:
    box = scene()
    box.faults += 1
    slow = "-e trace=fsync -e inject=fsync:delay_enter=300000"
    box.environment["NIGHTSHIFT_LIMITS__HANG_BASE_S"] = "1.5"

    run = box.start_traced("lane", slow)
    _, stderr = run.communicate(timeout=100)

    assert run.returncode == 0, stderr
    box.finished(undisturbed)
