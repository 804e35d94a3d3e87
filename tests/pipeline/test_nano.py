"""The model that ships, asked for in every way there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.doctor import examine
from pipeline.machine import Machine
from pipeline.recipe import recipes
from stages.base import JsonValue
from stages.catalogue import CATALOGUE

HASH = CATALOGUE["nano"].files[0].sha256


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("overrides", "assignments", "environment"),
    [
        ({"separation": {"model": "nano"}}, [], {}),
        ({}, ["separation.model=nano"], {}),
        ({}, [], {"NIGHTSHIFT_SEPARATION__MODEL": "nano"}),
    ],
    ids=["--model", "--set", "variable"],
)
def test_what_decides_is_the_hash_of_the_file_however_it_is_asked_for(
    tmp_path: Path,
    overrides: dict[str, JsonValue],
    assignments: Sequence[str],
    environment: Mapping[str, str],
) -> None:
    config = load(tmp_path, overrides=overrides, assignments=assignments, environment=environment)

    (found,) = (
        one for one in recipes(config, Machine.read(config.out)) if one.stage == "separation"
    )

    assert found.blocked is None
    assert found.weights == {"nano.safetensors": HASH}


@pytest.mark.parametrize(("model", "level"), [("nano", "good"), ("htdemucs", "note")])
def test_doctor_says_where_the_model_lies_or_names_it_as_a_way_out(
    tmp_path: Path, model: str, level: str
) -> None:
    config = load(tmp_path, assignments=[f"separation.model={model}"], environment={})

    looked = examine(config, with_disk=False)
    found = next(one for one in looked if one.what == "weights of separation")

    assert found.level == level
    assert "nano" in found.value + found.remedy
