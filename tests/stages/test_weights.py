from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from stages import published
from stages.base import StageBlocked, StageSettings
from stages.published import models_folder
from stages.settings import LoudnessSettings, SeparationSettings
from stages.weights import demucs_weights, find_model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of whom neither the environment nor the system knows a home: a container's number."""

    def unknown(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def _settings(model: object) -> SeparationSettings:
    return SeparationSettings(model=str(model))


def _touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def test_the_models_folder_is_in_the_users_cache(home: Path) -> None:
    assert models_folder() == home / ".cache" / "nightshift" / "models"
    assert models_folder(Path("/elsewhere")) == Path("/elsewhere/.cache/nightshift/models")


def test_missing_catalogue_weights_come_with_the_commands_that_mend_it(home: Path) -> None:
    with pytest.raises(StageBlocked) as blocked:
        demucs_weights(_settings("htdemucs_ft"))

    assert blocked.value.problem == "The weights of htdemucs_ft are not on this machine"
    assert "  pipeline models fetch htdemucs_ft" in blocked.value.remedy.splitlines()
    assert "pipeline models import FOLDER" in blocked.value.remedy
    assert "--model FOLDER_OR_FILE" in blocked.value.remedy
    assert blocked.value.remedy.splitlines()[-1].endswith("that is bundled: --model nano")


@pytest.mark.usefixtures("homeless")
def test_the_model_that_ships_lies_in_the_package_and_needs_no_home() -> None:
    (file,) = find_model("nano").files

    assert file.path == Path(published.__file__).parent / "bundled" / "nano.safetensors"
    assert demucs_weights(_settings("nano")) == (file.path,)
    assert file.path.is_file()


def test_a_package_without_the_model_that_ships_is_to_be_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "PACKAGE", tmp_path)

    with pytest.raises(StageBlocked, match=f"is not in {tmp_path}/bundled") as blocked:
        find_model("nano")

    assert blocked.value.remedy.startswith("Install Nightshift again")
    assert "fetch" not in blocked.value.remedy


@pytest.mark.usefixtures("homeless")
def test_without_a_home_a_model_of_the_catalogue_is_blocked_with_what_to_set() -> None:
    with pytest.raises(StageBlocked, match="no home folder") as blocked:
        demucs_weights(_settings("htdemucs"))

    assert "HOME" in blocked.value.remedy
    assert "--model FOLDER_OR_FILE" in blocked.value.remedy


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("model", ["~/mine", "~/mine.safetensors", "~", "~nobody/mine"])
def test_without_a_home_a_folder_below_it_is_no_model(model: str) -> None:
    with pytest.raises(StageBlocked, match="There is no model, file or folder named '~"):
        demucs_weights(_settings(model))


def test_a_bag_of_which_one_file_is_missing_is_blocked(home: Path) -> None:
    folder = models_folder() / "htdemucs_ft"
    _touch(*(folder / f"{name}.safetensors" for name in ("f7e0c4bc", "d12395a8", "92cfc3b6")))

    with pytest.raises(StageBlocked, match="pipeline models fetch htdemucs_ft"):
        find_model("htdemucs_ft")


def test_catalogue_weights_are_found_in_the_order_of_the_bag(home: Path) -> None:
    folder = models_folder() / "htdemucs_ft"
    names = ["f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d"]
    _touch(*(folder / f"{name}.safetensors" for name in names))

    model = find_model("htdemucs_ft")

    assert [file.path.stem for file in model.files] == names
    assert demucs_weights(_settings("htdemucs_ft")) == tuple(file.path for file in model.files)
    assert all(len(file.sha256) == 64 for file in model.files)
    assert model.weights == (
        (1.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.0),
        (0.0, 0.0, 1.0, 0.0),
        (0.0, 0.0, 0.0, 1.0),
    )


def test_a_model_that_separates_nothing_is_no_model_of_the_separation() -> None:
    with pytest.raises(StageBlocked, match="There is no model, file or folder named"):
        find_model("msd-musicnn-1")


def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    for unknown in (
        "htdemocs",
        str(tmp_path / "nowhere"),
        "hf://somebody/model",
        "~x/y",
        "x" * 5_000,
    ):
        with pytest.raises(StageBlocked, match="htdemucs, htdemucs_ft, htdemucs_6s, nano"):
            find_model(unknown)


def test_a_file_of_weights_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    _touch(file)

    assert demucs_weights(_settings(file)) == (file,)


@pytest.mark.parametrize("name", ["mine.th", "mine.pt", "mine.ckpt"])
def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path, name: str) -> None:
    _touch(tmp_path / name)

    with pytest.raises(StageBlocked, match="pickle") as blocked:
        find_model(str(tmp_path / name))

    assert "safetensors" in blocked.value.remedy
    assert str(tmp_path / name) in blocked.value.problem


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path / "song.flac")

    with pytest.raises(StageBlocked, match=r"not a \.safetensors file"):
        find_model(str(tmp_path / "song.flac"))


def test_a_folder_in_demucs_form_is_read_with_its_weights_and_segment(tmp_path: Path) -> None:
    _touch(tmp_path / "a1.safetensors", tmp_path / "b2.safetensors")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("models: ['b2', 'a1']\nweights: [[1., 0], [0.5, 1]]\nsegment: 7")

    model = find_model(str(tmp_path))

    assert [file.path.stem for file in model.files] == ["b2", "a1"]
    assert model.weights == ((1.0, 0.0), (0.5, 1.0))
    assert model.segment_s == 7
    assert demucs_weights(_settings(tmp_path))[0] == recipe


def test_a_folder_with_one_file_of_weights_needs_no_recipe(tmp_path: Path) -> None:
    _touch(tmp_path / "only.safetensors")

    assert demucs_weights(_settings(tmp_path)) == (tmp_path / "only.safetensors",)


@pytest.mark.parametrize("files", [(), ("a.safetensors", "b.safetensors")])
def test_a_folder_that_could_mean_several_models_or_none_is_refused(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    _touch(*(tmp_path / file for file in files))

    with pytest.raises(StageBlocked, match="exactly one"):
        find_model(str(tmp_path))


def test_of_several_recipes_the_one_named_like_the_folder_counts(tmp_path: Path) -> None:
    _touch(tmp_path / "a1.safetensors")
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("models: ['a1']")

    with pytest.raises(StageBlocked, match=r"one\.yaml, two\.yaml"):
        find_model(str(tmp_path))

    named = tmp_path / f"{tmp_path.name}.yaml"
    named.write_text("models: ['a1']")
    assert find_model(str(tmp_path)).recipe == named


def test_a_recipe_whose_weights_are_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("models: ['955717e8']")

    with pytest.raises(StageBlocked, match=r"955717e8\.safetensors"):
        find_model(str(tmp_path))


@pytest.mark.parametrize(
    "recipe",
    [
        "models: ['../secret']",
        "models: ['/etc/passwd']",
        "models: [12345678]",
        "models: []",
        "models: a1",
        "weights: [[1]]",
        "- models",
        "",
        "models: ['a1'\n",
        "models: ['a1']\nmodel: 3",
        "models: ['a1']\nweights: [[.nan]]",
        "models: ['a1']\nweights: [[-1]]",
        "models: ['a1']\nweights: [[1], [1]]",
        "models: ['a1']\nweights: [[]]",
        "models: ['a1']\nsegment: 1.0e+9",
        "models: ['a1']\nsegment: .inf",
        "models: ['a1']\nsegment: true",
        "models: !!python/object/apply:os.system ['true']",
        "models: ['a1'] # " + "x" * 70_000,
        "[" * 60_000,
    ],
    ids=lambda recipe: recipe[:50],
)
def test_a_hostile_recipe_is_refused_and_named(tmp_path: Path, recipe: str) -> None:
    folder = tmp_path / "model"
    _touch(folder / "a1.safetensors", tmp_path / "secret.safetensors")
    (folder / "mine.yaml").write_text(recipe)

    with pytest.raises(StageBlocked, match=r"mine\.yaml"):
        find_model(str(folder))


def test_a_recipe_without_pyyaml_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("models: ['a1']")
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(StageBlocked) as blocked:
        find_model(str(tmp_path))

    assert 'pip install "nightshift[separation]"' in blocked.value.remedy


def test_settings_of_another_stage_are_a_mistake_of_the_caller() -> None:
    other: StageSettings = LoudnessSettings()

    with pytest.raises(TypeError, match="LoudnessSettings"):
        demucs_weights(other)


def test_finding_weights_imports_nothing_heavy() -> None:
    script = (
        "import sys, json, stages.weights, stages.device\n"
        "print(json.dumps(sorted(set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
    )

    assert not {"torch", "numpy", "yaml", "demucs", "soundfile"} & set(json.loads(done.stdout))
