"""`pipeline rebuild`: the ledger from the manifests alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.zygote import QuickSandbox, Zygote, finished

ASKED = (
    "SELECT path, stage, scope, state, reason, duration_s, sample_rate_hz, channels, codec, "
    "sha256, wall_s, cpu_s FROM job ORDER BY path, stage, scope"
)
FEATURES = "SELECT * FROM feature ORDER BY path, stage, scope, source, name"


@pytest.fixture(scope="module")
def two_tracks(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> QuickSandbox:
    return finished(tmp_path_factory.mktemp("two"), zygote, "tests.fakes:STAGES", tracks=2)


@pytest.fixture
def box(two_tracks: QuickSandbox) -> QuickSandbox:
    """Two tracks with separation and stems, finished. Their sources must stay where they are."""
    two_tracks.come_back()
    return two_tracks


@pytest.fixture
def own(tmp_path: Path, zygote: Zygote) -> QuickSandbox:
    """Two tracks with one stage, finished, to do anything to."""
    return finished(tmp_path / "own", zygote, "tests.fakes:ONE", tracks=2)


def _rebuilt(box: QuickSandbox, *arguments: str) -> dict[str, Any]:
    done = box.command("rebuild", str(box.dataset), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _computes_nothing(box: QuickSandbox, before: dict[str, object]) -> None:
    box.forget_calls()
    done = box.run()
    assert done.returncode == 0, done.stderr
    assert box.calls().total() == 0
    box.check()
    assert box.outputs() == before
    assert box.status()["tracks"]["not_probed_yet"] == 0


def _asked(box: QuickSandbox) -> list[object]:
    """The answers of the reading commands, without what no manifest tells."""
    status = box.status()
    shown = [json.loads(box.command("show", str(box.dataset), "t01.wav", "--json").stdout)]
    for track in shown:
        for job in track["jobs"]:
            del job["attempts"], job["peak_bytes"]
    listed = box.command("tracks", str(box.dataset)).stdout
    kept = [status["tracks"], status["stages"], status["times_real_time"], status["remaining_s"]]
    return [kept, listed, shown, box.sql(ASKED), box.sql(FEATURES)]


# ---- what it gives


def test_every_answer_is_the_same_and_nothing_is_computed(box: QuickSandbox) -> None:
    before, asked = box.outputs(), _asked(box)

    made = _rebuilt(box)

    assert (made["tracks"], made["jobs"], made["left"]) == (2, 6, [])
    assert _asked(box) == asked
    _computes_nothing(box, before)
    assert _asked(box) == asked


def test_the_old_ledger_is_kept_with_its_log_under_a_name_that_says_so(box: QuickSandbox) -> None:
    writer = sqlite3.connect(box.out / "ledger.db")
    writer.execute("UPDATE jobs SET reason = 'in the log'")
    writer.commit()
    old = (box.out / "ledger.db").read_bytes()
    log = (box.out / "ledger.db-wal").read_bytes()
    os.link(box.out / "ledger.db-wal", box.root / "kept-wal")  # closing folds and removes it
    writer.close()
    (box.out / "ledger.db").write_bytes(old)
    (box.out / "ledger.db-wal").write_bytes(log)

    first, second = _rebuilt(box), _rebuilt(box)

    assert first["set_aside"] == str(box.out / "ledger.db.before-rebuild-1")
    assert Path(first["set_aside"]).read_bytes() == old
    assert Path(f"{first['set_aside']}-wal").read_bytes() == log
    assert second["set_aside"] == str(box.out / "ledger.db.before-rebuild-2")
    assert box.sql("SELECT count(*) AS number FROM jobs WHERE reason IS NOT NULL") == [
        {"number": 0}
    ]


def test_words_say_what_is_not_known_any_more(box: QuickSandbox) -> None:
    done = box.command("rebuild", str(box.dataset))

    assert "2 tracks, 6 jobs done" in done.stderr
    assert "deaths, failures" in done.stderr
    assert f"pipeline run {box.dataset}" in done.stderr


# ---- what may have become of the old one


def _a_random_page(content: bytes) -> bytes:
    pages = len(content) // 4096
    page = random.Random(3).randrange(1, pages)
    return content[: page * 4096] + random.Random(4).randbytes(4096) + content[(page + 1) * 4096 :]


LEDGERS: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda content: None,
    "no bytes": lambda content: b"",
    "a random page": _a_random_page,
    "every page but the first": lambda content: content[:4096] + b"\xff" * (len(content) - 4096),
    "half": lambda content: content[: len(content) // 2],
    "no database": lambda content: b"once upon a time" * 512,
}


@pytest.mark.parametrize("damage", LEDGERS)
def test_whatever_became_of_the_old_ledger_it_is_made_anew(box: QuickSandbox, damage: str) -> None:
    before, ledger = box.outputs(), box.out / "ledger.db"
    old = LEDGERS[damage](ledger.read_bytes())
    for file in box.out.glob("ledger.db*"):
        file.unlink()
    if old is not None:
        ledger.write_bytes(old)

    made = _rebuilt(box)

    assert (made["tracks"], made["jobs"]) == (2, 6)
    if old is None:
        assert made["set_aside"] is None
    else:
        assert Path(made["set_aside"]).read_bytes() == old
    _computes_nothing(box, before)


def test_who_only_reads_a_damaged_ledger_is_told_of_rebuild(box: QuickSandbox) -> None:
    ledger = box.out / "ledger.db"
    damaged = LEDGERS["every page but the first"](ledger.read_bytes())
    assert damaged is not None
    for file in box.out.glob("ledger.db*"):
        file.unlink()
    ledger.write_bytes(damaged)

    for command in (["status"], ["tracks"], ["query", "SELECT * FROM jobs"], ["verify"]):
        name, *rest = command
        done = box.command(name, str(box.dataset), *rest)
        assert done.returncode == 4, command
        assert "pipeline rebuild" in done.stderr, command
    assert ledger.read_bytes() == damaged


# ---- what may have become of the sources


def _move(box: QuickSandbox) -> None:
    (box.dataset / "deep/er").mkdir(parents=True)
    (box.dataset / "t00.wav").rename(box.dataset / "deep/er/name.wav")


def _swap(box: QuickSandbox) -> None:
    (box.dataset / "t00.wav").rename(box.dataset / "x")
    (box.dataset / "t01.wav").rename(box.dataset / "t00.wav")
    (box.dataset / "x").rename(box.dataset / "t01.wav")


def _double(box: QuickSandbox) -> None:
    shutil.copy(box.dataset / "t01.wav", box.dataset / "a copy.wav")


def _peaks(box: QuickSandbox) -> list[str]:
    return sorted(
        str(content) for name, content in box.outputs().items() if "features.json" in name
    )


@pytest.mark.parametrize(
    ("change", "noticed"), [(_move, True), (_move, False), (_swap, False), (_double, False)]
)
def test_sources_that_moved_before_are_found_and_nothing_is_computed(
    own: QuickSandbox, change: Callable[[QuickSandbox], None], noticed: bool
) -> None:
    peaks = _peaks(own)
    change(own)
    if noticed:
        assert own.run().returncode == 0

    assert _rebuilt(own)["jobs"] == 2

    own.forget_calls()
    assert own.run().returncode == 0
    assert own.calls().total() == 0
    own.check()
    assert _peaks(own) == peaks
    homes = {
        row["sha256"][:8]: os.fsdecode(row["folder"]) for row in own.sql("SELECT * FROM tracks")
    }
    assert all(own.hash_of(own.dataset / folder) == sha for sha, folder in homes.items())


def test_a_source_that_is_gone_is_missing_and_its_outputs_stay(own: QuickSandbox) -> None:
    (own.dataset / "t00.wav").unlink()

    _rebuilt(own)
    before = own.outputs()

    _computes_nothing(own, before)
    assert own.status()["tracks"]["missing"] == 1


def test_any_name_is_found_again(tmp_path: Path, zygote: Zygote) -> None:
    box = QuickSandbox(tmp_path / "box", zygote, registry="tests.fakes:ONE")
    names = [b"caf\xe9 \xff.wav", b"x" * 251 + b".wav", b"line\nbreak.wav", b"a/stems", b"a/b.wav"]
    names += [b"note/note", b"stems", b"deep/" * 20 + b"song"]
    for seed, name in enumerate(names):
        box.add(name, seed=seed)
    box.run()
    before = box.outputs()
    asked = box.sql(ASKED)

    made = _rebuilt(box)

    assert (made["tracks"], made["left"]) == (len(names), [])
    assert box.sql(ASKED) == asked
    _computes_nothing(box, before)


# ---- what is not taken


def test_an_output_that_is_not_whole_is_named_and_made_anew(box: QuickSandbox) -> None:
    before = box.outputs()
    with (box.out / "tracks/t01.wav/note/features.json").open("ab") as stream:
        stream.write(b" ")

    made = _rebuilt(box)

    assert made["jobs"] == 5
    (left,) = made["left"]
    assert left["folder"] == "tracks/t01.wav/note"
    assert "features.json" in left["why"]
    assert "bytes" in left["why"]
    box.forget_calls()
    assert box.run().returncode == 0
    assert box.calls().total() == 1
    box.check()
    assert box.outputs() == before


@pytest.mark.parametrize("copy", ["a copy", "zzz/t01.wav"])
def test_of_two_copies_the_one_where_it_was_published_counts(box: QuickSandbox, copy: str) -> None:
    asked = box.sql(ASKED)
    shutil.copytree(box.out / "tracks/t01.wav", box.out / "tracks" / copy)

    made = _rebuilt(box)

    (left,) = made["left"]
    assert left["folder"] == f"tracks/{copy}"
    assert "t01.wav" in left["why"]
    assert box.sql(ASKED) == asked
    box.forget_calls()
    assert box.run().returncode == 0
    assert box.calls().total() == 0
    assert (box.out / "tracks" / copy / "note/manifest.json").exists(), "it is the user's"


def test_a_copy_inside_a_stage_folder_is_the_user_s(box: QuickSandbox) -> None:
    note = box.out / "tracks/t01.wav/note"
    shutil.copytree(note, box.root / "saved")
    shutil.copytree(box.root / "saved", note / "saved")

    made = _rebuilt(box)

    assert (made["jobs"], made["left"]) == (6, [])
    assert (note / "saved/manifest.json").exists()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda found: found.update(stage="second"), "its manifest is of second (mix)"),
        (lambda found: found.update(recipe="0" * 64), "its fingerprint"),
        (lambda found: found["source"].update(sha256="0" * 64), "its fingerprint"),
        (lambda found: found.update(source={}), "of what source"),
        (lambda found: found["files"][0].update(name="../../x"), "it lists what cannot lie beside it"),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_not_taken(
    box: QuickSandbox, spoil: Callable[[dict[str, Any]], None], why: str
) -> None:
    file = box.out / "tracks/t01.wav/note/manifest.json"
    manifest = json.loads(file.read_text())
    spoil(manifest)
    file.write_text(json.dumps(manifest))

    made = _rebuilt(box)

    assert made["jobs"] == 5
    (left,) = made["left"]
    assert left["folder"] == "tracks/t01.wav/note"
    assert why in left["why"]


def test_features_of_stems_that_were_replaced_since_are_made_anew(box: QuickSandbox) -> None:
    stems = box.out / "tracks/t01.wav/stems/note"
    shutil.copytree(stems, box.root / "older")
    changed = ["--set", "separation.flavour=1"]
    assert box.run(*changed).returncode == 0
    before = box.outputs()
    shutil.rmtree(stems)
    (box.root / "older").rename(stems)

    made = _rebuilt(box)

    assert made["jobs"] == 5
    (left,) = made["left"]
    assert left["folder"] == "tracks/t01.wav/stems/note"
    box.forget_calls()
    assert box.run(*changed).returncode == 0
    assert box.calls().total() == 1
    box.check()
    assert box.outputs() == before


def test_a_stage_that_is_not_registered_is_named_and_adopted_when_it_is(box: QuickSandbox) -> None:
    before = box.outputs()
    registry = box.environment["NIGHTSHIFT_REGISTRY"]
    box.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"

    made = _rebuilt(box)

    box.environment["NIGHTSHIFT_REGISTRY"] = registry
    assert made["jobs"] == 4
    assert [left["folder"] for left in made["left"]] == [
        "tracks/t00.wav/separation",
        "tracks/t01.wav/separation",
    ]
    _computes_nothing(box, before)


# ---- kills


def test_a_rebuild_killed_at_any_step_costs_no_computing(box: QuickSandbox) -> None:
    before = box.outputs()
    old = (box.out / "ledger.db").read_bytes()
    step, kills = 0, 0
    while True:
        step += 1
        box.come_back()
        done = box.command("rebuild", str(box.dataset), kill=f"supervisor:{step}")
        if not box.killed():
            assert done.returncode == 0, done.stderr
            break
        assert done.returncode == -signal.SIGKILL
        kills += 1
        kept = [path.read_bytes() for path in box.out.glob("ledger.db*") if path.stat().st_size]
        assert old in kept, step
        if step % 2:
            assert _rebuilt(box)["jobs"] == 6
            box.check()
        else:
            _computes_nothing(box, before)
    assert kills > 8
