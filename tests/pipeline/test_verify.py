"""`pipeline verify`, and what a start notices by itself: outputs changed behind our back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import lock
from pipeline.artifacts import OutputFolder
from pipeline.ledger import Ledger
from tests.sandbox import ROOT
from tests.zygote import QuickSandbox, Zygote, finished

NOTE = "tracks/t01.wav/note"


@pytest.fixture(scope="module")
def two_tracks(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> QuickSandbox:
    return finished(tmp_path_factory.mktemp("two"), zygote, "tests.fakes:ONE", tracks=2)


@pytest.fixture(scope="module")
def one_track(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> QuickSandbox:
    return finished(tmp_path_factory.mktemp("one"), zygote, "tests.fakes:STAGES", tracks=1)


@pytest.fixture
def box(two_tracks: QuickSandbox) -> QuickSandbox:
    """Two tracks with one stage, finished."""
    two_tracks.come_back()
    return two_tracks


@pytest.fixture
def whole(one_track: QuickSandbox) -> QuickSandbox:
    """One track with separation and stems, finished."""
    one_track.come_back()
    return one_track


def _verify(box: QuickSandbox, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = box.command("verify", str(box.dataset), "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


def _mended(box: QuickSandbox, before: dict[str, object], *, calls: int) -> None:
    """The next run, with no other command, makes the odd ones anew and nothing else."""
    done = box.run()
    assert done.returncode == 0, done.stderr
    box.check()
    assert box.outputs() == before
    assert box.calls().total() == calls


# ---- what can be wrong with a folder


def _delete(file: Path) -> None:
    file.unlink()


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 3)


def _edit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def _edit_unseen(file: Path) -> None:
    """As `touch -r` and `rsync --times --inplace` leave a file: other content, the old time."""
    before = file.stat()
    _edit(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _put_in_place(file: Path) -> None:
    """As `mv` and `rsync --times` leave a file: another file, with an older time."""
    other = file.with_name("other")
    shutil.copy(file, other)
    _edit(other)
    os.utime(other, (1, 1))
    os.rename(other, file)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _link(file: Path) -> None:
    elsewhere = file.parents[4] / "elsewhere"
    shutil.copy(file, elsewhere)
    _edit(elsewhere)
    file.unlink()
    file.symlink_to(elsewhere)


def _edit_version(file: Path) -> None:
    file.write_text(file.read_text().replace('"version": 1', '"version": 2'))


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "deleted": ("features.json", _delete, "file_missing"),
    "cut": ("features.json", _cut, "file_size"),
    "edited": ("features.json", _edit, "file_changed"),
    "another file in its place": ("features.json", _put_in_place, "file_changed"),
    "a folder in its place": ("features.json", _folder, "file_missing"),
    "a link in its place": ("features.json", _link, "file_changed"),
    "no manifest": ("manifest.json", _delete, "manifest_missing"),
    "half a manifest": ("manifest.json", _cut, "manifest_unreadable"),
    "an edited manifest": ("manifest.json", _edit_version, "manifest_changed"),
}
every_damage = pytest.mark.parametrize("damage", DAMAGE)


@every_damage
def test_what_is_wrong_is_named_and_opened_again(box: QuickSandbox, damage: str) -> None:
    name, do, what = DAMAGE[damage]
    do(box.out / NOTE / name)

    code, found = _verify(box)

    assert code == 1
    assert [(one["folder"], one["file"], one["what"]) for one in found] == [(NOTE, name, what)]
    states = {path: job["state"] for (path, _, _), job in box.jobs().items()}
    assert states == {"t00.wav": "done", "t01.wav": "pending"}
    assert not (box.out / NOTE / "manifest.json").exists(), "nobody can adopt it"


def test_what_verify_told_once_the_next_run_mends_and_the_one_after_finds_nothing_to_do(
    box: QuickSandbox,
) -> None:
    before = box.outputs()
    _cut(box.out / NOTE / "features.json")
    _verify(box)

    assert _verify(box) == (0, []), "told once; the job is open now"
    _mended(box, before, calls=1)
    assert "nothing to do" in box.run().stderr


@every_damage
def test_a_start_notices_it_by_itself(box: QuickSandbox, damage: str) -> None:
    name, do, _ = DAMAGE[damage]
    before = box.outputs()
    do(box.out / NOTE / name)

    _mended(box, before, calls=1)

    (missing,) = box.events("outputs_missing")
    assert missing["jobs"] == 1
    changed = [(one["folder"], one["file"]) for one in box.events("output_changed")]
    assert changed == ([] if damage == "no manifest" else [(NOTE, name)])


def test_what_changed_without_a_trace_is_found_by_its_hash_only(box: QuickSandbox) -> None:
    before = box.outputs()
    _edit_unseen(box.out / NOTE / "features.json")
    assert "nothing to do" in box.run().stderr
    assert _verify(box) == (0, [])

    code, (found,) = _verify(box, "--hash")

    assert (code, found["file"], found["what"]) == (1, "features.json", "file_changed")
    manifest = json.loads((box.out / NOTE / "manifest.odd.json").read_text())
    assert manifest["files"][0]["sha256"] in found["detail"]
    _mended(box, before, calls=1)


def test_an_edited_file_is_seen_although_the_manifest_was_touched_after_it(
    box: QuickSandbox,
) -> None:
    before = box.outputs()
    _edit(box.out / NOTE / "features.json")
    later = (box.out / NOTE / "features.json").stat().st_mtime_ns + 10**9
    os.utime(box.out / NOTE / "manifest.json", ns=(later, later))

    _mended(box, before, calls=1)


def test_the_odd_version_is_in_the_trash_when_the_new_one_is_there(box: QuickSandbox) -> None:
    odd = box.out / NOTE / "features.json"
    _edit(odd)
    content = odd.read_bytes()
    _verify(box)
    assert odd.read_bytes() == content, "until then it stays where it is"

    box.run()

    (trashed,) = (box.out / ".trash").iterdir()
    assert (trashed / "features.json").read_bytes() == content
    assert (trashed / "manifest.odd.json").exists()


def test_words_say_what_is_wrong_and_what_mends_it(box: QuickSandbox) -> None:
    _cut(box.out / NOTE / "features.json")

    done = box.command("verify", str(box.dataset))

    assert f"{NOTE}/features.json: " in done.stdout
    assert "bytes, the manifest says" in done.stdout
    assert f"pipeline run {box.dataset}" in done.stderr


def test_what_is_well_is_well(whole: QuickSandbox) -> None:
    done = whole.command("verify", str(whole.dataset), "--hash", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "recovered": [],
        "jobs": 3,
        "hashed": True,
        "well": True,
        "opened": 0,
        "findings": [],
    }


# ---- what is no reason


@pytest.mark.parametrize(
    "do",
    [
        lambda folder: (folder / "mine.txt").write_text("keep"),
        lambda folder: (folder / "mine").mkdir(),
        lambda folder: (folder / "features.json").touch(),
        lambda folder: (folder / "manifest.json").touch(),
        lambda folder: os.chmod(folder / "features.json", 0o600),
        lambda folder: folder.rename(folder.with_name("x")).rename(folder),
        lambda folder: _as_cp_copies(folder),
    ],
    ids=["a file", "a folder", "touched", "manifest touched", "rights", "moved away and back", "cp"],
)  # fmt: skip
def test_it_is_looked_at_once_and_nothing_is_computed(
    box: QuickSandbox, do: Callable[[Path], object]
) -> None:
    folder = box.out / NOTE
    before = folder.stat().st_ino
    do(folder)
    mine = sorted(entry.name for entry in folder.iterdir())

    assert "nothing to do" in box.run().stderr

    assert box.calls().total() == 0
    assert OutputFolder(box.out).is_untouched(b"t01.wav", "note", "mix")
    assert sorted(entry.name for entry in folder.iterdir()) == mine
    assert _verify(box, "--hash") == (0, [])
    assert before


def _as_cp_copies(folder: Path) -> None:
    """Every file with a new time, the manifest first."""
    copy = folder.with_name("copy")
    copy.mkdir()
    for name in ("manifest.json", "features.json"):
        shutil.copyfile(folder / name, copy / name)
    shutil.rmtree(folder)
    copy.rename(folder)


def test_what_was_just_published_needs_no_second_look(whole: QuickSandbox) -> None:
    out = OutputFolder(whole.out)

    assert out.is_untouched(b"t00.wav", "note", "mix")
    assert out.is_untouched(b"t00.wav", "separation", "mix")
    assert out.is_untouched(b"t00.wav", "note", "stems")
    assert not out.is_untouched(b"t00.wav", "nothing", "mix")


# ---- separation, and what was made from it


@pytest.mark.parametrize(("do", "calls"), [(_edit, 2), (_cut, 2), (_delete, 1)])
def test_what_was_made_from_a_changed_stem_is_made_anew_too(
    whole: QuickSandbox, do: Callable[[Path], None], calls: int
) -> None:
    before = whole.outputs()
    do(whole.out / "tracks/t00.wav/separation/rest.wav")

    code, found = _verify(whole)

    assert code == 1
    told = {(one["stage"], one["scope"]): one["what"] for one in found}
    assert (told.get(("note", "stems")) == "made_from_changed") == (calls == 2)
    _mended(whole, before, calls=calls)


def test_stems_that_were_changed_are_never_measured(whole: QuickSandbox) -> None:
    """Another setting for the features, and a stem that was edited meanwhile."""
    _edit(whole.out / "tracks/t00.wav/separation/rest.wav")

    assert whole.run("--set", "note.flavour=1").returncode == 0

    assert {call.split()[0] for call in whole.calls()} == {"separation", "note"}
    whole.check()


# ---- what the ledger does not know


def test_outputs_that_the_ledger_does_not_know_are_listed_and_adopted(box: QuickSandbox) -> None:
    old = (box.out / "ledger.db").read_bytes()
    box.add("new.wav", seed=9)
    box.run()
    box.forget_calls()
    _restore_ledger(box, old)

    code, (found,) = _verify(box)

    assert (code, found["what"]) == (0, "not_in_ledger")
    assert found["folder"] == "tracks/new.wav/note"
    assert box.run().returncode == 0
    assert box.calls().total() == 0
    box.check()


def _restore_ledger(box: QuickSandbox, content: bytes) -> None:
    for file in box.out.glob("ledger.db*"):
        file.unlink()
    (box.out / "ledger.db").write_bytes(content)


@pytest.mark.parametrize("how", ["verified", "run"])
def test_what_was_changed_is_not_adopted_because_the_ledger_was_lost(
    box: QuickSandbox, how: str
) -> None:
    before = box.outputs()
    _edit(box.out / NOTE / "features.json")
    for file in box.out.glob("ledger.db*"):
        file.unlink()
    if how == "verified":
        Ledger.open(box.out / "ledger.db").close()
        code, found = _verify(box)
        assert code == 1
        assert sorted(one["what"] for one in found) == ["file_changed", "not_in_ledger"]

    _mended(box, before, calls=1)


def test_a_version_that_an_old_ledger_never_saw_is_adopted_when_it_is_asked_for(
    box: QuickSandbox,
) -> None:
    old = (box.out / "ledger.db").read_bytes()
    changed = ["--set", "note.flavour=1"]
    assert box.run(*changed).returncode == 0
    box.forget_calls()
    _restore_ledger(box, old)

    code, found = _verify(box)

    assert code == 1
    assert {one["what"] for one in found} == {"other_version", "not_in_ledger"}
    assert box.run(*changed).returncode == 0
    assert box.calls().total() == 0
    box.check()


@pytest.mark.parametrize("command", ["verify", "rebuild", "gc"])
def test_what_a_dead_run_had_finished_is_put_in_place_first(
    box: QuickSandbox, command: str
) -> None:
    before = box.outputs()
    os.rename(box.out / NOTE, box.out / ".tmp/0123456789abcdef")

    done = box.command(command, str(box.dataset))

    assert done.returncode == 0, done.stdout
    assert f"recovered: published {NOTE}" in done.stderr
    assert box.outputs() == before
    box.check()


# ---- kills, locks, imports


def test_a_verify_killed_at_any_step_leaves_what_the_next_run_mends(
    whole: QuickSandbox,
) -> None:
    before = whole.outputs()
    step, kills = -2, 0
    while True:
        step += 3
        whole.come_back()
        _edit(whole.out / "tracks/t00.wav/separation/rest.wav")

        done = whole.command("verify", str(whole.dataset), kill=f"supervisor:{step}")

        if not whole.killed():
            assert done.returncode == 1
            break
        assert done.returncode == -signal.SIGKILL
        kills += 1
        whole.forget_calls()
        assert whole.run().returncode == 0, step
        whole.check()
        assert whole.outputs() == before, step
        assert whole.calls().total() == 2, step
    assert kills > 3


@pytest.mark.parametrize("command", ["verify", "rebuild", "gc"])
def test_while_a_run_holds_the_dataset_it_exits_with_3(box: QuickSandbox, command: str) -> None:
    lock.acquire(box.out, since_utc="now")
    before = {path: path.stat().st_mtime_ns for path in box.out.rglob("*")}

    done = box.command(command, str(box.dataset))

    assert done.returncode == 3
    assert f"pid {os.getpid()}" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in box.out.rglob("*")} == before


@pytest.mark.parametrize("command", [["verify"], ["rebuild"], ["gc", "--stale", "--missing"]])
def test_it_loads_nothing_heavy(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "_pipeline/tracks").mkdir(parents=True)
    Ledger.open(tmp_path / "_pipeline/ledger.db").close()
    heavy = ("torch", "librosa", "essentia", "numba", "scipy", "soundfile", "numpy")
    script = (
        "import sys\nfrom pipeline.cli import main\nassert main(sys.argv[1:]) == 0\n"
        f"assert not set({heavy!r}) & set(sys.modules)"
    )
    name, *rest = command
    kept = {key: value for key, value in os.environ.items() if "NIGHTSHIFT" not in key}

    done = subprocess.run(
        [sys.executable, "-P", "-c", script, name, str(tmp_path), *rest],
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_a_folder_without_outputs_is_refused(tmp_path: Path, zygote: Zygote) -> None:
    box = QuickSandbox(tmp_path / "box", zygote, registry="tests.fakes:ONE")

    for command in ("verify", "rebuild", "gc"):
        done = box.command(command, str(box.dataset))
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    assert not box.out.exists()
