"""`pipeline licenses`: the list is whole, and says what the owners say."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.licences import LIBRARIES
from tests.web import Site

ROOT = Path(__file__).parents[2]
ACCEPT = "--accept-licence"
Told = pytest.CaptureFixture[str]


def test_every_library_that_is_asked_for_has_its_licence_in_the_list() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(one for name in extras if name not in {"all", "dev"}
             for one in extras[name])]  # fmt: skip

    assert {re.split(r"[<>=\[]", one)[0] for one in asked} <= set(LIBRARIES)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_licence_in_the_list_is_the_one_that_the_library_states(name: str) -> None:
    try:
        stated = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    words = " ".join(
        [
            *(str(stated[key]) for key in ("License-Expression", "License") if stated[key]),
            *(one for one in stated.get_all("Classifier", []) if "License" in one),
        ]
    )

    family = LIBRARIES[name][0].split("-")[0].split()[0]
    assert re.search(rf"\b{family}", words), words


def test_licenses_says_who_owns_what_and_that_it_is_no_advice(site: Site, capsys: Told) -> None:
    main(["models", "fetch", "one", ACCEPT])
    capsys.readouterr()

    assert main(["licenses"]) == 0
    told = capsys.readouterr()
    assert "not legal advice" in told.err
    assert f"numpy {metadata.version('numpy')} " in told.out
    assert main(["licenses", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert {tuple(one) for one in found} == {
        ("what", "name", "licence", "words", "version", "url", "covers", "accepted_utc")
    }
    kinds = {one["what"] for one in found}
    assert kinds == {"nightshift", "library", "program", "weights", "music"}
    weights = {one["name"]: one["accepted_utc"] for one in found if one["what"] == "weights"}
    assert weights["Plain weights"] is not None
    assert weights["Other weights"] is None
