"""`pipeline models` and `pipeline licenses`, where a model of the catalogue ships with Nightshift."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.cli import main
from stages import catalogue, published
from tests.small_catalogue import flip, names_in
from tests.web import Site

ROOT = Path(__file__).parents[2]
NANO = catalogue.CATALOGUE["nano"]
ACCEPT = "--accept-licence"
Told = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return published.models_folder(tmp_path / "home")


@pytest.fixture
def nano(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small catalogue with the model that ships, in a package whose copy of it may be broken."""
    monkeypatch.setattr(catalogue, "CATALOGUE", {**catalogue.CATALOGUE, "nano": NANO})
    monkeypatch.setattr(published, "PACKAGE", tmp_path / "package")
    place = tmp_path / "package" / NANO.folder / NANO.files[0].name
    place.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / "stages" / NANO.folder / place.name, place)
    return place


def test_what_ships_is_there_from_the_start(nano: Path, folder: Path, capsys: Told) -> None:
    assert main(["models", "list"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[:2] == ["there", "nano"]
    assert line.endswith("ships with Nightshift")
    assert main(["models", "list", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)[-1]
    assert (told["name"], told["state"], told["ships"]) == ("nano", "there", True)
    assert told["licence_accepted_utc"] is None
    assert told["files"] == [
        {
            "path": str(nano),
            "url": None,
            "state": "there",
            "bytes": nano.stat().st_size,
            "sha256": NANO.files[0].sha256,
            "pinned": "published",
        }
    ]


def test_what_ships_needs_no_fetching_and_no_yes(
    nano: Path, site: Site, folder: Path, capsys: Told
) -> None:
    assert main(["models", "fetch", "nano"]) == 0

    assert capsys.readouterr().err == "nano ships with Nightshift and needs no fetching.\n"
    assert site.asked == []
    assert not folder.exists()


def test_what_is_fetched_beside_what_ships_comes(nano: Path, folder: Path, capsys: Told) -> None:
    assert main(["models", "fetch", "nano", "one", ACCEPT]) == 0

    said = capsys.readouterr().err
    assert "nano ships with Nightshift" in said
    assert "1 file fetched, 400.0 kB" in said
    assert names_in(folder) == {"one/one.safetensors"}


def test_what_ships_is_hashed_and_brought_back_by_installing_again(
    nano: Path, capsys: Told
) -> None:
    assert main(["models", "verify"]) == 0
    assert "1 file hashed, 0 wrong or missing." in capsys.readouterr().err
    flip(nano)
    assert main(["models", "verify"]) == 1
    changed = capsys.readouterr().out
    nano.unlink()

    assert main(["models", "verify"]) == 1

    missing = capsys.readouterr().out
    for what, said in (("changed", changed), ("missing", missing)):
        lines = said.splitlines()
        assert lines[0].split() == [what, str(nano)]
        assert lines[-1].split(maxsplit=1)[1].startswith("Install Nightshift again")
        assert "fetch" not in said


def test_an_import_takes_no_copy_of_what_ships(
    nano: Path, folder: Path, tmp_path: Path, capsys: Told
) -> None:
    (tmp_path / "stick").mkdir()
    shutil.copyfile(nano, tmp_path / "stick" / "nano.safetensors")

    assert main(["models", "import", str(tmp_path / "stick")]) == 0

    assert capsys.readouterr().err.endswith("nano.safetensors: here already, and right\n")
    assert not folder.exists()


def test_licenses_says_that_what_ships_is_as_free_as_the_code(nano: Path, capsys: Told) -> None:
    assert main(["licenses", "--json"]) == 0

    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    own = found["Nightshift's own model"]
    assert (own["licence"], own["covers"], own["url"]) == ("MIT", ["nano"], None)
    assert "on music that it makes itself" in own["words"]
