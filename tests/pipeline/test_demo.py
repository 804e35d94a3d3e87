"""The demo, as a stranger meets it: offline, on the bundled music, without weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.music.bundle import BUNDLED
from stages import STAGES
from tests.sandbox import Sandbox

MEASURING = [
    name
    for name, declared in STAGES.items()
    if declared.lane == "features" and declared.weights is None
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, str, Path]:
    box = Sandbox(tmp_path_factory.mktemp("demo"), registry=None)
    box.environment["HOME"] = str(box.root)  # no weights there
    folder = box.root / "demo-music"
    done = box.command("demo", "--folder", str(folder))
    assert done.returncode == 0, done.stderr
    return box, done.stdout, folder


def test_it_does_what_this_machine_can_do_and_names_what_it_cannot(
    demo: tuple[Sandbox, str, Path],
) -> None:
    _, said, folder = demo

    assert {path.name for path in folder.iterdir()} == {
        "_pipeline",
        *(piece.file_name for piece in BUNDLED),
    }
    assert f"Stages this machine can do now: {', '.join(MEASURING)}." in said
    assert "Not possible yet: separation. The weights of htdemucs are not on this machine" in said
    assert "Not possible yet: tagging. The weights of msd-musicnn-1 are not on this machine" in said
    assert f"5 tracks: {5 * len(MEASURING)} jobs done by this run, 0 before." in said


def test_what_it_says_to_look_at_next_answers(demo: tuple[Sandbox, str, Path]) -> None:
    box, said, folder = demo
    commands = said.partition("Look next:\n")[2].splitlines()

    assert [line.split()[:2] for line in commands] == [
        ["pipeline", "status"],
        ["pipeline", "show"],
        ["pipeline", "query"],
    ]
    sql = commands[2].partition('"')[2].rpartition('"')[0]
    rows = box.command("query", str(folder), sql).stdout.splitlines()
    assert len(rows) == 1 + 5 * 5  # loudness; tempo and key by two stages each
    assert any(row.startswith("Harbour Lights.flac\tessentia\tkey\tG") for row in rows)


def test_a_second_demo_finds_its_work_done(demo: tuple[Sandbox, str, Path]) -> None:
    box, _, folder = demo

    again = box.command("demo", "--folder", str(folder))

    assert again.returncode == 0
    assert "nothing to do: 5 tracks, all done." in again.stdout
