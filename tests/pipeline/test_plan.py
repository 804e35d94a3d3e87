"""What `plan` says is what the next run does, and it touches nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import ROOT, Sandbox
from tests.zygote import QuickSandbox, Zygote


@pytest.fixture
def box(tmp_path: Path, zygote: Zygote) -> Sandbox:
    box = QuickSandbox(tmp_path, zygote, registry="tests.fakes:STAGES")
    for number in range(3):
        box.add(f"t{number}.wav", seed=number, seconds=0.5)
    return box


def _plan(box: Sandbox, *options: str) -> dict[str, Any]:
    done = box.command("plan", str(box.dataset), "--json", *options)
    assert done.returncode == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


def _to_do(plan: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {
        (stage, scope): counts["to_do"]
        for stage, scopes in plan["stages"].items()
        for scope, counts in scopes.items()
        if counts["to_do"]
    }


def _done_by_next_run(box: Sandbox, *options: str) -> dict[tuple[str, str], int]:
    before = len(box.events("job_done")) if box.out.exists() else 0
    box.run(*options)
    events = box.events("job_done")[before:]
    return dict(Counter((event["stage"], event["scope"]) for event in events))


def _replace_source(box: Sandbox) -> None:
    box.add("t0.wav", seed=77, seconds=0.7)


def _move_source(box: Sandbox) -> None:
    (box.dataset / "t2.wav").rename(box.dataset / "elsewhere.wav")


def _copy_source(box: Sandbox) -> None:
    shutil.copy(box.dataset / "t0.wav", box.dataset / "again.wav")


def _lose_source(box: Sandbox) -> None:
    (box.dataset / "t1.wav").unlink()


def _fail_passing(box: Sandbox) -> None:
    shutil.rmtree(box.out / "tracks" / "t0.wav" / "note")  # or it would be adopted
    with _ledger(box) as write:
        write(
            "UPDATE jobs SET state='failed', reason='io' WHERE track_id=1 AND stage='note' AND scope='mix'"
        )


def _fail_for_good(box: Sandbox) -> None:
    with _ledger(box) as write:
        write("UPDATE jobs SET state='failed', reason='damaged' WHERE track_id=1 AND scope='mix'")


@contextmanager
def _ledger(box: Sandbox) -> Iterator[Callable[[str], object]]:
    connection = sqlite3.connect(box.out / "ledger.db", isolation_level=None)
    try:
        yield connection.execute
    finally:
        connection.close()


def _lose_output(box: Sandbox) -> None:
    shutil.rmtree(box.out / "tracks" / "t0.wav" / "note")


def _lose_stems(box: Sandbox) -> None:
    shutil.rmtree(box.out / "tracks" / "t2.wav" / "separation")


def _edit_output(box: Sandbox) -> None:
    (box.out / "tracks" / "t1.wav" / "note" / "features.json").write_text("{}")


CHANGES: dict[str, tuple[Callable[[Sandbox], object], list[str]]] = {
    "nothing": (lambda box: None, []),
    "a free setting": (lambda box: None, ["--set", "note.free=b"]),
    "an output lost": (_lose_output, []),
    "stems lost": (_lose_stems, []),
    "an output edited": (_edit_output, []),
    "a passing failure": (_fail_passing, []),
    "a setting of note": (lambda box: None, ["--set", "note.flavour=3"]),
    "a setting of separation": (lambda box: None, ["--set", "separation.flavour=3"]),
    "a source replaced": (_replace_source, []),
    "a source moved": (_move_source, []),
    "a source copied": (_copy_source, []),
    "a source lost": (_lose_source, []),
    "a new file and one stage": (lambda box: box.add("new.wav", seed=9), ["--stages", "note"]),
    "a filter": (lambda box: None, ["--include", "t*", "--set", "note.flavour=4"]),
    "a file that is no audio": (lambda box: (box.dataset / "x.mp3").write_text("no"), []),
    "a failure for good": (_fail_for_good, []),
}


def test_what_a_plan_says_is_to_do_is_what_the_run_does(box: Sandbox) -> None:
    assert box.run().returncode == 0

    # One after the other in one dataset: each begins where the run before ended.
    for what, (change, options) in CHANGES.items():
        change(box)
        planned = _to_do(_plan(box, "--probe", *options))
        assert planned == _done_by_next_run(box, *options), what


def test_before_the_first_run_all_is_new_once_it_is_read(box: Sandbox) -> None:
    unread, read = _plan(box), _plan(box, "--probe")

    assert unread["tracks"]["not_read_yet"] == 3
    assert unread["tracks"]["not_read_yet_bytes"] == sum(
        file.stat().st_size for file in box.dataset.iterdir()
    )
    assert _to_do(unread) == {}
    assert read["tracks"]["total"] == 3
    assert read["tracks"]["audio_s"] == pytest.approx(1.5)
    assert _to_do(read) == _done_by_next_run(box)


def test_a_plan_touches_nothing(box: Sandbox) -> None:
    def all_files() -> list[tuple[str, int, int]]:
        found = []
        for folder, _, names in os.walk(box.dataset):
            for path in (os.path.join(folder, name) for name in names):
                stat = os.stat(path)
                found.append((path, stat.st_size, stat.st_mtime_ns))
        return sorted(found)

    before = all_files()
    _plan(box, "--probe")
    assert all_files() == before
    assert not box.out.exists()

    box.run()
    before = all_files()
    _plan(box, "--probe", "--set", "note.flavour=1")

    assert [file for file in all_files() if not file[0].endswith(("-shm", "-wal"))] == before


def test_it_says_why_outputs_are_stale(box: Sandbox) -> None:
    box.run()

    note = _plan(box, "--set", "note.flavour=3")["stages"]["note"]
    separation = _plan(box, "--set", "separation.flavour=2")["stages"]

    assert note["mix"]["stale"] == note["stems"]["stale"] == 3
    assert note["mix"]["why_stale"] == {"note.flavour: 0 -> 3": 3}
    assert separation["separation"]["mix"]["why_stale"] == {"separation.flavour: 0 -> 2": 3}
    assert separation["note"]["mix"]["stale"] == 0
    assert separation["note"]["stems"]["why_stale"] == {"the separation is made anew": 3}


def test_duplicates_unreadable_and_missing_files_are_counted(box: Sandbox) -> None:
    box.run()
    _copy_source(box)
    _lose_source(box)
    (box.dataset / "x.mp3").write_text("no")
    os.mkfifo(box.dataset / "pipe.wav")

    tracks = _plan(box, "--probe")

    assert tracks["tracks"] | {"audio_s": 0} == {
        "total": 3, "audio_s": 0, "duplicates": 1, "unreadable": 1, "missing": 1,
        "not_read_yet": 0, "not_read_yet_bytes": 0,
    }  # fmt: skip
    assert tracks["left_out"] == {"fifo": 1}


def test_time_is_what_the_stages_took_before_and_unknown_for_those_that_never_ran(
    box: Sandbox,
) -> None:
    before = _plan(box, "--probe")
    box.run()
    after = _plan(box, "--set", "note.flavour=3")

    assert ["note", "mix"] in before["speed_unknown"]
    assert before["expected_s"] == 0
    assert after["speed_unknown"] == []
    assert after["expected_s"] > 0


def test_the_disk_that_a_run_will_need_is_what_the_stages_declare(
    tmp_path: Path, zygote: Zygote
) -> None:
    box = QuickSandbox(tmp_path, zygote, registry="tests.fakes:BULKY")
    box.add("t.wav", seconds=2.0)

    plan = _plan(box, "--probe")

    assert plan["needed_bytes"] == 2_000_000
    assert plan["free_bytes"] > 0


def test_a_file_on_which_the_probe_dies_is_not_read_and_the_others_are(box: Sandbox) -> None:
    (box.root / "sitecustomize.py").write_text(_DEADLY)
    box.environment["PYTHONPATH"] = f"{box.root}:{ROOT}"

    tracks = _plan(box, "--probe")["tracks"]

    assert (tracks["total"], tracks["not_read_yet"]) == (2, 1)


_DEADLY = """
import os, sys
if "pipeline.probe" in sys.orig_argv:
    really = os.open
    def deadly(path, *rest, **more):
        if os.fsencode(path).endswith(b"t1.wav"):
            os._exit(3)
        return really(path, *rest, **more)
    os.open = deadly
"""


def test_for_people_it_names_what_to_do_next(box: Sandbox) -> None:
    unread = box.command("plan", str(box.dataset)).stdout
    read = box.command("plan", str(box.dataset), "--probe").stdout

    assert "3 files not read yet" in unread
    assert f"pipeline plan {box.dataset} --probe" in unread
    assert "3 tracks, 2 s of audio" in read
    assert "Time: not known for: note (mix)" in read
    assert read.rstrip().endswith(f"Nothing was touched. Go: pipeline run {box.dataset}")

    options = ["--stages", "note", "--set", "note.flavour=2"]
    asked = box.command("plan", str(box.dataset), *options).stdout
    assert asked.rstrip().endswith(f"pipeline run {box.dataset} {' '.join(options)}")
