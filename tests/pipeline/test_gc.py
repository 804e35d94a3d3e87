"""`pipeline gc`: what is trashed, left over, stale or without a source; never a file of the user."""

from __future__ import annotations

import json
import os
import shutil
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipeline import manifest
from tests.zygote import QuickSandbox, Zygote, finished

CHANGED = ["--set", "note.flavour=1"]


@pytest.fixture(scope="module")
def two_tracks(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> QuickSandbox:
    """Two tracks with one stage, done twice: the older versions lie in the trash."""
    box = finished(tmp_path_factory.mktemp("two"), zygote, "tests.fakes:ONE", tracks=2)
    assert box.run(*CHANGED).returncode == 0
    assert box.run().returncode == 0
    shutil.rmtree(box.root / "kept")
    box.keep()
    return box


@pytest.fixture
def box(two_tracks: QuickSandbox) -> QuickSandbox:
    two_tracks.come_back()
    return two_tracks


@pytest.fixture
def own(tmp_path: Path, zygote: Zygote) -> QuickSandbox:
    """Two tracks with one stage, finished, to do anything to."""
    return finished(tmp_path / "own", zygote, "tests.fakes:ONE", tracks=2)


def _gc(box: QuickSandbox, *arguments: str) -> dict[str, Any]:
    done = box.command("gc", str(box.dataset), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _tree(box: QuickSandbox) -> dict[str, str]:
    """Every file and folder of the outputs, the ledger and the lock apart."""
    return {
        str(path.relative_to(box.out)): sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(box.out.rglob("*"))
        if not path.name.startswith(("ledger.db", "run.lock"))
    }  # fmt: skip


def _trash(box: QuickSandbox) -> list[str]:
    trash = box.out / ".trash"
    return sorted(str(path.relative_to(trash)) for path in trash.rglob("*") if not path.is_dir())


def _times(box: QuickSandbox) -> dict[str, int]:
    """When everything was changed, but for the lock and what SQLite needs for reading."""
    return {
        str(path.relative_to(box.out)): path.lstat().st_mtime_ns
        for path in box.out.rglob("*")
        if path.name not in ("run.lock", "ledger.db-wal", "ledger.db-shm")
    }


# ---- trash


def test_old_versions_go_and_outputs_stay(box: QuickSandbox) -> None:
    before = box.outputs()
    trashed = [path for path in (box.out / ".trash").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in trashed)

    found = _gc(box)

    assert (found["bytes"], found["kept"], found["dry_run"]) == (size, [], False)
    assert {one["kind"] for one in found["removed"]} == {"trash"}
    assert sum(one["files"] for one in found["removed"]) == len(trashed) == 8
    assert list((box.out / ".trash").iterdir()) == []
    assert box.outputs() == before
    box.check()
    assert _gc(box)["removed"] == []


def test_a_dry_run_says_the_same_and_touches_nothing(box: QuickSandbox) -> None:
    options = ["--stale", "--missing", *CHANGED]
    (box.out / ".tmp/0123456789abcdef").mkdir()
    (box.out / ".tmp/0123456789abcdef/half").write_text("half")
    before = _times(box)

    said = _gc(box, "--dry-run", *options)

    assert _times(box) == before
    did = _gc(box, *options)
    assert {one["kind"] for one in did["removed"]} == {"tmp", "trash", "stale"}
    assert {**did, "dry_run": True} == said  # fmt: skip


def test_the_outputs_of_a_replaced_source_go_with_their_folders(own: QuickSandbox) -> None:
    track = own.out / "tracks/t01.wav"
    (track / "mine.txt").write_text("keep")
    shutil.copytree(track / "note", track / "note of mine")
    own.add("t01.wav", seed=77)
    own.run()
    before = own.outputs()

    found = _gc(own)

    assert len(found["removed"]) == 1
    names = ["mine.txt", "note of mine/features.json", "note of mine/manifest.json"]
    (track,) = (own.out / ".trash").iterdir()
    assert sorted(found["kept"]) == [f".trash/{track.name}/{name}" for name in names]
    assert _trash(own) == [f"{track.name}/{name}" for name in names]
    assert own.outputs() == before


def test_files_of_the_user_in_the_trash_stay_and_are_named(box: QuickSandbox) -> None:
    one, *_ = sorted((box.out / ".trash").iterdir())
    (one / "mine").mkdir()
    (one / "mine/deep.txt").write_text("keep")
    (one / "notes.txt").write_text("keep")
    shutil.copytree(one, box.out / ".trash/my own copy")
    shutil.copytree(box.out / ".trash/my own copy", one / "mine/copy")
    (box.out / ".trash/letter.txt").write_text("keep")
    os.symlink(box.dataset, box.out / ".trash/0123456789abcdef")

    found = _gc(box)

    assert sorted(found["kept"]) == [
        ".trash/0123456789abcdef",
        f".trash/{one.name}/mine/copy/features.json",
        f".trash/{one.name}/mine/copy/manifest.json",
        f".trash/{one.name}/mine/copy/mine/deep.txt",
        f".trash/{one.name}/mine/copy/notes.txt",
        f".trash/{one.name}/mine/deep.txt",
        f".trash/{one.name}/notes.txt",
        ".trash/letter.txt",
        ".trash/my own copy",
    ]
    assert not (one / "features.json").exists()
    assert (box.out / ".trash/my own copy/features.json").exists()
    assert len(list(box.dataset.glob("*.wav"))) == 2
    again = _gc(box)
    assert (again["removed"], sorted(again["kept"])) == ([], sorted(found["kept"]))


def test_a_file_of_the_user_that_moved_on_to_the_new_version_leaves_no_name_in_the_trash(
    own: QuickSandbox,
) -> None:
    note = own.out / "tracks/t01.wav/note"
    (note / "mine").mkdir()
    (note / "mine/deep.txt").write_text("keep")
    (note / "mine.txt").write_text("keep")
    own.run(*CHANGED)
    assert len(_trash(own)) == 6

    found = _gc(own)

    assert found["kept"] == []
    assert list((own.out / ".trash").iterdir()) == []
    assert (note / "mine.txt").read_text() == "keep"
    assert (note / "mine/deep.txt").read_text() == "keep"


def test_what_no_readable_manifest_lists_stays(box: QuickSandbox) -> None:
    one, two, *_ = sorted((box.out / ".trash").iterdir())
    (one / "manifest.json").write_text("{")
    manifest = json.loads((two / "manifest.json").read_text())
    manifest["files"][0]["name"] = "../../tracks/t00.wav/note/features.json"
    (two / "manifest.json").write_text(json.dumps(manifest))
    before = box.outputs()

    found = _gc(box)

    assert sorted(found["kept"]) == sorted(
        f".trash/{folder.name}/{name}" for folder in (one, two) for name in ("features.json", "manifest.json")
    )  # fmt: skip
    assert box.outputs() == before


def test_an_odd_version_goes_once_it_was_replaced(own: QuickSandbox) -> None:
    features = own.out / "tracks/t01.wav/note/features.json"
    features.write_text("{}")
    own.run()

    assert sorted(Path(name).name for name in _trash(own)) == ["features.json", "manifest.odd.json"]
    _gc(own)

    assert _trash(own) == []
    own.check()


def test_what_killed_processes_left_goes(box: QuickSandbox) -> None:
    half = box.out / ".tmp/0123456789abcdef"
    half.mkdir()
    (half / "stem.wav").write_bytes(bytes(1000))
    (box.out / "ledger.rebuilding.db").write_bytes(bytes(100))
    (box.out / "ledger.rebuilding.db-wal").write_bytes(bytes(10))

    found = _gc(box)

    said = {one["path"]: (one["kind"], one["bytes"]) for one in found["removed"]}
    assert said[".tmp/0123456789abcdef"] == ("tmp", 1000)
    assert said["ledger.rebuilding.db"] == ("left_over", 100)
    assert list((box.out / ".tmp").iterdir()) == []
    assert list(box.out.glob("ledger.rebuilding*")) == []


def test_ledgers_that_were_set_aside_are_never_removed(box: QuickSandbox) -> None:
    assert box.command("rebuild", str(box.dataset)).returncode == 0

    _gc(box, "--stale", "--missing")

    assert (box.out / "ledger.db.before-rebuild-1").exists()


# ---- stale


def test_stale_outputs_go_and_their_jobs_are_open(tmp_path: Path, zygote: Zygote) -> None:
    box = finished(tmp_path / "box", zygote, "tests.fakes:STAGES", tracks=1)
    before = box.outputs()
    mine = box.out / "tracks/t00.wav/separation/mine.txt"
    mine.write_text("keep")
    (mine.parent / "my folder").mkdir()
    changed = ["--set", "separation.flavour=1"]
    assert _gc(box, "--stale")["removed"] == []

    found = _gc(box, "--stale", *changed)

    assert sorted((one["kind"], one["path"], one["files"]) for one in found["removed"]) == [
        ("stale", "tracks/t00.wav/separation", 3),
        ("stale", "tracks/t00.wav/stems/note", 2),
    ]
    assert found["kept"] == ["tracks/t00.wav/separation/mine.txt"]
    assert (mine.read_text(), (mine.parent / "my folder").is_dir()) == ("keep", True)
    assert not (box.out / "tracks/t00.wav/stems").exists()
    box.check()
    states = {key[1:]: job["state"] for key, job in box.jobs().items()}
    assert states == {
        ("note", "mix"): "done",
        ("separation", "mix"): "pending",
        ("note", "stems"): "waiting",
    }
    assert box.sql("SELECT * FROM feature WHERE scope = 'stems'") == []
    mine.unlink()
    (mine.parent / "my folder").rmdir()
    assert box.run().returncode == 0
    box.check()
    assert box.outputs() == before


# ---- missing


def test_outputs_without_a_source_go_with_their_track(own: QuickSandbox) -> None:
    (own.dataset / "t01.wav").unlink()
    (own.out / "tracks/t01.wav/mine.txt").write_text("keep")
    assert _gc(own, "--missing")["removed"] == [], "no run has looked yet"
    own.run()
    assert own.status()["tracks"]["missing"] == 1

    found = _gc(own, "--missing")

    assert [(one["kind"], one["path"]) for one in found["removed"]] == [
        ("missing", "tracks/t01.wav/note")
    ]
    own.check()
    assert own.status()["tracks"] == {
        "total": 1,
        "missing": 0,
        "unreadable": 0,
        "not_probed_yet": 0,
    }
    assert (own.out / "tracks/t01.wav/mine.txt").read_text() == "keep"
    own.add_many(2)
    own.forget_calls()
    assert own.run().returncode == 0
    assert own.calls().total() == 1
    own.check()


def test_a_source_that_came_back_is_not_missing(own: QuickSandbox) -> None:
    away = own.root / "away.wav"
    (own.dataset / "t01.wav").rename(away)
    own.run()
    away.rename(own.dataset / "t01.wav")

    assert _gc(own, "--missing")["removed"] == []


def test_a_dataset_whose_disk_is_not_there_loses_nothing(own: QuickSandbox) -> None:
    before = own.outputs()
    for number in range(2):
        (own.dataset / f"t{number:02}.wav").rename(own.root / f"t{number:02}.wav")
    own.run()

    done = own.command("gc", str(own.dataset), "--missing")

    assert done.returncode == 4
    assert "Is its disk mounted?" in done.stderr
    assert own.outputs() == before


# ---- kills


def _half_gone(box: QuickSandbox) -> list[str]:
    """Something of every kind: a stale output, a missing source, trash, and a file of the user."""
    (box.out / "tracks/t01.wav/note/mine.txt").write_text("keep")
    return ["gc", str(box.dataset), "--stale", *CHANGED]


def test_a_gc_killed_at_any_step_is_ended_by_the_next(box: QuickSandbox) -> None:
    arguments = _half_gone(box)
    assert box.command(*arguments).returncode == 0
    box.check()
    end, jobs = _tree(box), box.sql("SELECT id, state FROM jobs ORDER BY id")
    step, kills = 0, 0
    while True:
        step += 1
        box.come_back()
        _half_gone(box)
        done = box.command(*arguments, kill=f"supervisor:{step}")
        if not box.killed():
            assert done.returncode == 0, done.stderr
            break
        assert done.returncode == -signal.SIGKILL
        kills += 1
        for proof in (box.out / "tracks").rglob("manifest.json"):
            assert manifest.read(proof.parent), "nothing may prove what is half gone"

        assert box.command(*arguments).returncode == 0

        box.check()
        assert _tree(box) == end, step
        assert box.sql("SELECT id, state FROM jobs ORDER BY id") == jobs, step
    assert kills > 20


def test_a_gc_killed_at_any_step_is_mended_by_the_next_run(box: QuickSandbox) -> None:
    before = box.outputs()
    arguments = _half_gone(box)
    step, kills = -1, 0
    while True:
        step += 2
        box.come_back()
        _half_gone(box)
        box.command(*arguments, kill=f"supervisor:{step}")
        if not box.killed():
            break
        kills += 1

        done = box.run()

        assert done.returncode == 0, done.stderr
        box.check()
        mine = box.out / "tracks/t01.wav/note/mine.txt"
        assert mine.read_text() == "keep", step
        mine.unlink()
        assert box.outputs() == before, step
        assert box.calls().total() <= 2, step
    assert kills > 10


def test_a_gc_of_missing_tracks_killed_at_any_step_is_ended_by_the_next(own: QuickSandbox) -> None:
    (own.dataset / "t01.wav").unlink()
    own.run()
    shutil.rmtree(own.root / "kept")
    own.keep()
    arguments = ["gc", str(own.dataset), "--missing"]
    step, kills = 0, 0
    while True:
        step += 1
        own.come_back()
        own.command(*arguments, kill=f"supervisor:{step}")
        if not own.killed():
            break
        kills += 1
        if step % 2:
            assert own.run().returncode == 0
            own.check()

        assert own.command(*arguments).returncode == 0

        own.check()
        assert not (own.out / "tracks/t01.wav").exists(), step
        assert own.sql("SELECT shown FROM paths") == [{"shown": "t00.wav"}], step
    assert kills > 8
