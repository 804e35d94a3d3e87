"""C1 to C6, C9, C12: ledgers that are gone, damaged, locked, too new, or of last week."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import Stage
from tests.faults.rows import row
from tests.faults.scene import Scene, in_time, was_killed


def _finished(box: Scene) -> Scene:
    assert box.run().returncode == 0
    box.faults += 1
    return box


def _computed_nothing(box: Scene, undisturbed: dict[str, object]) -> None:
    box.forget_calls()
    done = box.run()
    assert done.returncode == 0, done.stderr
    box.finished(undisturbed)
    assert box.calls().total() == 0


@row("C1")
@pytest.mark.parametrize("suffixes", [("", "-wal", "-shm"), ("",)], ids=["all of it", "the file"])
def test_a_deleted_ledger_costs_no_computing(
    suffixes: tuple[str, ...], scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    for suffix in suffixes:
        (box.out / f"ledger.db{suffix}").unlink(missing_ok=True)

    _computed_nothing(box, undisturbed)


@row("C2")
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_lost_write_ahead_log_costs_no_outputs(
    suffix: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    assert was_killed(box.traced("supervisor", "fdatasync:signal=KILL:when=16"))

    (box.out / f"ledger.db{suffix}").unlink(missing_ok=True)

    box.survived(undisturbed, again=2)


def _random_page(content: bytes) -> bytes:
    page = 4096
    return content[: 2 * page] + bytes(range(256)) * 16 + content[3 * page :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "no bytes": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "cut within a page": lambda content: content[: 4096 + 100],
    "a page overwritten": _random_page,
    "every page but the first overwritten": lambda content: (
        content[:4096] + b"\xff" * (len(content) - 4096)
    ),
    "not a database": lambda content: b"once upon a time" * 512,
    "zeros": lambda content: bytes(len(content)),
}


@row("C3")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_ledger_is_set_aside_and_made_anew_from_the_outputs(
    damage: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    ledger = box.out / "ledger.db"
    damaged = DAMAGE[damage](ledger.read_bytes())
    ledger.write_bytes(damaged)

    _computed_nothing(box, undisturbed)

    kept = [path.read_bytes() for path in box.out.glob("ledger.db.damaged-*")]
    if damage != "no bytes":
        assert damaged in kept, "what was damaged must not be thrown away"


@row("C4")
def test_a_ledger_locked_by_another_program_for_a_while_is_waited_for(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    browser = sqlite3.connect(box.out / "ledger.db", isolation_level=None, check_same_thread=False)
    browser.execute("BEGIN IMMEDIATE")
    threading.Timer(3.0, lambda: browser.execute("ROLLBACK")).start()

    box.survived(undisturbed)
    browser.close()


@row("C4")
def test_a_ledger_that_stays_locked_stops_the_run_with_a_name_for_it(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    browser = sqlite3.connect(box.out / "ledger.db", isolation_level=None)
    browser.execute("BEGIN IMMEDIATE")

    started = time.monotonic()
    done = box.run()
    browser.close()

    assert done.returncode == 4, done.stderr
    assert "locked" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 60
    box.survived(undisturbed)


@row("C6")
def test_a_ledger_of_a_newer_nightshift_is_left_alone(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    ledger = box.out / "ledger.db"
    (today,) = (row["version_num"] for row in box.sql("SELECT version_num FROM alembic_version"))
    _stamp(box, "9999")
    before = ledger.read_bytes()

    done = box.run()

    assert done.returncode == 4
    assert "newer Nightshift" in done.stderr
    assert ledger.read_bytes() == before
    _stamp(box, today)
    box.survived(undisturbed)


def _stamp(box: Scene, version: str) -> None:
    with sqlite3.connect(box.out / "ledger.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()


@row("C9")
def test_a_ledger_restored_from_an_old_copy_adopts_what_it_does_not_know(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene(tracks=1)
    assert box.run().returncode == 0
    shutil.copy(box.out / "ledger.db", box.root / "old.db")
    box.add_many(3)
    box.forget_sources()
    _finished(box)
    shutil.copy(box.root / "old.db", box.out / "ledger.db")

    _computed_nothing(box, undisturbed)


@row("C12")
@pytest.mark.parametrize("point", range(2, 17, 2))
def test_what_was_published_before_a_kill_is_adopted_and_never_computed_twice(
    point: int, scene: Stage, undisturbed: dict[str, object]
) -> None:
    """The lane's last message about a job leaves it after the rename: killed at once, none arrives."""
    box = scene()
    assert was_killed(box.traced("supervisor", f"fdatasync:signal=KILL:when={point}"))
    _resumed_without_computing_twice(box, undisturbed)


@row("C12")
def test_a_kill_at_any_frame_of_the_ledger_computes_nothing_twice(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    """Killed before a frame of the commit that says done is written: what is, outlives a SIGKILL."""
    writes = scene("count").count("supervisor", "pwrite64")
    points = [writes * percent // 100 for percent in range(50, 87, 2)]
    killed = 0
    for point in points:
        box = scene(f"at{point}")
        killed += was_killed(box.traced("supervisor", f"pwrite64:signal=KILL:when={point}"))
        _resumed_without_computing_twice(box, undisturbed)
    in_time(killed, points)


@row("C12")
def test_what_is_published_and_not_yet_done_at_a_kill_is_adopted(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    """Another program's lock keeps the word `done` out of the ledger until the kill."""
    box = scene()
    box.script({box.hash_of(path): "sleep:1" for path in box.sources()})
    supervisor = box.start_run()
    box.wait_for_calls(1)
    browser = sqlite3.connect(box.out / "ledger.db", isolation_level=None)
    browser.execute("BEGIN IMMEDIATE")
    box.wait_for(lambda: _published(box))

    supervisor.kill()
    supervisor.communicate()
    box.wait_until_gone()
    browser.execute("ROLLBACK")
    browser.close()
    box.script({})
    box.faults += 1

    assert box.done_folders() == set()
    assert _resumed_without_computing_twice(box, undisturbed) > 0


def _resumed_without_computing_twice(box: Scene, undisturbed: dict[str, object]) -> int:
    """Let the next run end the work of one that was killed.

    Returns:
        How many tracks were published and not done when it was killed: they are adopted.
    """
    published = _published(box)
    unknown = published - box.done_folders()
    calls = box.calls()

    box.survived(undisturbed)

    again = box.calls() - calls
    names = {box.hash_of(box.dataset / name) for name in published}
    assert not [call for call in again for name in names if name in call], "computed twice"
    (adopted,) = box.sql("SELECT count(*) AS n FROM attempts WHERE outcome = 'adopted'")
    assert adopted["n"] >= len(unknown)  # and whole attempts that had not been renamed yet
    return len(unknown)


def _published(box: Scene) -> set[str]:
    """Return the folders of the tracks of which a version lies there."""
    return {path.parent.parent.name for path in (box.out / "tracks").rglob("manifest.json")}
