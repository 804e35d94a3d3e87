"""What happens to a dataset between runs: moved, doubled, replaced, deleted, filtered, changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.zygote import QuickSandbox, Zygote


@pytest.fixture
def box(sandbox: QuickSandbox) -> QuickSandbox:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"
    return sandbox


def _folders(box: Sandbox) -> list[str]:
    tracks = box.out / "tracks"
    return sorted(
        str(path.parent.parent.relative_to(tracks)) for path in tracks.rglob("manifest.json")
    )


def _run(box: Sandbox, *arguments: str) -> int:
    """Run and return how many tracks were computed."""
    box.forget_calls()
    done = box.run(*arguments)
    assert done.returncode == 0, done.stderr
    box.check()
    return box.calls().total()


def test_a_moved_source_is_not_computed_again_and_its_outputs_follow(box: Sandbox) -> None:
    box.add("old/song.wav")
    _run(box)
    (box.dataset / "new").mkdir()
    (box.dataset / "old/song.wav").rename(box.dataset / "new/name.wav")
    (box.dataset / "old").rmdir()

    assert _run(box) == 0

    assert _folders(box) == ["new/name.wav"]
    assert not (box.out / "tracks/old").exists()
    assert box.status()["tracks"] == {
        "total": 1,
        "missing": 0,
        "unreadable": 0,
        "not_probed_yet": 0,
    }


def test_two_sources_that_swap_their_names_swap_their_outputs(box: Sandbox) -> None:
    one, two = box.add("a.wav", seed=1), box.add("b.wav", seed=2)
    _run(box)
    for source, target in (("a.wav", "x"), ("b.wav", "a.wav"), ("x", "b.wav")):
        (box.dataset / source).rename(box.dataset / target)

    assert _run(box) == 0

    assert _folders(box) == ["a.wav", "b.wav"]
    homes = {
        row["sha256"][:8]: row["folder"] for row in box.sql("SELECT sha256, folder FROM tracks")
    }
    assert homes == {one: b"b.wav", two: b"a.wav"}


def test_a_duplicate_is_one_track_with_two_paths(box: Sandbox) -> None:
    box.add("a.wav")
    box.add("copies/b.wav")

    assert _run(box) == 1

    assert _folders(box) == ["a.wav"]
    shown = box.command("show", str(box.dataset), "copies/b.wav")
    assert "a.wav\ncopies/b.wav\n" in shown.stdout


def test_of_a_duplicate_one_may_be_deleted(box: Sandbox) -> None:
    box.add("a.wav")
    box.add("b.wav")
    _run(box)
    (box.dataset / "a.wav").unlink()

    assert _run(box) == 0
    assert box.status()["tracks"]["missing"] == 0


def test_a_replaced_file_is_computed_and_the_old_outputs_go_to_the_trash(box: Sandbox) -> None:
    box.add("song.wav", seed=1)
    _run(box)
    before = box.outputs()
    box.add("song.wav", seed=2)

    assert _run(box) == 1

    assert _folders(box) == ["song.wav"]
    assert box.outputs() != before
    assert [path.name for path in (box.out / ".trash").rglob("features.json")] == ["features.json"]
    assert box.status()["tracks"]["total"] == 1


def test_a_deleted_source_is_missing_and_its_outputs_stay_until_it_comes_back(box: Sandbox) -> None:
    box.add("song.wav")
    _run(box)
    content = (box.dataset / "song.wav").read_bytes()
    (box.dataset / "song.wav").unlink()

    assert _run(box) == 0
    assert _folders(box) == ["song.wav"]
    assert box.status()["tracks"] == {
        "total": 1,
        "missing": 1,
        "unreadable": 0,
        "not_probed_yet": 0,
    }

    (box.dataset / "song.wav").write_bytes(content)
    assert _run(box) == 0
    assert box.status()["tracks"]["missing"] == 0


def test_a_touched_file_is_hashed_again_and_not_computed_again(box: Sandbox) -> None:
    box.add("song.wav")
    _run(box)
    os.utime(box.dataset / "song.wav", (1, 1))

    assert _run(box) == 0


def test_a_file_changed_with_its_old_time_and_size_is_noticed(box: Sandbox) -> None:
    box.add("song.wav", seed=1)
    _run(box)
    stat = (box.dataset / "song.wav").stat()
    box.add("song.wav", seed=2)
    os.utime(box.dataset / "song.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert (box.dataset / "song.wav").stat().st_mtime_ns == stat.st_mtime_ns
    assert _run(box) == 1


def test_a_source_that_changes_while_it_is_worked_on_is_done_again_in_the_same_run(
    box: Sandbox,
) -> None:
    sha = box.add("song.wav")
    box.script({sha: f"touch:{box.dataset / 'song.wav'}={box.root / 'touched'}"})

    assert _run(box) == 2

    (track,) = box.sql("SELECT sha256 FROM tracks")
    assert track["sha256"][:8] == box.hash_of(box.dataset / "song.wav") != sha


def test_two_names_that_differ_only_in_their_extension_never_collide(box: Sandbox) -> None:
    box.add("song.wav", seed=1)
    box.add("song.WAV", seed=2)
    box.add("song", seed=3)

    assert _run(box) == 3
    assert _folders(box) == ["song", "song.WAV", "song.wav"]


def test_a_file_that_takes_the_place_of_a_folder_of_outputs_gets_a_name_of_its_own(
    box: Sandbox,
) -> None:
    box.add("a/note.wav", seed=1)
    _run(box)
    (box.dataset / "a/note.wav").unlink()
    (box.dataset / "a").rmdir()
    box.add("a", seed=2)

    assert _run(box) == 1

    assert len(_folders(box)) == 2
    assert all(name.startswith("a") for name in _folders(box))


@pytest.mark.parametrize(
    "name",
    [b"caf\xe9 \xff.wav", "naïve ☃.wav".encode(), b"-rf.wav", b"line\nbreak.wav", b"\x1b[2J.wav",
     b"http:x.wav", b"a'b\"c`$(d).wav", b"x" * 251 + b".wav", b"dot. ", b"no extension"],
)  # fmt: skip
def test_any_name_works(box: Sandbox, name: bytes) -> None:
    box.add(name)

    assert _run(box) == 1
    assert _run(box) == 0

    listed = box.command("tracks", str(box.dataset))
    assert listed.stdout.count("\n") == 1, "a name cannot break a line"
    assert "\x1b" not in listed.stdout
    assert os.listdir(os.fsencode(box.out / "tracks")) == [name]


def test_filters_keep_a_run_to_its_files_and_make_nothing_missing(box: Sandbox) -> None:
    box.add("rock/a.wav", seed=1)
    box.add("rock/live/b.wav", seed=2)
    box.add("jazz/c.wav", seed=3)

    assert _run(box, "--include", "rock/**", "--exclude", "live") == 1
    assert _run(box, "--include", "jazz") == 1
    assert box.status()["tracks"]["missing"] == 0
    assert _run(box) == 1


def test_a_list_on_stdin_names_the_files_to_do(box: Sandbox) -> None:
    for number in range(3):
        box.add(f"{number}.wav", seed=number)

    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", str(box.dataset), "-"],
        input=b"1.wav\n2.wav\n",
        env=box.environment,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert _folders(box) == ["1.wav", "2.wav"]


def test_the_output_folder_is_never_scanned(sandbox: Sandbox) -> None:
    sandbox.add("song.wav")
    sandbox.run()  # its separation writes WAV files

    sandbox.run()

    assert sandbox.status()["tracks"]["total"] == 1


def test_outputs_can_live_elsewhere_and_commands_find_them_there(
    box: Sandbox, tmp_path: Path
) -> None:
    box.add("song.wav")
    box.out = tmp_path / "elsewhere"

    assert _run(box, "--out", str(box.out)) == 1

    assert sorted(os.listdir(box.dataset)) == ["song.wav"]
    told = box.command("status", str(box.dataset), "--out", str(box.out))
    assert "1 track" in told.stdout
    by_output_folder = box.command("status", str(box.out))
    assert by_output_folder.stdout == told.stdout


# ---- what decides an output


def test_changing_a_setting_that_decides_makes_exactly_its_jobs_stale(sandbox: Sandbox) -> None:
    sandbox.add_many(2)
    sandbox.run()
    (sandbox.out / "pipeline.toml").write_text("[note]\nflavour = 1\n")

    stages = sandbox.status()["stages"]

    assert {
        stage: {scope: counts["stale"] for scope, counts in scopes.items()}
        for stage, scopes in stages.items()
    } == {
        "note": {"mix": 2, "stems": 2},
        "separation": {"mix": 0},
    }
    assert _run(sandbox) == 4
    assert all(counts["stale"] == 0 for counts in sandbox.status()["stages"]["note"].values())


def test_changing_a_setting_that_decides_nothing_makes_nothing_stale(box: Sandbox) -> None:
    box.add("song.wav")
    _run(box)

    assert _run(box, "--set", "note.free=b", "--threads", "1") == 0


def test_changing_the_separation_makes_its_stems_features_stale_too(sandbox: Sandbox) -> None:
    sandbox.add("song.wav")
    sandbox.run()
    (sandbox.out / "pipeline.toml").write_text("[separation]\nflavour = 1\n")

    stages = sandbox.status()["stages"]
    assert (stages["separation"]["mix"]["stale"], stages["note"]["stems"]["stale"]) == (1, 1)
    assert stages["note"]["mix"]["stale"] == 0
    assert _run(sandbox) == 2


def test_a_setting_that_is_taken_back_before_a_run_costs_nothing(box: QuickSandbox) -> None:
    box.add("song.wav")
    _run(box)
    box.script({box.hash_of(box.dataset / "song.wav"): "sleep:60"})
    box.forget_calls()
    run = box.fork_run("--set", "note.flavour=1")
    box.wait_for(lambda: box.calls().total())
    run.kill()
    run.communicate()
    box.wait_until_gone()
    box.script({})

    assert _run(box) == 0


def test_leaving_a_stage_out_makes_nothing_stale(sandbox: Sandbox) -> None:
    sandbox.add("song.wav")
    sandbox.run()

    assert _run(sandbox, "--stages", "note") == 0
    assert all(
        counts["stale"] == 0
        for scopes in sandbox.status()["stages"].values()
        for counts in scopes.values()
    )


def test_outputs_that_were_deleted_are_made_anew(sandbox: Sandbox) -> None:
    sandbox.add_many(2)
    sandbox.run()
    before = sandbox.outputs()
    for gone in ("t00.wav/separation", "t01.wav/note"):
        for file in (sandbox.out / "tracks" / gone).iterdir():
            file.unlink()

    assert _run(sandbox) == 2
    assert sandbox.outputs() == before


def test_a_deleted_ledger_costs_no_computing(sandbox: Sandbox) -> None:
    sandbox.add_many(2)
    sandbox.run()
    before = sandbox.outputs()
    for file in sandbox.out.glob("ledger.db*"):
        file.unlink()

    assert _run(sandbox) == 0
    assert sandbox.outputs() == before


def test_an_old_copy_of_the_ledger_costs_no_computing(sandbox: Sandbox) -> None:
    sandbox.add("a.wav", seed=1)
    sandbox.run()
    old = {file: file.read_bytes() for file in sandbox.out.glob("ledger.db*")}
    sandbox.add("b.wav", seed=2)
    sandbox.run()
    for file in sandbox.out.glob("ledger.db*"):
        file.unlink()
    for file, content in old.items():
        file.write_bytes(content)

    assert _run(sandbox) == 0


# ---- unreadable


def test_files_that_are_no_audio_fail_with_a_reason_and_the_others_go_on(box: Sandbox) -> None:
    box.add("good.wav")
    (box.dataset / "empty.mp3").touch()
    (box.dataset / "text.mp3").write_text("not music")
    (box.dataset / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0 a picture")

    done = box.run()

    assert done.returncode == 1
    jobs = box.jobs()
    assert {path: job["reason"] for (path, _, _), job in jobs.items()} == {
        "good.wav": None,
        "empty.mp3": "empty",
        "text.mp3": "not_audio",
    }
    assert box.status()["tracks"] == {
        "total": 3,
        "missing": 0,
        "unreadable": 2,
        "not_probed_yet": 0,
    }
    listed = box.command("tracks", str(box.dataset), "--state", "failed")
    assert "empty.mp3" in listed.stdout
    assert "good.wav" not in listed.stdout


def test_an_unreadable_file_that_was_mended_is_done(box: Sandbox) -> None:
    (box.dataset / "song.wav").write_text("not music")
    box.run()
    box.add("song.wav")

    assert _run(box) == 1
    assert box.status()["tracks"]["unreadable"] == 0


# ---- what lies in the way


def test_a_folder_of_the_user_where_moved_outputs_belong_goes_to_the_trash(box: Sandbox) -> None:
    box.add("a.wav")
    _run(box)
    (box.out / "tracks/b.wav").mkdir()
    (box.out / "tracks/b.wav/mine.txt").write_text("keep")
    (box.dataset / "a.wav").rename(box.dataset / "b.wav")

    assert _run(box) == 0

    assert _folders(box) == ["b.wav"]
    assert [path.read_text() for path in (box.out / ".trash").rglob("mine.txt")] == ["keep"]


@pytest.mark.parametrize("time_ns", [10**19, -1, 0])
def test_a_file_of_another_century_is_done(box: Sandbox, time_ns: int) -> None:
    box.add("song.wav")
    os.utime(box.dataset / "song.wav", ns=(time_ns, time_ns))

    assert _run(box) == 1
    assert _run(box) == 0


def test_a_stem_that_was_deleted_is_made_anew_by_the_run_after_the_one_that_missed_it(
    sandbox: Sandbox,
) -> None:
    sandbox.add("song.wav")
    sandbox.run()
    before = sandbox.outputs()
    (sandbox.out / "tracks/song.wav/separation/rest.wav").unlink()
    noticed = sandbox.run("--set", "note.flavour=1")
    assert noticed.returncode == 0 or "stems_gone" in noticed.stderr

    assert sandbox.run().returncode == 0

    assert sandbox.outputs() == before
    sandbox.check()


def test_a_filter_never_takes_a_moved_content_for_a_replaced_one(box: Sandbox) -> None:
    box.add("rock/a.wav", seed=1)
    _run(box)
    (box.dataset / "jazz").mkdir()
    (box.dataset / "rock/a.wav").rename(box.dataset / "jazz/a.wav")
    box.add("rock/a.wav", seed=2)

    assert _run(box, "--include", "rock") == 1
    assert _run(box) == 0
    assert _folders(box) == ["jazz/a.wav", "rock/a.wav"]


def test_a_changed_file_is_looked_at_although_new_ones_were_met_long_before_it(
    tmp_path: Path, zygote: Zygote
) -> None:
    """The scan goes by parts of 500 files; what it knows already keeps an older number."""
    box = QuickSandbox(tmp_path / "box", zygote, registry="tests.fakes:ONE")
    for number in range(520):
        (box.dataset / f"junk{number:03}.mp3").write_text(f"not music {number}")
    box.add("z.wav", seed=1)
    box.run()
    box.forget_calls()
    box.add("a.wav", seed=2)
    box.add("z.wav", seed=3)

    box.run()

    assert box.calls().total() == 2
    assert box.status()["tracks"]["not_probed_yet"] == 0
