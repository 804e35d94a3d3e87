from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.artifacts import replace_json
from pipeline.config import RunConfig, load, load_registry, merged, out_folder
from pipeline.errors import BadUsage
from pipeline.machine import Machine
from stages.base import JsonValue
from stages.settings import LoudnessSettings, SeparationSettings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NIGHTSHIFT_")]:
        monkeypatch.delenv(name)


def _settings_file(dataset: Path, text: str) -> Path:
    out = dataset / "_pipeline"
    out.mkdir(exist_ok=True)
    file = out / "pipeline.toml"
    file.write_text(text, encoding="utf-8")
    return file


def _separation(config: RunConfig) -> SeparationSettings:
    settings = config.stage_settings["separation"]
    assert isinstance(settings, SeparationSettings)
    return settings


def _loudness(config: RunConfig) -> LoudnessSettings:
    settings = config.stage_settings["loudness"]
    assert isinstance(settings, LoudnessSettings)
    return settings


def _load(
    dataset: Path,
    *,
    file: Path | None = None,
    overrides: Mapping[str, JsonValue] | None = None,
    assignments: Sequence[str] = (),
) -> RunConfig:
    return load(
        dataset, file=file, overrides=overrides, assignments=assignments, environment=os.environ
    )


def _refusal(dataset: Path, *assignments: str, file: Path | None = None) -> str:
    with pytest.raises(BadUsage) as refused:
        _load(dataset, file=file, assignments=assignments)
    return str(refused.value)


# ---- which one wins


def test_without_any_settings_the_defaults_hold(tmp_path: Path) -> None:
    config = _load(tmp_path)

    assert _loudness(config) == LoudnessSettings()
    assert _separation(config) == SeparationSettings()
    assert (config.device, config.threads) == ("auto", None)
    assert config.selected == tuple(config.declarations)
    assert (config.dataset, config.out) == (tmp_path, tmp_path / "_pipeline")


@pytest.mark.parametrize(
    ("layers", "overlap"),
    [
        ((), 0.25),
        (("file",), 0.1),
        (("file", "environment"), 0.2),
        (("file", "environment", "set"), 0.3),
        (("file", "set"), 0.3),
        (("environment", "set"), 0.3),
    ],
)
def test_later_settings_win_over_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: tuple[str, ...], overlap: float
) -> None:
    if "file" in layers:
        _settings_file(tmp_path, "[separation]\noverlap = 0.1\n")
    if "environment" in layers:
        monkeypatch.setenv("NIGHTSHIFT_SEPARATION__OVERLAP", "0.2")

    config = _load(tmp_path, assignments=["separation.overlap=0.3"] if "set" in layers else ())

    assert _separation(config).overlap == overlap


def test_each_setting_of_a_stage_is_laid_over_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _settings_file(tmp_path, '[separation]\nmodel = "a"\noverlap = 0.1\ntwo_stems = "vocals"\n')
    monkeypatch.setenv("NIGHTSHIFT_SEPARATION__MODEL", "b")

    config = _load(tmp_path, assignments=["separation.overlap=0.5"])

    assert _separation(config) == SeparationSettings(model="b", overlap=0.5, two_stems="vocals")


def test_settings_that_are_no_stage_s_own_follow_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _settings_file(
        tmp_path,
        'device = "cuda"\nthreads = 2\nstages = ["loudness"]\n[limits]\ngrace_s = 1\nload_s = 9\n',
    )
    monkeypatch.setenv("NIGHTSHIFT_THREADS", "3")
    monkeypatch.setenv("NIGHTSHIFT_LIMITS__GRACE_S", "2")

    config = _load(tmp_path, overrides={"device": "cpu"})

    assert (config.device, config.threads, config.selected) == ("cpu", 3, ("loudness",))
    assert (config.limits.grace_s, config.limits.load_s) == (2, 9)


def test_set_wins_over_an_option_that_says_the_same(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        overrides={"separation": {"model": "option", "two_stems": "vocals"}},
        assignments=["separation.model=assigned"],
    )

    assert _separation(config) == SeparationSettings(model="assigned", two_stems="vocals")


def test_an_empty_variable_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_THREADS", "")

    assert _load(tmp_path).threads is None


def test_the_settings_file_of_the_dataset_is_left_out_when_another_is_named(tmp_path: Path) -> None:
    _settings_file(tmp_path, "threads = 2\n")
    other = tmp_path / "other.toml"
    other.write_text("[separation]\noverlap = 0.5\n")

    config = _load(tmp_path, file=other)

    assert (config.threads, _separation(config).overlap) == (None, 0.5)


def test_the_settings_file_lies_in_the_output_folder_wherever_that_is(tmp_path: Path) -> None:
    dataset, out = tmp_path / "dataset", tmp_path / "out"
    dataset.mkdir()
    out.mkdir()
    (out / "pipeline.toml").write_text("threads = 7\n")

    assert load(dataset, out=out, environment=os.environ).threads == 7


def test_the_environment_that_is_passed_down_is_the_one_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_DEVICE", "rocm")

    config = load(tmp_path, environment={"NIGHTSHIFT_DEVICE": "cpu"})

    assert config.device == "cpu"


def test_the_variable_that_the_documentation_names_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_LOUDNESS__SERIES_HOP_MS", "50")

    assert _loudness(_load(tmp_path)).series_hop_ms == 50


def test_a_variable_takes_the_same_text_as_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_SEPARATION__STEMS", "['vocals']")

    assert _separation(_load(tmp_path)).stems == ("vocals",)


# ---- --set


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("htdemucs", "htdemucs"),
        ('"htdemucs"', "htdemucs"),
        ("'a b'", "a b"),
        ("/models/my model", "/models/my model"),
        ("a=b", "a=b"),
        (" spaced ", "spaced"),
    ],
)
def test_set_takes_plain_words_and_quoted_ones(tmp_path: Path, text: str, model: str) -> None:
    config = _load(tmp_path, assignments=[f"separation.model={text}"])

    assert _separation(config).model == model


def test_set_gives_a_name_as_it_was_written(tmp_path: Path) -> None:
    config = _load(tmp_path, assignments=["separation.model=955717e8"])  # Demucs names files so

    assert _separation(config).model == "955717e8"


def test_set_takes_the_values_of_toml(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        assignments=[
            "loudness.series_hop_ms=50",
            "separation.overlap=5e-1",
            'separation.stems=["vocals", "drums"]',
            "decode.allow_partial=true",
            "limits={grace_s = 3}",
            "threads=4",
        ],
    )

    assert _loudness(config).series_hop_ms == 50
    assert _separation(config) == SeparationSettings(overlap=0.5, stems=("vocals", "drums"))
    assert (config.decode.allow_partial, config.limits.grace_s, config.threads) == (True, 3, 4)


@pytest.mark.parametrize("assignment", ["loudness", "=5", "loudness.=5", ".x=5", "a..b=5", ""])
def test_a_set_without_key_or_value_is_explained_by_an_example(
    tmp_path: Path, assignment: str
) -> None:
    message = _refusal(tmp_path, assignment)

    assert f"--set {assignment}" in message
    assert "loudness.series_hop_ms=50" in message


def test_laying_tables_over_each_other_changes_neither() -> None:
    below: dict[str, JsonValue] = {"a": {"x": 1, "y": 2}, "b": 3}
    above: dict[str, JsonValue] = {"a": {"y": 4}, "b": {"z": 5}}

    both = merged(below, above)

    assert both == {"a": {"x": 1, "y": 4}, "b": {"z": 5}}
    assert below == {"a": {"x": 1, "y": 2}, "b": 3}
    assert above == {"a": {"y": 4}, "b": {"z": 5}}


# ---- what is refused


@pytest.mark.parametrize(
    ("assignment", "setting", "value"),
    [
        ("loudness.volume=11", "loudness.volume", "11"),
        ("lowdness.series_hop_ms=50", "lowdness", "50"),
        ("nights=7", "nights", "7"),
        ("limits.patience_s=5", "limits.patience_s", "5"),
        ("loudness.series_hop_ms=51", "loudness.series_hop_ms", "51"),
        ("loudness=5", "loudness", "5"),
        ("separation.overlap=1.5", "separation.overlap", "1.5"),
        ("separation.overlap=wide", "separation.overlap", "wide"),
        ("separation.model=", "separation.model", "''"),
        ("device=gpu", "device", "gpu"),
        ("device=cuda:x", "device", "cuda:x"),
        ("threads=0", "threads", "0"),
        ("threads=many", "threads", "many"),
        ("decode.max_duration_s=-1", "decode.max_duration_s", "-1"),
        ("limits.load_s=0", "limits.load_s", "0"),
    ],
)
def test_an_unknown_setting_or_impossible_value_is_refused_by_name(
    tmp_path: Path, assignment: str, setting: str, value: str
) -> None:
    message = _refusal(tmp_path, assignment)

    assert f"setting {setting}: " in message
    assert value in message


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    _settings_file(tmp_path, "[loudness]\nseries_hop_ms = 7\n[separation]\noverlap = 8\n")

    message = _refusal(tmp_path)

    assert "loudness.series_hop_ms" in message
    assert "separation.overlap" in message


def test_a_wrong_setting_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = _settings_file(tmp_path, "[loudness]\nvolume = 11\n")

    message = _refusal(tmp_path)

    assert "setting loudness.volume" in message
    assert str(file) in message


@pytest.mark.parametrize(
    ("variable", "value", "setting"),
    [
        ("NIGHTSHIFT_THREADS", "two", "threads"),
        ("NIGHTSHIFT_SEPARATION__OVERLAP", "2", "separation.overlap"),
        ("NIGHTSHIFT_LOUDNESS__VOLUME", "11", "loudness.volume"),
        pytest.param("NIGHTSHIFT_LOUDNESS", "loud", "loudness"),
        pytest.param("NIGHTSHIFT_SEPARATION__STEMS", "vocals", "separation.stems"),
    ],
)
def test_a_wrong_variable_is_refused_by_the_name_of_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, setting: str
) -> None:
    monkeypatch.setenv(variable, value)

    message = _refusal(tmp_path)

    assert f"setting {setting}: " in message
    assert value in message


@pytest.mark.parametrize(
    "variable", ["NIGHTSHIFT_LOWDNESS__SERIES_HOP_MS", "NIGHTSHIFT_NIGHTS", "NIGHTSHIFT_"]
)
def test_a_variable_that_sets_nothing_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "50")

    with pytest.raises(BadUsage, match=rf"{variable} sets nothing.*Settings: .*loudness"):
        _load(tmp_path)


def test_variables_of_other_programs_are_nobody_s_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFTS_DEVICE", "rocm")
    monkeypatch.setenv("DEVICE", "rocm")

    assert _load(tmp_path).device == "auto"


def test_a_stage_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(
        BadUsage,
        match=r"no stage lowdness\. Stages: loudness, onsets, chroma, spectral, tagging, essentia, separation",
    ):
        _load(tmp_path, overrides={"stages": ["loudness", "lowdness"]})


def test_no_stage_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BadUsage, match="Stages: loudness, onsets, chroma, spectral, tagging, essentia, separation"
    ):
        _load(tmp_path, overrides={"stages": []})


def test_stages_are_done_in_the_order_of_the_registry_however_they_are_named(
    tmp_path: Path,
) -> None:
    config = _load(tmp_path, overrides={"stages": ["separation", "loudness", "separation"]})

    assert config.selected == ("loudness", "separation")


def test_a_named_settings_file_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "night.toml"

    assert str(missing) in _refusal(tmp_path, file=missing)


@pytest.mark.parametrize("content", [b"threads = [", b"threads = 1\nthreads = 2", b"\xff\xfe\x00"])
def test_broken_toml_names_the_file(tmp_path: Path, content: bytes) -> None:
    file = _settings_file(tmp_path, "")
    file.write_bytes(content)

    message = _refusal(tmp_path)

    assert message.startswith(f"{file} cannot be read: ")


def test_a_folder_in_place_of_the_settings_file_is_refused_by_name(tmp_path: Path) -> None:
    message = _refusal(tmp_path, file=tmp_path)

    assert message.startswith(f"{tmp_path} cannot be read: ")


@pytest.mark.parametrize(
    "target",
    [
        "nowhere:STAGES",
        "stages:NOTHING",
        "stages",
        pytest.param(""),
        pytest.param(":STAGES"),
    ],
)
def test_a_registry_that_is_not_there_is_refused_by_name(target: str) -> None:
    with pytest.raises(BadUsage, match=f"NIGHTSHIFT_REGISTRY={target}"):
        load_registry(target)


# ---- dataset and output folder


def test_the_output_folder_is_inside_the_dataset_unless_told_otherwise(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"

    assert out_folder(tmp_path, None) == (tmp_path, tmp_path / "_pipeline")
    assert out_folder(tmp_path, elsewhere) == (tmp_path, elsewhere)
    assert not list(tmp_path.iterdir())


def _output_folder(folder: Path, *, of: Path | None = None) -> Path:
    """Make what a run makes first in its output folder."""
    (folder / "tracks").mkdir(parents=True)
    (folder / "ledger.db").touch()
    Machine(folder / "machine.json", dataset=str(of) if of else None).save(replace_json)
    return folder


def test_the_output_folder_stands_for_its_dataset(tmp_path: Path) -> None:
    out = _output_folder(tmp_path / "_pipeline", of=tmp_path)

    assert out_folder(out, None) == (tmp_path, out)


def test_an_output_folder_that_moved_with_its_dataset_still_stands_for_it(tmp_path: Path) -> None:
    out = _output_folder(tmp_path / "_pipeline", of=Path("/before/it/moved"))

    assert out_folder(out, None) == (tmp_path, out)


def test_an_output_folder_elsewhere_stands_for_the_dataset_it_was_made_for(tmp_path: Path) -> None:
    dataset = tmp_path / os.fsdecode(b"dataset \xff")
    dataset.mkdir()
    out = _output_folder(tmp_path / "elsewhere", of=dataset)

    assert out_folder(out, None) == (dataset, out)


@pytest.mark.parametrize("content", [None, "", "{", "null", '{"dataset": null}'])
def test_an_output_folder_that_says_nothing_of_its_dataset_can_still_be_read(
    tmp_path: Path, content: str | None
) -> None:
    out = _output_folder(tmp_path / "elsewhere")
    if content is None:
        (out / "machine.json").unlink()
    else:
        (out / "machine.json").write_text(content)

    assert out_folder(out, None)[1] == out


@pytest.mark.parametrize("there", ["ledger.db", "tracks"])
def test_half_an_output_folder_is_a_dataset(tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir()

    assert out_folder(tmp_path, None) == (tmp_path, tmp_path / "_pipeline")


@pytest.mark.parametrize("out", [".", "album/../..", "link"])
def test_an_output_folder_that_holds_the_dataset_is_refused(tmp_path: Path, out: str) -> None:
    dataset = tmp_path / "dataset"
    (dataset / "album").mkdir(parents=True)
    (dataset / "link").symlink_to(tmp_path)

    with pytest.raises(BadUsage, match="holds the dataset itself"):
        out_folder(dataset, dataset / out)


def test_a_dataset_that_is_merely_called_like_an_output_folder_is_a_dataset(tmp_path: Path) -> None:
    dataset = tmp_path / "_pipeline"
    dataset.mkdir()

    assert out_folder(dataset, None) == (dataset, dataset / "_pipeline")


def test_links_and_dots_lead_to_the_same_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tmp_path / "dataset"
    (dataset / "album").mkdir(parents=True)
    (tmp_path / "link").symlink_to(dataset)
    monkeypatch.chdir(dataset)
    expected = (dataset, dataset / "_pipeline")

    assert out_folder(tmp_path / "link", None) == expected
    assert out_folder(dataset / "album" / "..", None) == expected
    assert out_folder(Path("."), None) == expected


def test_a_relative_output_folder_lies_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    monkeypatch.chdir(tmp_path)

    assert out_folder(dataset, Path("out")) == (dataset, tmp_path / "out")


@pytest.mark.parametrize("name", ["missing", "song.flac", "song.flac/deeper"])
def test_a_dataset_that_is_no_folder_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "song.flac").touch()

    with pytest.raises(BadUsage, match=f"{name} is no folder"):
        out_folder(tmp_path / name, None)
