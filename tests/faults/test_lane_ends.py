"""A8 to A12, A15, F25: what a stage's library can do to its process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.conftest import Stage
from tests.faults.rows import row
from tests.faults.scene import Scene

MEMORY = Path("/sys/fs/cgroup/memory")


def _bad_track(box: Scene, behaviour: str) -> None:
    box.script({box.hash_of(box.dataset / "t01.wav"): behaviour})
    box.faults += 1


def _one_failed(box: Scene, reason: str, *arguments: str) -> str:
    """Run; one track fails for a reason, the others are done. Return its detail."""
    done = box.run(*arguments)
    assert done.returncode == 1, done.stderr
    assert box.counts() == {"done": 2, "failed": 1}
    job = box.jobs()["t01.wav", "note", "mix"]
    assert job["reason"] == reason
    box.check()
    return str(job["detail"])


@row("A8")
@pytest.mark.parametrize(("behaviour", "name"), [("segfault", "SIGSEGV"), ("abort", "SIGABRT")])
def test_a_track_that_kills_its_lane_twice_fails_and_the_others_are_done(
    behaviour: str, name: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    _bad_track(box, behaviour)

    detail = _one_failed(box, "crash")

    assert name in detail
    box.script({})
    assert box.command("retry", str(box.dataset)).returncode == 0
    box.survived(undisturbed, again=4)


@row("A10")
@pytest.mark.parametrize("status", ["0", "3"])
def test_a_lane_that_leaves_without_a_word_has_died(status: str, scene: Stage) -> None:
    box = scene()
    _bad_track(box, f"exit:{status}")

    assert f"exit status {status}" in _one_failed(box, "crash")


@row("A8")
@pytest.mark.parametrize("behaviour", ["segfault", "abort", "exit:0", "kill"])
def test_a_death_that_happens_once_costs_nobody_anything(
    behaviour: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    flag = box.root / "once"
    flag.touch()
    _bad_track(box, f"once:{flag}={behaviour}")

    assert box.run().returncode == 0
    box.finished(undisturbed, again=2)


@pytest.fixture
def little_memory(tmp_path: Path) -> Iterator[Path]:
    """A control group of 256 MB, into which a process can put itself."""
    group = MEMORY / f"nightshift-{os.getpid()}"
    if not (MEMORY / "memory.limit_in_bytes").exists():
        pytest.skip("needs the memory controller of control groups, version 1")
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(256 << 20))
    yield group
    with suppress(OSError):
        group.rmdir()


@row("A9")
def test_the_kernel_takes_the_lane_that_eats_the_memory_and_not_the_run(
    scene: Stage, little_memory: Path, undisturbed: dict[str, object]
) -> None:
    box = scene()
    _bad_track(box, f"eat:{little_memory / 'cgroup.procs'}=1024")

    assert "SIGKILL" in _one_failed(box, "crash")
    kills = (little_memory / "memory.oom_control").read_text().split("oom_kill ")[1]
    assert int(kills) >= 2  # once more while a neighbour was suspected, too

    box.script({})
    assert box.command("retry", str(box.dataset)).returncode == 0
    box.survived(undisturbed, again=4)


@row("A11")
@pytest.mark.parametrize("behaviour", ["hang", "spin"])
def test_a_stage_that_hangs_is_killed_and_tried_again_by_the_next_run(
    behaviour: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    _bad_track(box, behaviour)
    limits = ("--set", "limits.hang_base_s=1", "--set", "limits.hang_per_audio_s=0")

    _one_failed(box, "hang", *limits)

    box.script({})
    box.survived(undisturbed, again=2)


@row("A11")
def test_a_fifo_with_a_music_name_holds_nobody_up(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    os.mkfifo(box.dataset / "x.wav")
    box.faults += 1

    assert box.run().returncode == 0
    box.finished(undisturbed)


@row("A12")
def test_garbage_and_floods_on_a_lane_s_output_harm_nobody(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    _bad_track(box, f"print:{64 << 20}")

    assert box.run().returncode == 0
    box.finished(undisturbed)


@row("F25")
def test_a_lane_short_of_memory_fails_one_track_which_the_next_run_tries_again(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    _bad_track(box, "raise:memory")

    _one_failed(box, "memory")

    box.script({})
    box.survived(undisturbed, again=2)
