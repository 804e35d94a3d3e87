"""The disk: what must stay free, what is said early, and where a run stops in time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import texts
from pipeline.allowance import Allowance, InHand
from pipeline.amounts import size
from pipeline.events import Event
from pipeline.ledger.outlook import Open
from pipeline.pace import Pace
from pipeline.room import Room, Sizes
from stages import STAGES
from stages.base import JsonValue
from stages.settings import SeparationSettings
from tests.here import begins, run_here, states
from tests.sandbox import Sandbox

MB = 1_000_000
MINIMUM: dict[str, JsonValue] = {"limits": {"min_free_bytes": 10 * MB, "min_free_files": 100}}


class Disk:
    """A file system that a test fills."""

    def __init__(self, *, free_bytes: int = 1000 * MB, free_files: int = 10_000) -> None:
        self.free_bytes = free_bytes
        self.free_files = free_files
        self.all_files = 20_000

    def statvfs(self, path: Path) -> os.statvfs_result:
        # As tmpfs has it: the superuser's share is more than what others may write.
        blocks = self.free_bytes // 1000
        return os.statvfs_result((
            1000, 1000, blocks * 9, blocks * 2, blocks,
            self.all_files, self.free_files * 2, self.free_files, 0, 255,
        ))  # fmt: skip

    def room(self, out: Path = Path("/out"), **minimum: int) -> Room:
        minimum = {"min_free_bytes": 10 * MB, "min_free_files": 100} | minimum
        return Room(out, **minimum, statvfs=self.statvfs)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk on which runs in this process believe to be."""
    disk = Disk()
    monkeypatch.setattr("pipeline.allowance.Room", disk.room)
    return disk


# ---- the arithmetic


def test_there_is_room_until_the_minimum_is_touched() -> None:
    assert Disk(free_bytes=10 * MB).room().shortage() is None
    assert Disk(free_bytes=10 * MB - 1000).room().shortage() is not None


def test_a_shortage_says_what_is_free_what_is_needed_where_and_what_to_do() -> None:
    assert Disk(free_bytes=4 * MB).room(Path("/music/_pipeline")).shortage() == (
        "4.0 MB are free where /music/_pipeline is, and limits.min_free_bytes asks for 10.0 MB. "
        "Free some space there (pipeline gc removes old versions), or lower the setting, then run "
        "the same command again: finished work is kept."
    )


def test_files_run_out_too() -> None:
    few = Disk(free_files=99)

    assert few.room().shortage() == (
        "99 files can still be made where /out is (free inodes), and limits.min_free_files asks "
        "for 100. Delete some files there, or lower the setting, then run the same command "
        "again: finished work is kept."
    )
    assert few.room(min_free_files=99).shortage() is None


def test_a_file_system_that_counts_no_files_never_runs_out_of_them() -> None:
    btrfs = Disk(free_files=0)
    btrfs.all_files = 0

    assert btrfs.room().shortage() is None


def test_a_track_fits_when_its_outputs_leave_the_minimum_beside_what_is_in_hand() -> None:
    sizes = Sizes(STAGES, {name: one.settings() for name, one in STAGES.items()})
    per_audio_s = sizes.per_audio_s(["separation"], "mix")
    asked = Allowance(room=Disk(free_bytes=110 * MB).room(), sizes=sizes, pace=Pace(dict))

    alone = asked.bound(["separation"], "mix", InHand(0.0, 0.0))
    beside = asked.bound(["separation"], "mix", InHand(0.0, audio_s=60.0))

    assert alone.because == "disk"
    assert alone.longest_s == pytest.approx(100 * MB / per_audio_s)
    assert beside.longest_s == pytest.approx(100 * MB / per_audio_s - 60.0)


@pytest.mark.parametrize(
    ("settings", "stems"),
    [
        ({}, 4),
        ({"stems": ("vocals",)}, 1),
        ({"two_stems": "vocals"}, 2),
        ({"model": "htdemucs_6s"}, 6),
    ],
)
def test_stems_that_are_not_written_take_no_room(settings: dict[str, Any], stems: int) -> None:
    declaration = STAGES["separation"]

    sizes = Sizes({"separation": declaration}, {"separation": SeparationSettings(**settings)})

    # 10,000 tracks of 4 minutes are about 1.5 TB with four stems.
    assert sizes.per_audio_s(["separation"], "mix") * 2.4e6 == pytest.approx(
        stems * 1.5e12 / 4, rel=0.05
    )


def test_open_work_needs_room_for_each_second_of_it_and_for_no_more_than_the_limit() -> None:
    sizes = Sizes(STAGES, {name: one.settings() for name, one in STAGES.items()})
    work = [Open("separation", "mix", jobs=100, audio_s=1000.0), Open("new", "mix", 9, 9.0)]

    assert sizes.needed_bytes(work) == 1000.0 * sizes.per_audio_s(["separation"], "mix")
    assert sizes.needed_bytes(work, limit=10) == pytest.approx(sizes.needed_bytes(work) / 10)
    assert sizes.needed_bytes(work, limit=500) == sizes.needed_bytes(work)


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1.5e12, "1.5 TB"), (-2e9, "-2.0 GB")],
)
def test_sizes_are_shown_in_decimal_units(number: float, shown: str) -> None:
    assert size(number) == shown


# ---- runs


def test_below_the_minimum_nothing_is_begun_and_the_exit_code_is_4(sandbox: Sandbox) -> None:
    sandbox.add_many(2)

    done = sandbox.run("--stages", "note", "--set", f"limits.min_free_bytes={1 << 60}")

    assert done.returncode == 4
    assert "stopped for want of space: " in done.stderr
    assert f"are free where {sandbox.out} is, and limits.min_free_bytes asks for" in done.stderr
    assert "0 jobs done by this run; 2 tracks left" in done.stderr
    assert sandbox.events("lane_started") == []
    assert sandbox.sql("SELECT exit_code FROM runs") == [{"exit_code": 4}]
    assert sandbox.run("--stages", "note").returncode == 0
    sandbox.check()


def test_a_run_that_has_nothing_to_do_does_not_mind_a_full_disk(
    sandbox: Sandbox, disk: Disk
) -> None:
    sandbox.add("song.wav")
    sandbox.run("--stages", "note")
    disk.free_bytes = 0

    again = run_here(sandbox, lambda event: None, MINIMUM)

    assert (again.exit_code, again.stopped_for, again.done) == (0, None, 0)


def test_when_it_gets_short_what_is_in_hand_is_finished_however_long_it_takes(
    sandbox: Sandbox, disk: Disk
) -> None:
    sandbox.script({sha: "sleep:0.8" for sha in sandbox.add_many(4)})

    def hear(event: Event) -> None:
        if begins(event):
            disk.free_files = 50

    short = run_here(sandbox, hear, {"limits": {**_limits(), "grace_s": 0.2}})

    assert (short.exit_code, short.stopped_for, short.failed) == (4, "disk", 0)
    assert short.done + short.left == 4
    assert 1 <= short.done == sandbox.calls().total() <= 2
    said = texts.report(short, shown="music", out="out")
    assert said.startswith("stopped for want of space: ")
    assert len(sandbox.events("disk_short")) == 1
    sandbox.check()


def _limits() -> dict[str, JsonValue]:
    limits = MINIMUM["limits"]
    assert isinstance(limits, dict)
    return limits


def test_a_track_for_which_there_is_no_room_is_left_and_shorter_ones_are_done(
    sandbox: Sandbox, disk: Disk
) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:BULKY"
    sandbox.add("a.wav", seed=1, seconds=2.0)
    sandbox.add("b.wav", seed=2, seconds=0.5)
    disk.free_bytes = 11 * MB  # a megabyte more than the minimum

    report = run_here(sandbox, lambda event: None, MINIMUM)

    assert (report.exit_code, report.stopped_for, report.left) == (4, "disk", 1)
    assert states(sandbox) == [("a.wav", "pending"), ("b.wav", "done")]
    assert report.why is not None
    assert report.why.startswith("11.0 MB are free where ")
    assert "limits.min_free_bytes" in report.why


def test_a_run_says_at_its_start_that_the_disk_will_not_do(sandbox: Sandbox, disk: Disk) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:BULKY"
    for number in range(4):
        sandbox.add(f"{number}.wav", seed=number, seconds=2.0)
    disk.free_bytes = 15 * MB

    run_here(sandbox, lambda event: None, MINIMUM)

    (told,) = sandbox.events("disk_will_not_do")[-1:]
    assert told["free_bytes"] == 15 * MB
    assert told["needed_bytes"] > 5 * MB
    assert f"15.0 MB are free where {sandbox.out} is" in told["why"]


def test_a_disk_that_will_do_is_not_spoken_of(sandbox: Sandbox, disk: Disk) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:BULKY"
    sandbox.add("a.wav", seconds=2.0)

    run_here(sandbox, lambda event: None, MINIMUM)

    assert sandbox.events("disk_will_not_do") == []


@pytest.fixture
def small_disk(sandbox: Sandbox) -> Iterator[Path]:
    """Eight megabytes."""
    folder = sandbox.root / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_is_never_filled_to_its_end(sandbox: Sandbox, small_disk: Path) -> None:
    sandbox.script({sha: f"fill:{small_disk}=1000000" for sha in sandbox.add_many(8)})

    done = sandbox.run(
        *("--stages", "note", "--out", str(small_disk / "out")),
        *("--set", "limits.min_free_bytes=3000000"),
    )
    free = os.statvfs(small_disk)

    assert done.returncode == 4, done.stderr
    assert "No space left" not in done.stderr
    assert free.f_bavail * free.f_frsize > 0
