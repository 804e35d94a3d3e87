"""Publishing and recovery on a real folder: the one order of steps, and every half-done state."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import artifacts, lock, manifest, recovery
from pipeline.artifacts import OutputFolder
from pipeline.errors import LockLost, Unfit
from pipeline.lock import HeldLock
from pipeline.manifest import File, Manifest


@pytest.fixture
def out(tmp_path: Path) -> OutputFolder:
    folder = OutputFolder(tmp_path)
    folder.prepare()
    return folder


@pytest.fixture
def held(tmp_path: Path) -> HeldLock:
    return lock.acquire(tmp_path, since_utc="now")


def _describe(
    folder: str, token: str, fingerprint: str = "f1"
) -> Callable[[tuple[File, ...]], Manifest]:
    def describe(files: tuple[File, ...]) -> Manifest:
        return Manifest(
            stage="note",
            version=1,
            scope="mix",
            fingerprint=fingerprint,
            recipe="r",
            upstream=None,
            folder=folder,
            source={"sha256": "s"},
            settings={},
            weights={},
            numeric_path={},
            facts={},
            flags=(),
            files=files,
            attempt=token,
            created_utc="now",
            timings={},
        )

    return describe


def _publish(
    out: OutputFolder, held: HeldLock, token: str, content: str, *, track: bytes = b"song.wav"
) -> Path:
    attempt = out.attempt(token)
    (attempt / "features.json").write_text(content)
    target = out.stage(track, "note", "mix")
    describe = _describe(out.relative(target), token, fingerprint=content)
    artifacts.publish(attempt, target, describe, out=out, lock=held)
    return target


def _whole_attempt(out: OutputFolder, token: str, content: str) -> Path:
    """Leave an attempt as a kill just before the rename leaves it."""
    attempt = out.attempt(token)
    (attempt / "features.json").write_text(content)
    files = (manifest.describe(attempt / "features.json"),)
    described = _describe("tracks/song.wav/note", token, content)(files)
    (attempt / manifest.FILE_NAME).write_bytes(described.to_bytes())
    return attempt


def _content(folder: Path) -> str:
    return (folder / "features.json").read_text()


def test_a_published_folder_is_whole_and_tmp_is_empty(out: OutputFolder, held: HeldLock) -> None:
    target = _publish(out, held, "a1", "one")

    found = manifest.read(target)
    assert found is not None
    assert found[0].files == (
        File("features.json", 3, manifest.describe(target / "features.json").sha256),
    )
    assert list((out.root / ".tmp").iterdir()) == []


def test_every_file_is_synced_before_the_manifest_and_that_before_the_rename(
    out: OutputFolder, held: HeldLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    fsync, rename = os.fsync, os.rename

    def telling_fsync(descriptor: int) -> None:
        said.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def telling_rename(source: Path, target: Path) -> None:
        said.append(f"rename {source}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", telling_fsync)
    monkeypatch.setattr(os, "rename", telling_rename)

    _publish(out, held, "a1", "one", track=b"deep/er/song.wav")

    attempt, track = out.root / ".tmp/a1", out.root / "tracks/deep/er/song.wav"
    steps = [step.removeprefix(str(out.root) + "/") for step in said]
    assert steps == [
        ".tmp/a1/features.json",
        ".tmp/a1/manifest.json",
        ".tmp/a1",
        "tracks",  # of the ancestors that were made, each in its parent
        "tracks/deep",
        "tracks/deep/er",
        f"rename {attempt}",
        "tracks/deep/er/song.wav",
        ".tmp",
    ]
    assert track.is_dir()


def test_a_new_version_replaces_the_old_one_which_goes_to_the_trash(
    out: OutputFolder, held: HeldLock
) -> None:
    _publish(out, held, "a1", "one")

    target = _publish(out, held, "a2", "two")

    assert _content(target) == "two"
    assert _content(out.root / ".trash/a2") == "one"


def test_without_an_atomic_exchange_the_new_version_still_replaces_the_old_one(
    out: OutputFolder, held: HeldLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "exchange", lambda one, other: False)
    _publish(out, held, "a1", "one")

    target = _publish(out, held, "a2", "two")

    assert _content(target) == "two"
    assert _content(out.root / ".trash/a2") == "one"


@pytest.mark.parametrize("atomic", [True, False])
def test_files_of_the_user_move_over_to_the_new_version(
    out: OutputFolder, held: HeldLock, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    if not atomic:
        monkeypatch.setattr(artifacts, "exchange", lambda one, other: False)
    target = _publish(out, held, "a1", "one")
    (target / "my notes.txt").write_text("keep")
    (target / "mine").mkdir()
    (target / "mine/deep.txt").write_text("keep too")

    _publish(out, held, "a2", "two")

    assert (target / "my notes.txt").read_text() == "keep"
    assert (target / "mine/deep.txt").read_text() == "keep too"
    found = manifest.read(target)
    assert found is not None
    assert [file.name for file in found[0].files] == ["features.json"]


def test_a_folder_whose_manifest_was_deleted_is_replaced_and_nothing_of_it_is_lost(
    out: OutputFolder, held: HeldLock
) -> None:
    target = _publish(out, held, "a1", "one")
    (target / "manifest.json").unlink()
    (target / "mine.txt").write_text("keep")

    _publish(out, held, "a2", "two")

    assert _content(target) == "two"
    assert (target / "mine.txt").read_text() == "keep"
    assert _content(out.root / ".trash/a2") == "one"


def test_nothing_is_published_once_the_lock_file_is_gone(out: OutputFolder, held: HeldLock) -> None:
    held.path.unlink()

    with pytest.raises(LockLost):
        _publish(out, held, "a1", "one")

    assert not out.stage(b"song.wav", "note", "mix").exists()


@pytest.mark.parametrize(
    ("apart", "fit"), [(".tmp", False), (".trash", False), ("tracks", False), ("logs", True)]
)
def test_what_is_published_by_renames_must_lie_on_one_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: str, fit: bool
) -> None:
    """One of the folders is made to look like another disk's; `test_cli` mounts a real one."""
    real = os.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        found = real(path, **options)
        if path != tmp_path / apart:
            return found
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:]))

    monkeypatch.setattr(os, "stat", stat)

    if fit:
        OutputFolder(tmp_path).prepare()
        return
    with pytest.raises(Unfit, match=r"are not on one file system.* Name another --out") as refused:
        OutputFolder(tmp_path).prepare()
    assert refused.value.exit_code == 4


def test_an_error_of_the_exchange_that_is_no_lack_of_it_is_raised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        artifacts.exchange(tmp_path / "none", tmp_path / "neither")

    assert caught.value.errno == errno.ENOENT


def test_a_name_that_is_not_utf8_is_published_and_found_again(
    out: OutputFolder, held: HeldLock
) -> None:
    target = _publish(out, held, "a1", "one", track=b"caf\xe9 \xff.mp3")

    assert os.listdir(os.fsencode(out.root / "tracks")) == [b"caf\xe9 \xff.mp3"]
    found = manifest.read(target)
    assert found is not None
    assert os.fsencode(found[0].folder) == b"tracks/caf\xe9 \xff.mp3/note"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "features.json").unlink(),
        lambda folder: (folder / "features.json").write_text("longer than before"),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: (folder / "manifest.json").write_text('{"format": 99}'),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
)
def test_a_damaged_folder_has_no_whole_manifest(
    out: OutputFolder, held: HeldLock, damage: Callable[[Path], object]
) -> None:
    target = _publish(out, held, "a1", "one")

    damage(target)

    assert manifest.read(target) is None


# ---- recovery


def test_a_whole_attempt_whose_target_is_missing_is_published(out: OutputFolder) -> None:
    _whole_attempt(out, "a1", "one")

    said = recovery.recover(out)

    assert _content(out.stage(b"song.wav", "note", "mix")) == "one"
    assert said == ["published tracks/song.wav/note, which a dead run had finished"]
    assert list((out.root / ".tmp").iterdir()) == []


def test_a_whole_attempt_beside_a_target_is_thrown_away(out: OutputFolder, held: HeldLock) -> None:
    target = _publish(out, held, "a1", "one")
    _whole_attempt(out, "a2", "two")

    assert recovery.recover(out) == []

    assert _content(target) == "one"
    assert list((out.root / ".tmp").iterdir()) == []


def test_an_unfinished_attempt_is_thrown_away(out: OutputFolder) -> None:
    attempt = out.attempt("a1")
    (attempt / "features.json").write_text("half")

    assert recovery.recover(out) == []

    assert list((out.root / ".tmp").iterdir()) == []
    assert list((out.root / "tracks").iterdir()) == []


def test_an_old_version_that_was_set_aside_is_put_back_when_the_new_one_is_not_whole(
    out: OutputFolder, held: HeldLock
) -> None:
    target = _publish(out, held, "a1", "one")
    os.rename(target, out.root / ".trash/a2")
    out.attempt("a2")

    said = recovery.recover(out)

    assert _content(target) == "one"
    assert said == ["put back tracks/song.wav/note, which a dead run had set aside"]


def test_old_versions_in_the_trash_are_left_there(out: OutputFolder, held: HeldLock) -> None:
    _publish(out, held, "a1", "one")
    target = _publish(out, held, "a2", "two")
    os.rename(target.parent, out.root / "tracks/moved.wav")

    assert recovery.recover(out) == []

    assert not target.exists()
    assert _content(out.root / ".trash/a2") == "one"


def test_a_manifest_that_points_out_of_the_folder_is_not_followed(out: OutputFolder) -> None:
    attempt = out.attempt("a1")
    (attempt / "features.json").write_text("evil")
    files = (manifest.describe(attempt / "features.json"),)
    described = _describe("../../outside", "a1")(files)
    (attempt / manifest.FILE_NAME).write_bytes(described.to_bytes())

    assert recovery.recover(out) == []

    assert not (out.root.parent.parent / "outside").exists()


def test_recovery_can_be_repeated(out: OutputFolder) -> None:
    _whole_attempt(out, "a1", "one")
    recovery.recover(out)

    assert recovery.recover(out) == []
    assert _content(out.stage(b"song.wav", "note", "mix")) == "one"


def test_a_track_s_folder_is_made_by_one_lane_at_a_time(
    out: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = out.root / artifacts.TMP / "a"
    attempt.mkdir()
    refused = []

    def make_folders(folder: Path) -> None:
        folder.mkdir(parents=True)
        other = os.open(out.root / artifacts.TMP, os.O_RDONLY)  # as another process would
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused.append(folder)
        os.close(other)

    monkeypatch.setattr(artifacts, "make_folders", make_folders)

    artifacts.put_in_place(attempt, out.root / "tracks" / "a.wav" / "note", out=out)

    assert refused == [out.root / "tracks" / "a.wav"]
