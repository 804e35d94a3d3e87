"""Which models are there for the stage `tagging`, and what it says of those that are not right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import catalogue
from stages.base import StageBlocked
from stages.graphs import backends
from stages.published import ESSENTIA_MODELS, Kind, PublishedFile, PublishedModel
from stages.settings import TaggingSettings
from stages.tagging import Tagging
from stages.tagging_models import slug, tagging_weights
from tests.stages.frozen_graphs import write_backbone, write_head, write_vggish

TAGS = ("rock", "Hip-Hop", "female vocalists", "80s")

each_backend = pytest.mark.parametrize("backend", ["onnx", "essentia"])


def _stage(**settings: object) -> Tagging:
    stage = Tagging(TaggingSettings.model_validate(settings))
    stage.load()
    return stage


def test_a_backbone_that_is_not_here_blocks_with_the_command_that_brings_it(models: Path) -> None:
    with pytest.raises(
        StageBlocked,
        match=r"weights of msd-musicnn-1 are not .*\n  pipeline models fetch msd-musicnn-1\n",
    ):
        tagging_weights(TaggingSettings())
    with pytest.raises(StageBlocked, match=r"fetch audioset-vggish-3 discogs-effnet-bs64-1"):
        tagging_weights(TaggingSettings(families=("effnet", "vggish")))


def test_a_head_that_is_asked_for_and_not_here_blocks_with_the_command(models: Path) -> None:
    write_backbone(models, TAGS)

    with pytest.raises(StageBlocked, match="pipeline models fetch danceability-msd-musicnn-1"):
        tagging_weights(TaggingSettings(heads=("danceability",)))
    with pytest.raises(StageBlocked, match="no head 'loveliness' for musicnn"):
        tagging_weights(TaggingSettings(heads=("loveliness",)))


def test_a_head_without_its_backbone_blocks_with_the_backbone_s_name(models: Path) -> None:
    write_head(models, "danceability", ("yes", "no"), of="audioset-vggish-3", width=128)

    with pytest.raises(StageBlocked, match="weights of audioset-vggish-3 are not on this machine"):
        tagging_weights(TaggingSettings(families=("vggish",), heads=("danceability",)))


def test_a_backend_that_is_not_installed_blocks_with_the_line_that_installs_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_backbone(models, TAGS)
    monkeypatch.setattr(backends, "_has", lambda name: False)

    for backend, extra in (("auto", "tagging"), ("onnx", "tagging"), ("essentia", "essentia")):
        with pytest.raises(StageBlocked, match=rf"backend is {backend}.*\[{extra}\]"):
            tagging_weights(TaggingSettings.model_validate({"backend": backend}))


def test_a_half_installed_onnx_runtime_leaves_the_work_to_essentia(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_backbone(models, TAGS)
    there = backends._has
    monkeypatch.setattr(backends, "_has", lambda name: name != "onnx" and there(name))

    assert "essentia-tensorflow" in str(_stage().decided["runtimes"])
    with pytest.raises(StageBlocked, match=r"backend is onnx"):
        tagging_weights(TaggingSettings(backend="onnx"))


def test_the_weights_are_graphs_and_descriptions_of_the_backbone_and_its_own_heads(
    models: Path,
) -> None:
    write_backbone(models, TAGS)
    write_vggish(models)
    write_head(models, "danceability", ("danceable", "not_danceable"))
    write_head(models, "other", ("a", "b"), of="audioset-vggish-3", width=128)
    write_head(models, "half", ("a", "b"))
    (models / "half-msd-musicnn-1.json").unlink()

    names = [path.name for path in tagging_weights(TaggingSettings())]

    assert names == [
        "msd-musicnn-1.pb", "msd-musicnn-1.json",
        "danceability-msd-musicnn-1.pb", "danceability-msd-musicnn-1.json",
    ]  # fmt: skip


@pytest.mark.parametrize("which", ["published", "first use"])
def test_bytes_that_are_not_those_of_the_catalogue_block_with_both_hashes(
    models: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_backbone(models, TAGS)
    right = "ab" * 32
    if which == "published":
        file = PublishedFile("msd-musicnn-1.pb", "http://nowhere", right)
        name = "msd-musicnn-1"
        model = PublishedModel(name, Kind.EMBEDDING, "", "essentia", (file,), ESSENTIA_MODELS)
        monkeypatch.setattr(catalogue, "CATALOGUE", {name: model})
    else:
        (models / "msd-musicnn-1.json.sha256").write_text(f"{right}  msd-musicnn-1.json\n")

    with pytest.raises(
        StageBlocked, match=rf"has the SHA-256 [0-9a-f]{{64}}, not {right}.*fetch msd-musicnn-1"
    ):
        _stage()


@each_backend
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda file: file.with_suffix(".json").unlink(),
            "weights of msd-musicnn-1 are not on this machine",
        ),
        (lambda file: file.with_suffix(".json").write_text("{"), "is no JSON"),
        (lambda file: file.with_suffix(".json").write_text("[]"), "is no description"),
        (lambda file: file.with_suffix(".json").write_text("{}"), "does not say its schema"),
        (lambda file: file.write_bytes(b"no graph"), "cannot be loaded"),
        (lambda file: file.write_bytes(file.read_bytes()[:-400]), "cannot be loaded"),
    ],
)
def test_a_model_that_is_not_whole_blocks_the_stage_with_its_name(
    models: Path, spoil: Callable[[Path], object], said: str, backend: str
) -> None:
    write_backbone(models, TAGS)
    spoil(models / "msd-musicnn-1.pb")

    with pytest.raises(StageBlocked, match=said):
        _stage(backend=backend)


def test_a_head_of_another_backbone_s_width_blocks_with_its_name(models: Path) -> None:
    write_backbone(models, TAGS)
    write_head(models, "calm", ("a", "b"), width=128)

    for backend in ("onnx", "essentia", "auto"):
        with pytest.raises(StageBlocked, match=r"calm-msd-musicnn-1\.pb cannot be loaded"):
            _stage(backend=backend)


def test_two_models_that_give_a_value_of_one_name_block_the_stage(models: Path) -> None:
    write_backbone(models, TAGS)
    write_head(models, "tag", ("rock", "other"))

    with pytest.raises(
        StageBlocked, match=r"tag-msd-musicnn-1\.pb and msd-musicnn-1\.pb both give tag_rock"
    ):
        _stage()


def test_of_two_versions_of_a_head_the_higher_is_taken(models: Path) -> None:
    write_backbone(models, TAGS)
    write_head(models, "calm", ("a", "b"))
    for number in (10, 9):
        for suffix in (".pb", ".json"):
            shutil.copy(
                models / f"calm-msd-musicnn-1{suffix}",
                models / f"calm-msd-musicnn-{number}{suffix}",
            )

    names = [path.name for path in tagging_weights(TaggingSettings())]

    assert names[2:] == ["calm-msd-musicnn-10.pb", "calm-msd-musicnn-10.json"]


def test_a_broken_description_of_a_head_that_nobody_asked_for_is_nobody_s_concern(
    models: Path,
) -> None:
    write_backbone(models, TAGS)
    write_head(models, "mine", ("a", "b"))
    (models / "mine-msd-musicnn-1.json").write_text("{")

    assert len(tagging_weights(TaggingSettings(heads=()))) == 2
    with pytest.raises(StageBlocked, match=r"mine-msd-musicnn-1\.json.*Mend it, or take both away"):
        tagging_weights(TaggingSettings())


@pytest.mark.parametrize(
    "inference",
    [None, [], "x", {"embedding_model": "msd-musicnn-1"}, {"embedding_model": {"model_name": 3}}],
)
def test_a_head_whose_description_names_no_backbone_is_left_out(
    models: Path, inference: object
) -> None:
    write_backbone(models, TAGS)
    write_head(models, "mood_happy", ("happy", "non_happy"))
    description = models / "mood_happy-msd-musicnn-1.json"
    description.write_text(
        json.dumps({**json.loads(description.read_text()), "inference": inference})
    )

    assert len(tagging_weights(TaggingSettings())) == 2


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["rock", "pop"], "gives 4 values, and its description names 2 classes"),
        ("rock", "its classes are no list of names"),
        (["a b", "a-b", "c", "d"], "two of its classes have one name"),
    ],
)
def test_classes_that_do_not_fit_the_graph_block_the_stage(
    models: Path, classes: object, said: str
) -> None:
    write_backbone(models, TAGS)
    description = models / "msd-musicnn-1.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "classes": classes}))

    with pytest.raises(StageBlocked, match=said):
        _stage()


@pytest.mark.parametrize(
    ("file", "purpose", "said"),
    [
        ("msd-musicnn-1", "embeddings", "names no output of embeddings"),
        ("calm-msd-musicnn-1", "predictions", "names no output of predictions"),
    ],
)
def test_a_description_without_the_output_that_is_needed_blocks_the_stage(
    models: Path, file: str, purpose: str, said: str
) -> None:
    write_backbone(models, TAGS)
    write_head(models, "calm", ("a", "b"))
    description = models / f"{file}.json"
    description.write_text(description.read_text().replace(f'"{purpose}"', '"nothing"'))

    with pytest.raises(StageBlocked, match=said):
        tagging_weights(TaggingSettings())


def test_a_head_may_name_its_backbone_by_its_address(models: Path) -> None:
    write_backbone(models, TAGS)
    write_head(models, "mood_happy", ("happy", "non_happy"))
    description = models / "mood_happy-msd-musicnn-1.json"
    said = {"embedding_model": {"model_name": "MusiCNN", "link": "https://a/b/msd-musicnn-1.pb"}}
    description.write_text(json.dumps({**json.loads(description.read_text()), "inference": said}))

    assert len(tagging_weights(TaggingSettings())) == 4


def test_classes_that_differ_in_more_than_letters_and_digits_become_one_word() -> None:
    assert slug("Hip-Hop") == "hip_hop"
    assert slug("female vocalists") == "female_vocalists"
    assert slug("80s") == "80s"
    assert slug("Blues---Boogie Woogie") == "blues_boogie_woogie"
