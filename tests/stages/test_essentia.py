from __future__ import annotations

import json
import shutil
from pathlib import Path

import essentia.standard as es
import numpy as np
import pytest

from stages import essentia_models
from stages.audio import Audio
from stages.base import StageBlocked, no_tick
from stages.essentia import Essentia
from stages.essentia_models import essentia_weights, slug
from stages.measure import Measured
from stages.outputs import Missing
from stages.settings import EssentiaSettings
from stages.silence import SILENCE
from tests.stages.frozen_graphs import write_backbone, write_head
from tests.stages.sounds import clicks, noise, scaled, song

SHARED = Path(__file__).parents[3] / "shared" / "models"
TAGS = ("rock", "Hip-Hop", "female vocalists", "80s")

needs_real_weights = pytest.mark.skipif(
    not (SHARED / "msd-musicnn-1.pb").is_file(), reason="the real MusiCNN is not here"
)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are kept, empty."""
    monkeypatch.setattr(essentia_models, "models_folder", lambda: tmp_path)
    folder = tmp_path / "essentia"
    folder.mkdir()
    return folder


def _measured(audio: Audio, models: str = "none") -> Measured:
    stage = Essentia(EssentiaSettings.model_validate({"models": models}))
    stage.load()
    return stage.measure(audio, no_tick)


# ---- without models


def test_the_descriptors_are_those_of_essentia_on_the_same_samples() -> None:
    audio = song()
    mono = audio.mono(44_100)

    found = _measured(audio).features

    bpm, beats, confidence, *_ = es.RhythmExtractor2013(method="multifeature")(mono)
    key, scale, strength = es.KeyExtractor()(mono)
    complexity_db, loudness_db = es.DynamicComplexity()(mono)
    assert found == {
        "danceability": pytest.approx(es.Danceability()(mono)[0]),
        "key": {"Ab": "G#", "Bb": "A#", "Eb": "D#"}.get(key, key),
        "scale": scale,
        "key_strength": pytest.approx(strength),
        "tempo_bpm": pytest.approx(bpm),
        "tempo_confidence": pytest.approx(confidence),
        "beat_count": len(beats),
        "dynamic_complexity_db": pytest.approx(complexity_db),
        "loudness_db": pytest.approx(loudness_db),
    }


def test_clicks_give_their_tempo_with_confidence() -> None:
    found = _measured(clicks([0.5 * number for number in range(1, 40)], seconds=20.0)).features

    assert found["tempo_bpm"] == pytest.approx(120.0, rel=0.01)
    assert float(str(found["tempo_confidence"])) > 1.5


def test_a_gain_moves_the_loudness_by_as_much_and_not_the_key() -> None:
    audio = song()

    loud, soft = _measured(audio).features, _measured(scaled(audio, 0.5)).features

    assert loud["loudness_db"] == pytest.approx(float(str(soft["loudness_db"])) + 6.02, abs=0.1)
    assert loud["key"] == soft["key"]


# ---- models


def test_without_models_nothing_is_blocked_unless_they_are_asked_for(models: Path) -> None:
    assert essentia_weights(EssentiaSettings()) == ()
    with pytest.raises(StageBlocked, match=r"msd-musicnn-1\.pb is not there.*models fetch"):
        essentia_weights(EssentiaSettings(models="musicnn"))


def test_tags_and_heads_are_what_their_graphs_compute(models: Path) -> None:
    first, second = write_backbone(models, TAGS)
    head = write_head(models, "mood_happy", ("happy", "non happy"))
    audio = noise(seconds=8.0)

    found = _measured(audio, "imported")

    embeddings, tags = found.series["musicnn_embeddings"], found.series["musicnn_tags"]
    assert embeddings.shape == (4, 200)  # 8 s: patches begin at 0, 1.488, 2.976 and 4.464 s
    np.testing.assert_allclose(found.series["musicnn_times_s"], 1.488 * np.arange(4))
    np.testing.assert_allclose(tags, 1 / (1 + np.exp(-embeddings @ second)), rtol=1e-4)
    for name, value in zip(TAGS, tags.mean(axis=0), strict=True):
        assert found.features[f"tag_{slug(name)}"] == pytest.approx(float(value))
    logits = embeddings @ head
    likely = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).mean(axis=0)
    assert found.features["mood_happy_happy"] == pytest.approx(float(likely[0]), rel=1e-3)
    assert found.features["mood_happy_non_happy"] == pytest.approx(float(likely[1]), rel=1e-3)
    assert first.shape == (96, 200)


def test_the_weights_are_graphs_and_descriptions_of_the_backbone_and_its_own_heads(
    models: Path,
) -> None:
    write_backbone(models, TAGS)
    write_head(models, "danceability", ("danceable", "not_danceable"))
    write_head(models, "other", ("a", "b"), of="another-backbone")
    write_head(models, "half", ("a", "b"))
    (models / "half-msd-musicnn-1.json").unlink()

    names = [path.name for path in essentia_weights(EssentiaSettings())]

    assert names == [
        "msd-musicnn-1.pb", "msd-musicnn-1.json",
        "danceability-msd-musicnn-1.pb", "danceability-msd-musicnn-1.json",
    ]  # fmt: skip


def test_classes_that_differ_in_more_than_letters_and_digits_become_one_word() -> None:
    assert slug("Hip-Hop") == "hip_hop"
    assert slug("female vocalists") == "female_vocalists"
    assert slug("80s") == "80s"


def test_a_source_shorter_than_a_patch_has_no_tags_and_says_why(models: Path) -> None:
    write_backbone(models, TAGS)

    found = _measured(noise(seconds=2.0), "imported")

    assert found.features["tag_rock"] == Missing("shorter than 3 s")
    assert found.series["musicnn_embeddings"].size == 0


def test_a_long_source_is_predicted_in_batches_as_in_one(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_backbone(models, TAGS)
    audio = noise(seconds=14.0)
    at_once = _measured(audio, "imported")

    monkeypatch.setattr("stages.musicnn._BATCH_PATCHES", 3)
    in_batches = _measured(audio, "imported")

    assert len(at_once.series["musicnn_tags"]) == 8
    np.testing.assert_allclose(
        at_once.series["musicnn_tags"], in_batches.series["musicnn_tags"], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.with_suffix(".json").unlink(), r"msd-musicnn-1\.json.* is not there"),
        (lambda file: file.with_suffix(".json").write_text("{"), "is no JSON"),
        (lambda file: file.with_suffix(".json").write_text("[]"), "is no description"),
        (lambda file: file.with_suffix(".json").write_text("{}"), "does not say its schema"),
        (lambda file: file.write_bytes(b"no graph"), "cannot be loaded"),
        (lambda file: file.write_bytes(file.read_bytes()[:-400]), "cannot be loaded"),
    ],
)
def test_a_model_that_is_not_whole_blocks_the_stage_with_its_name(
    models: Path, spoil: object, said: str
) -> None:
    write_backbone(models, TAGS)
    spoil(models / "msd-musicnn-1.pb")  # type: ignore[operator]

    with pytest.raises(StageBlocked, match=said):
        _measured(noise(), "musicnn")


def test_a_graph_without_its_description_counts_as_missing(models: Path) -> None:
    write_backbone(models, TAGS)
    (models / "msd-musicnn-1.json").unlink()

    assert essentia_weights(EssentiaSettings()) == ()
    assert "tag_rock" not in _measured(noise(), "imported").features


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

    assert len(essentia_weights(EssentiaSettings())) == 2


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
        _measured(noise(), "imported")


def test_silence_has_no_tags_however_long_it_is(models: Path) -> None:
    write_backbone(models, TAGS)
    write_head(models, "mood_happy", ("happy", "non_happy"))

    found = _measured(scaled(noise(seconds=8.0), 0.0), "imported").features

    assert {found["tag_rock"], found["mood_happy_happy"], found["danceability"]} == {SILENCE}


# ---- the real MusiCNN


@needs_real_weights
@pytest.mark.parametrize(("seed", "seconds"), [(1, 13.0), (4, 3.1)])
def test_real_tags_and_embeddings_are_those_of_essentias_own_call(
    models: Path, seed: int, seconds: float
) -> None:
    for name in ("msd-musicnn-1.pb", "msd-musicnn-1.json"):
        shutil.copy(SHARED / name, models / name)
    audio = song(seed, seconds=seconds)

    found = _measured(audio, "imported")

    graph, mono = str(models / "msd-musicnn-1.pb"), audio.mono(16_000)
    tags = es.TensorflowPredictMusiCNN(graphFilename=graph, output="model/Sigmoid")(mono)
    classes = json.loads((models / "msd-musicnn-1.json").read_text())["classes"]
    for name, value in zip(classes, tags.mean(axis=0), strict=True):
        assert found.features[f"tag_{slug(name)}"] == pytest.approx(float(value), abs=1e-3)
    embeddings = es.TensorflowPredictMusiCNN(graphFilename=graph, output="model/dense/BiasAdd")(
        mono
    )
    np.testing.assert_allclose(found.series["musicnn_embeddings"], embeddings, rtol=1e-3, atol=1e-3)
