"""The demo, as a stranger meets it: offline, on the bundled music, with the bundled model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from filelock import FileLock

from pipeline.music.bundle import BUNDLED, FOLDER
from stages import STAGES
from stages.catalogue import CATALOGUE
from tests.sandbox import Sandbox

MEASURING = [
    name
    for name, declared in STAGES.items()
    if declared.lane == "features" and declared.weights is None
]
DOING = [name for name in STAGES if name in {*MEASURING, "separation"}]
ONE_STAGE = {"loudness": STAGES["loudness"]}  # a registry of one's own
STEMS = ("drums", "bass", "other", "vocals")

# A network of its own, in which there is nobody, not even this machine.
OFFLINE = ("unshare", "--net", *(["-r"] if os.geteuid() else []))
CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"


def _can_be_offline() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode == 0


def _demonstrate(box: Sandbox, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo, without a network where the kernel lets us."""
    command = [sys.executable, "-m", "pipeline", "demo", "--folder", str(folder)]
    return subprocess.run(
        [*OFFLINE, *command] if _can_be_offline() else command,
        env=box.environment,
        cwd=box.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, str, Path]:
    """The demo, once for all processes of these tests: it takes a minute of two cores."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder, said = place / "demo-music", place / "demo-music.txt"
    box = Sandbox(tmp_path_factory.mktemp("demo"), registry=None)
    box.environment["HOME"] = str(box.root)  # no weights there
    # Beside other tests two threads wait for each other: 48 CPU seconds where one needs 27.
    box.environment["NIGHTSHIFT_THREADS"] = "1"
    with FileLock(place / "demo-music.lock"):
        if not said.exists():
            done = _demonstrate(box, folder)
            assert done.returncode == 0, done.stderr
            said.write_text(done.stdout, encoding="utf-8")
    return box, said.read_text(encoding="utf-8"), folder


def test_it_does_what_this_machine_can_do_and_names_what_it_cannot(
    demo: tuple[Sandbox, str, Path],
) -> None:
    _, said, folder = demo

    assert {path.name for path in folder.iterdir()} == {
        "_pipeline",
        *(piece.file_name for piece in BUNDLED),
    }
    assert f"Stages this machine can do now: {', '.join(DOING)}." in said
    assert "Not possible yet: separation" not in said
    assert "Not possible yet: tagging. The weights of msd-musicnn-1 are not on this machine" in said
    jobs = 5 * (2 * len(MEASURING) + 1)  # of each mix and of its stems; one separation
    assert f"5 tracks: {jobs} jobs done by this run, 0 before." in said


def test_it_ends_with_stems_of_the_bundled_model_where_it_says(
    demo: tuple[Sandbox, str, Path],
) -> None:
    _, said, folder = demo
    shown = said.partition("Stems to listen to, of each piece:\n")[2].splitlines()

    assert Path(shown[0].strip()).resolve().is_relative_to(folder.resolve())
    assert "nano" in shown[1]
    assert [line.strip() for line in shown[2:4]] == [
        "pipeline models fetch htdemucs",
        f"pipeline run {folder}",
    ]
    for piece in BUNDLED:
        place = folder / "_pipeline" / "tracks" / piece.file_name / "separation"
        weights = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["weights"]
        assert list(weights.values()) == [CATALOGUE["nano"].files[0].sha256]
        for stem in STEMS:
            samples, rate_hz = soundfile.read(place / f"{stem}.flac")
            assert rate_hz == 44_100
            assert np.abs(samples).max() > 0
    assert Path(shown[0].strip()).name == "separation"
    assert Path(shown[0].strip()).is_dir()


def test_it_says_how_near_the_stems_are_to_the_true_ones(demo: tuple[Sandbox, str, Path]) -> None:
    _, said, _ = demo
    shown = said.partition("in brackets what the mix itself would get.\n")[2].partition("\n\n")[0]
    heads, *rows = shown.splitlines()

    assert tuple(heads.split()) == STEMS
    assert len(rows) == len(BUNDLED)
    for piece in BUNDLED:
        (row,) = (row for row in rows if row.strip().startswith(piece.file_name))
        cells = re.findall(r"silent|(-?[\d.]+) \((-?[\d.]+)\)", row)
        assert len(cells) == len(STEMS)
        sung = any(part.stem == "vocals" for part in piece.parts)
        assert [bool(sdr) for sdr, _ in cells] == [True, True, True, sung]
        above = [float(sdr) - float(mix) for sdr, mix in cells if sdr]
        assert min(above[:2]) >= 4.0  # drums and bass, by the numbers that are shown
        assert min(above) > 0.0


def test_it_needs_no_network(demo: tuple[Sandbox, str, Path]) -> None:
    if not _can_be_offline():
        pytest.skip("this kernel gives no network namespace of one's own")

    tried = subprocess.run(
        [*OFFLINE, sys.executable, "-c", CONNECT], capture_output=True, text=True, check=False
    )

    # The demo ended well, in surroundings in which this is what a connection gets.
    assert "Network is unreachable" in tried.stderr


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


def test_what_is_done_stays_done_for_the_commands_that_name_no_model(
    demo: tuple[Sandbox, str, Path],
) -> None:
    box, _, folder = demo

    status = json.loads(box.command("status", str(folder), "--json").stdout)

    assert status["stages"]["separation"]["mix"]["done"] == 5
    assert status["stages"]["separation"]["mix"]["stale"] == 0


def test_a_second_demo_finds_its_work_done(demo: tuple[Sandbox, str, Path]) -> None:
    box, _, folder = demo

    again = _demonstrate(box, folder)

    assert again.returncode == 0
    assert "nothing to do: 5 tracks, all done." in again.stdout


@pytest.fixture(scope="module")
def beside_mine(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A demo of one stage, in a folder that holds other music already."""
    box = Sandbox(tmp_path_factory.mktemp("mine"), registry="tests.pipeline.test_demo:ONE_STAGE")
    folder = box.root / "demo-music"
    folder.mkdir()
    shutil.copyfile(FOLDER / BUNDLED[0].file_name, folder / "mine.flac")
    with (folder / "mine.flac").open("ab") as file:
        file.write(b"mine")
    return _demonstrate(box, folder), folder


def test_a_registry_of_ones_own_needs_no_separation(
    beside_mine: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, _ = beside_mine

    assert done.returncode == 0, done.stderr
    assert "--model" not in done.stdout.partition("Look next")[0]
    assert "Stems to listen to" not in done.stdout


def test_other_music_in_its_folder_is_left_alone(
    beside_mine: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    _, folder = beside_mine

    places = folder / "_pipeline" / "tracks"
    assert {place.name for place in places.iterdir()} == {piece.file_name for piece in BUNDLED}
