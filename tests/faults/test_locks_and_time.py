"""D1 to D7: two runs at once, locks, clocks that jump."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contest import two_at_once
from tests.faults.conftest import Stage
from tests.faults.rows import row
from tests.faults.scene import was_killed

FAKED_CLOCK = Path(__file__).parent / "faked_clock"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@row("D1")
@pytest.mark.parametrize("part", range(2))
def test_of_two_runs_at_the_same_instant_one_works_and_the_other_names_it(
    part: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    with two_at_once() as start:
        for number in range(part, 50, 2):
            box = scene(f"{number}")
            box.script({box.hash_of(box.dataset / "t00.wav"): "sleep:0.3"})
            box.faults += 1

            codes = start(box)

            assert sorted(code for code, _ in codes) == [0, 3], codes
            ((_, refusal),) = [found for found in codes if found[0] == 3]
            assert "is in use by pid " in refusal
            box.finished(undisturbed, again=0)


@row("D2")
def test_a_second_run_is_refused_while_an_orphan_can_still_write(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    said = box.root / "said"
    box.script({box.hash_of(box.dataset / "t01.wav"): f"orphan:{said}=4"})
    run = box.start_run()
    box.wait_for(said.exists)

    run.kill()
    run.communicate()
    box.faults += 1
    second = box.run("--set", "limits.orphan_wait_s=0.3")

    assert second.returncode == 3, second.stderr
    assert "left over by a dead run" in second.stderr
    box.script({})
    box.wait_until_gone()
    box.survived(undisturbed, again=3)


@row("D3")
def test_a_lock_file_left_by_a_killed_run_is_no_obstacle(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    assert was_killed(box.traced("supervisor", "fdatasync:signal=KILL:when=9"))
    assert (box.out / "run.lock").exists()

    box.survived(undisturbed)


@row("D5")
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_run_whose_lock_file_is_gone_publishes_nothing_more(
    how: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    lock = box.out / "run.lock"
    box.script({box.hash_of(box.dataset / "t01.wav"): "sleep:1.5"})
    run = box.start_run()
    box.wait_for(lambda: len(box.calls()) >= 2)

    lock.unlink()
    if how == "replaced":
        lock.write_text("{}")
    box.faults += 1
    _, stderr = run.communicate(timeout=30)

    assert run.returncode == 4
    assert "was deleted or replaced" in stderr
    published = list((box.out / "tracks").rglob("manifest.json"))
    assert len(published) == 1
    box.script({})
    box.survived(undisturbed, again=2)


@row("D6")
@pytest.mark.parametrize("kind", ["folder", "link to nowhere", "link to a file"])
def test_a_lock_path_that_is_no_file_of_ours_is_refused_or_harmless(
    kind: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    box.out.mkdir()
    lock, treasure = box.out / "run.lock", box.root / "treasure"
    treasure.write_text("gold")
    if kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(treasure if "file" in kind else box.root / "nowhere")
    box.faults += 1

    done = box.run()

    assert treasure.read_text() == "gold"
    assert not (box.root / "nowhere").exists()
    assert done.returncode == 4, done.stderr
    assert "run.lock" in done.stderr
    assert "Traceback" not in done.stderr
    lock.rmdir() if kind == "folder" else lock.unlink()
    box.by_hand()
    box.survived(undisturbed)


@row("D7")
@pytest.mark.parametrize("first", ["-1h", "+365d", "-20000d"])
@pytest.mark.parametrize("then", ["+0", "-2h"])
def test_clocks_that_jump_between_a_kill_and_the_next_run_change_nothing(
    first: str, then: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    if not os.path.exists(FAKETIME):
        pytest.skip("needs libfaketime")
    box = scene()
    box.environment.update(
        LD_PRELOAD=FAKETIME,
        FAKETIME=first,
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        PYTHONPATH=f"{FAKED_CLOCK}:{box.environment['PYTHONPATH']}",
    )
    assert was_killed(box.traced("supervisor", "fdatasync:signal=KILL:when=13"))
    box.environment["FAKETIME"] = then
    box.faults += 1

    box.survived(undisturbed)

    box.environment["FAKETIME"] = "-400d"
    box.does_nothing_more()
