"""E1 to E12: outputs and sources that somebody changed behind our back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Stage
from tests.faults.rows import row
from tests.faults.scene import Scene


def _finished(box: Scene) -> Scene:
    assert box.run().returncode == 0
    box.forget_calls()
    box.faults += 1
    return box


def _one_track_again(box: Scene, undisturbed: dict[str, object]) -> None:
    """The next run, with no other command, mends that one and touches no other."""
    done = box.run()
    assert done.returncode == 0, done.stderr
    assert box.calls().total() == 1
    box.finished(undisturbed)
    box.does_nothing_more()


def _folder(box: Scene) -> Path:
    return box.out / "tracks/t01.wav/note"


@row("E1")
@pytest.mark.parametrize("what", ["features.json", "manifest.json", "the folder", "the track"])
def test_a_deleted_output_is_made_again(
    what: str, scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    if what == "the folder":
        shutil.rmtree(_folder(box))
    elif what == "the track":
        shutil.rmtree(_folder(box).parent)
    else:
        (_folder(box) / what).unlink()

    _one_track_again(box, undisturbed)


def _edited(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _replaced(file: Path) -> None:
    other = file.with_suffix(".new")
    other.write_bytes(b"x" * file.stat().st_size)
    os.rename(other, file)


@row("E2")
@pytest.mark.parametrize("how", [_edited, _cut, _replaced], ids=["edited", "cut", "replaced"])
def test_an_output_that_was_changed_is_noticed_and_made_again(
    how: Callable[[Path], None], scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    odd = _folder(box) / "features.json"
    how(odd)
    content = odd.read_bytes()

    _one_track_again(box, undisturbed)

    kept = [path.read_bytes() for path in (box.out / ".trash").rglob("features.json")]
    assert content in kept, "the odd version must not be lost in silence"


@row("E2")
def test_an_output_changed_with_its_old_time_is_found_by_its_hash(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    odd = _folder(box) / "features.json"
    before = odd.stat()
    _edited(odd)
    os.utime(odd, ns=(before.st_atime_ns, before.st_mtime_ns))

    found = box.command("verify", str(box.dataset), "--hash")

    assert found.returncode == 1
    assert "features.json" in found.stdout
    _one_track_again(box, undisturbed)


@row("E3")
def test_an_edited_manifest_proves_nothing(scene: Stage, undisturbed: dict[str, object]) -> None:
    box = _finished(scene())
    manifest = _folder(box) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))

    _one_track_again(box, undisturbed)


@row("E4")
def test_a_file_of_the_user_among_the_outputs_survives_everything(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    mine = _folder(box) / "mine.txt"
    mine.write_text("keep")

    assert box.run("--set", "note.flavour=1").returncode == 0
    assert mine.read_text() == "keep"
    assert box.run().returncode == 0
    assert box.command("gc", str(box.dataset), mends=False).returncode == 0
    assert mine.read_text() == "keep"

    mine.unlink()
    box.survived(undisturbed, again=6)


@row("E5")
def test_a_source_that_was_replaced_is_another_track(scene: Stage) -> None:
    box = _finished(scene())
    box.add("t01.wav", seed=77)
    box.forget_sources()

    assert box.run().returncode == 0

    assert box.calls().total() == 1
    box.check()
    manifest = json.loads((_folder(box) / "manifest.json").read_text())
    assert manifest["source"]["sha256"].startswith(box.hash_of(box.dataset / "t01.wav"))
    assert any((box.out / ".trash").iterdir())
    box.does_nothing_more()


@row("E6")
def test_a_source_that_changes_during_a_stage_is_done_as_it_is_afterwards(scene: Stage) -> None:
    box = scene()
    source = box.dataset / "t01.wav"
    flag = box.root / "touched"
    box.script({box.hash_of(source): f"touch:{source}={flag}"})
    box.faults += 1

    assert box.run().returncode == 0

    box.check()
    manifest = json.loads((_folder(box) / "manifest.json").read_text())
    assert manifest["source"]["sha256"].startswith(box.hash_of(source))
    box.forget_sources()
    box.does_nothing_more()


@row("E7")
@pytest.mark.parametrize("how", ["moved", "swapped", "into a folder"])
def test_a_source_that_was_moved_takes_its_outputs_along(how: str, scene: Stage) -> None:
    box = _finished(scene())
    one, two = box.dataset / "t00.wav", box.dataset / "t01.wav"
    if how == "swapped":
        one.rename(box.dataset / "x")
        two.rename(one)
        (box.dataset / "x").rename(two)
    else:
        target = box.dataset / ("new.wav" if how == "moved" else "folder/song.wav")
        target.parent.mkdir(exist_ok=True)
        one.rename(target)
    box.forget_sources()

    assert box.run().returncode == 0

    assert box.calls().total() == 0
    box.check()
    for path in box.sources():
        relative = path.relative_to(box.dataset)
        note = json.loads((box.out / "tracks" / relative / "note/manifest.json").read_text())
        assert note["source"]["sha256"].startswith(box.hash_of(path))
    box.does_nothing_more()


@row("E8")
def test_a_deleted_source_is_missing_until_it_comes_back(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = _finished(scene())
    source, away = box.dataset / "t01.wav", box.root / "away.wav"
    source.rename(away)
    assert box.run().returncode == 0
    assert box.status()["tracks"]["missing"] == 1
    assert (_folder(box) / "manifest.json").exists()
    away.rename(source)

    box.survived(undisturbed)

    assert box.calls().total() == 0
    assert box.status()["tracks"]["missing"] == 0


@row("E9")
@pytest.mark.parametrize("link", [shutil.copy, os.link], ids=["copy", "hard link"])
def test_duplicates_are_computed_once(link: Callable[..., object], scene: Stage) -> None:
    box = scene()
    for number in range(3):
        link(box.dataset / "t01.wav", box.dataset / f"again{number}.wav")
    box.forget_sources()
    box.faults += 1

    assert box.run().returncode == 0

    assert box.calls().total() == 3
    box.check()
    box.does_nothing_more()


@row("E11")
def test_links_are_followed_loops_end_and_what_is_no_file_is_left_out(scene: Stage) -> None:
    box = scene()
    elsewhere = box.root / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(box.dataset / "t00.wav", elsewhere / "same.wav")
    (box.dataset / "loop").symlink_to(box.dataset)
    (box.dataset / "dangling.wav").symlink_to(box.root / "nowhere.wav")
    (box.dataset / "self.wav").symlink_to("self.wav")
    (box.dataset / "out").symlink_to(elsewhere)
    (box.dataset / "zero.wav").symlink_to("/dev/zero")
    (box.dataset / "again.wav").symlink_to("t01.wav")
    box.faults += 6

    done = box.run()

    assert done.returncode == 0, done.stderr
    assert box.calls().total() == 3, "one content, one track, however many names lead to it"
    box.wait_until_gone()
    box.check()
    box.does_nothing_more()
    left_out = {event["reason"]: event["files"] for event in box.events("left_out")}
    assert sum(left_out.values()) >= 3, left_out


@row("E12")
def test_a_changed_setting_makes_exactly_its_own_outputs_anew(
    scene: Stage, undisturbed_all: dict[str, object]
) -> None:
    box = _finished(scene(registry="tests.fakes:STAGES"))

    assert box.run("--set", "note.free=b").returncode == 0
    assert box.calls().total() == 0
    assert box.run("--set", "separation.flavour=1").returncode == 0
    assert box.calls().total() == 6, "three separations, and the features of their stems"
    box.forget_calls()

    assert box.run().returncode == 0
    assert box.calls().total() == 6
    box.check()
    assert box.outputs() == undisturbed_all
