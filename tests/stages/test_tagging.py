from __future__ import annotations

import json
import shutil
import time
import tracemalloc
from pathlib import Path

import essentia.standard as es
import numpy as np
import pytest

from stages.audio import Audio
from stages.base import StageBlocked, Track, no_tick
from stages.families import EFFNET, FAMILIES, Family
from stages.graphs.loading import load_network
from stages.graphs.onnx_network import providers_for
from stages.measure import Measured
from stages.outputs import Missing
from stages.settings import TaggingSettings
from stages.silence import SILENCE
from stages.tagging import Tagging
from stages.tagging_models import chosen_models, slug, tagging_weights
from tests.stages.frozen_graphs import write_backbone, write_effnet, write_head, write_vggish
from tests.stages.sounds import noise, scaled, song

SHARED = Path(__file__).parents[3] / "shared" / "models"
TAGS = ("rock", "Hip-Hop", "female vocalists", "80s")
STYLES = ("Blues---Boogie Woogie", "Rock---Pop Rock", "Electronic---Dub")

needs_real_weights = pytest.mark.skipif(
    not (SHARED / "msd-musicnn-1.pb").is_file(), reason="the real MusiCNN is not here"
)
each_backend = pytest.mark.parametrize("backend", ["onnx", "essentia"])


def _stage(**settings: object) -> Tagging:
    stage = Tagging(TaggingSettings.model_validate(settings))
    stage.load()
    return stage


def _measured(audio: Audio, **settings: object) -> Measured:
    return _stage(**settings).measure(audio, no_tick)


# ---- what models say


@each_backend
def test_tags_and_heads_are_what_their_graphs_compute(models: Path, backend: str) -> None:
    first, second = write_backbone(models, TAGS)
    head = write_head(models, "mood_happy", ("happy", "non happy"))
    audio = noise(seconds=8.0)

    found = _measured(audio, backend=backend)

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


CALLS = {
    "musicnn": (es.TensorflowPredictMusiCNN, "model/dense/BiasAdd"),
    "vggish": (es.TensorflowPredictVGGish, "model/vggish/embeddings"),
    "effnet": (es.TensorflowPredictEffnetDiscogs, "PartitionedCall:1"),
}


def _write(family: str, folder: Path) -> None:
    if family == "musicnn":
        write_backbone(folder, TAGS)
    elif family == "vggish":
        write_vggish(folder)
    else:
        write_effnet(folder, STYLES)


@each_backend
@pytest.mark.parametrize("family", CALLS)
def test_embeddings_are_those_of_essentias_own_call_patch_by_patch(
    models: Path, family: str, backend: str
) -> None:
    _write(family, models)
    audio = song(seconds=9.0)
    call, output = CALLS[family]

    found = _measured(audio, families=[family], backend=backend)

    graph = str(models / f"{FAMILIES[family].backbone}.pb")
    theirs = call(graphFilename=graph, output=output)(audio.mono(16_000))
    ours = found.series[f"{family}_embeddings"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert len(ours) > 4


def test_both_backends_say_who_they_are(models: Path) -> None:
    write_backbone(models, TAGS)

    runtimes = {
        backend: _stage(backend=backend).decided["runtimes"]
        for backend in ("onnx", "essentia", "auto")
    }

    assert "onnxruntime" in str(runtimes["onnx"])
    assert "CPUExecutionProvider" in str(runtimes["onnx"])
    assert "essentia-tensorflow" in str(runtimes["essentia"])
    assert runtimes["auto"] == runtimes["onnx"]


def test_only_one_thread_at_a_time_may_call_essentia(models: Path) -> None:
    write_backbone(models, TAGS)

    assert _stage(backend="onnx").parallel
    assert not _stage(backend="essentia").parallel


def test_a_graph_that_only_tensorflow_knows_goes_to_essentia(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_backbone(models, TAGS)
    known = _measured(noise(seconds=4.0)).features
    monkeypatch.delitem(
        vars(pytest.importorskip("stages.graphs.onnx_operations"))["OPERATIONS"], "Mean"
    )

    stage = _stage()

    assert "essentia-tensorflow" in str(stage.decided["runtimes"])
    assert stage.measure(noise(seconds=4.0), no_tick).features == pytest.approx(known, abs=1e-5)
    with pytest.raises(StageBlocked, match="operation Mean is not known here"):
        _stage(backend="onnx")


def test_families_side_by_side_say_whose_a_value_is_but_for_the_first(models: Path) -> None:
    for family in FAMILIES:
        _write(family, models)
    write_head(models, "danceability", ("yes", "no"))
    write_head(models, "danceability", ("yes", "no"), of="audioset-vggish-3", width=128)
    write_head(models, "moods", ("calm",), of="discogs-effnet-bs64-1", width=1280, end="Sigmoid")

    found = _measured(song(seconds=5.0), families=["effnet", "musicnn", "vggish"])
    alone = _measured(song(seconds=5.0), families=["effnet"])

    assert {"tag_rock", "danceability_yes", "vggish_danceability_yes", "effnet_moods_calm",
            "effnet_style_blues_boogie_woogie"} <= found.features.keys()  # fmt: skip
    assert {"moods_calm", "style_rock_pop_rock"} <= alone.features.keys()
    assert not any(name.startswith(("tag_", "effnet_")) for name in alone.features)
    assert found.series["effnet_styles"].shape == (4, 3)
    assert found.series["vggish_embeddings"].shape == (5, 128)
    assert "vggish_sounds" not in found.series


def test_only_the_heads_that_are_asked_for_are_loaded(models: Path) -> None:
    write_backbone(models, TAGS)
    for name in ("mood_happy", "mood_sad"):
        write_head(models, name, ("a", "b"))

    found = _measured(noise(seconds=4.0), heads=["mood_sad"]).features

    assert "mood_sad_a" in found
    assert "mood_happy_a" not in found
    names = [path.name for path in tagging_weights(TaggingSettings(heads=()))]
    assert names == ["msd-musicnn-1.pb", "msd-musicnn-1.json"]


def test_embeddings_in_half_precision_take_half_the_room(models: Path, tmp_path: Path) -> None:
    write_backbone(models, TAGS)
    audio, sizes, found = noise(seconds=30.0), {}, {}
    for kind in ("float32", "float16"):
        out = tmp_path / kind
        out.mkdir()
        _stage(embeddings=kind).run(Track("0" * 64, {"mix": audio}), out)
        sizes[kind] = (out / "frames.npz").stat().st_size
        with np.load(out / "frames.npz") as frames:
            found[kind] = frames["mix.musicnn_embeddings"]
            assert frames["mix.musicnn_tags"].dtype == np.float32

    assert found["float16"].dtype == np.float16
    assert found["float32"].dtype == np.float32
    np.testing.assert_allclose(found["float16"], found["float32"], rtol=1e-3)
    assert sizes["float16"] < 0.6 * sizes["float32"]


@each_backend
def test_a_long_source_is_seen_in_batches_as_in_one(
    models: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_backbone(models, TAGS)
    audio = noise(seconds=14.0)
    found = []
    for batch in (100, 3):
        monkeypatch.setattr("stages.predictions._BATCH_PATCHES", batch)
        found.append(_measured(audio, backend=backend).series["musicnn_tags"])

    assert [len(tags) for tags in found] == [8, 8]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_graph_is_shown_patches_as_they_come_bit_for_bit_as_of_the_whole(
    models: Path, family: Family
) -> None:
    _write(family.name, models)
    stage = _stage(families=[family.name])
    mono = song(seconds=12.0).mono(16_000)
    assert stage.hears is not None
    found = []
    for block in (len(mono), 997):
        sink = stage.hears[0]()
        sink.begin(sample_rate_hz=16_000, channels=1, expected_frames=None)
        for start in range(0, len(mono), block):
            sink.add(mono[start : start + block, None])
        sink.end()
        found.append(sink.predicted(no_tick).embeddings)  # type: ignore[attr-defined]

    np.testing.assert_array_equal(found[0], found[1])


def test_progress_is_told_up_to_the_end(models: Path) -> None:
    write_backbone(models, TAGS)
    write_vggish(models)
    told: list[float] = []

    stage = _stage(backend="essentia", families=["musicnn", "vggish"])
    stage.measure(noise(seconds=20.0), told.append)

    assert told == sorted(told)
    assert len(told) > 2
    assert told[-1] == 20.0


# ---- odd sounds


@each_backend
@pytest.mark.parametrize(
    ("family", "seconds", "said"),
    [("musicnn", 2.9, "2.99 s"), ("vggish", 0.9, "0.96 s"), ("effnet", 2.0, "2.05 s")],
)
def test_a_source_shorter_than_a_patch_has_no_values_and_says_why(
    models: Path, family: str, seconds: float, said: str, backend: str
) -> None:
    _write(family, models)
    write_head(models, "calm", ("calm",), of=FAMILIES[family].backbone,
               width={"musicnn": 200, "vggish": 128, "effnet": 1280}[family])  # fmt: skip

    found = _measured(noise(seconds=seconds), families=[family], backend=backend)

    assert set(found.features.values()) == {Missing(f"shorter than a patch of {said}")}
    assert "calm_calm" in found.features
    assert found.series[f"{family}_embeddings"].shape[0] == 0
    assert found.series[f"{family}_times_s"].size == 0


def test_one_sample_has_no_values(models: Path) -> None:
    write_backbone(models, TAGS)

    found = _measured(Audio(np.ones((1, 1), np.float32), 44_100)).features

    assert found["tag_rock"] == Missing("shorter than a patch of 2.99 s")


def test_silence_has_no_values_however_long_it_is(models: Path) -> None:
    write_backbone(models, TAGS)
    write_head(models, "mood_happy", ("happy", "non_happy"))

    found = _measured(scaled(noise(seconds=8.0), 0.0)).features

    assert set(found.values()) == {SILENCE}


def test_an_hour_goes_through_in_seconds_and_little_memory(models: Path) -> None:
    """With a graph of nothing much: what is left is what the stage itself does with an hour."""
    write_backbone(models, TAGS)
    (kind,) = _stage(backend="essentia").hears or ()
    sink = kind()
    minute = noise(seconds=60.0).mono(16_000)[:, None]
    sink.begin(sample_rate_hz=16_000, channels=1, expected_frames=60 * len(minute))
    tracemalloc.start()
    for _ in range(60):
        sink.add(minute)
    sink.end()
    began = time.process_time()
    found = sink.predicted(no_tick)  # type: ignore[attr-defined]
    took_s, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(found.embeddings) == 1 + (3600 * 16_000 // 256 + 1 - 187) // 93
    assert took_s < 30  # 2 s; a copy of the rest for every batch took minutes
    assert peak < 500e6  # the rows of an hour are 86 MB, and they are joined once


# ---- where it runs


def test_a_gpu_is_tried_where_the_runtime_was_built_for_one_and_the_cpu_is_last() -> None:
    built_for = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def names(device: str, available: list[str]) -> list[str]:
        return [name for name, _ in providers_for(device, available)]

    assert names("auto", ["CPUExecutionProvider"]) == ["CPUExecutionProvider"]
    assert names("cpu", built_for) == ["CPUExecutionProvider"]
    assert names("auto", built_for) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert names("rocm", ["MIGraphXExecutionProvider"])[0] == "MIGraphXExecutionProvider"
    assert dict(providers_for("cuda:1", built_for))["CUDAExecutionProvider"] == {
        "device_id": "1", "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0",
    }  # fmt: skip
    # MIGraphX knows no such options, and would be left out for them.
    assert dict(providers_for("auto", ["MIGraphXExecutionProvider"])) == {
        "MIGraphXExecutionProvider": {"device_id": "0"}, "CPUExecutionProvider": {},
    }  # fmt: skip


def test_a_graph_of_sixty_four_patches_takes_less_where_it_can(models: Path) -> None:
    write_effnet(models, STYLES)
    (files,) = chosen_models(TaggingSettings(families=("effnet",)), models)

    patch = np.zeros((1, 128, 96), np.float32)
    in_onnx = load_network(
        files.backbone, backend="onnx", device="cpu", batch=EFFNET.batch, like=patch
    )
    in_tensorflow = load_network(
        files.backbone, backend="essentia", device="cpu", batch=EFFNET.batch, like=patch
    )

    assert in_onnx.batch is None
    assert in_tensorflow.batch == 64


# ---- the real MusiCNN


@needs_real_weights
@each_backend
@pytest.mark.parametrize(("seed", "seconds"), [(1, 13.0), (4, 3.1)])
def test_real_tags_embeddings_and_moods_are_those_of_essentias_own_calls(
    models: Path, seed: int, seconds: float, backend: str
) -> None:
    for name in ("msd-musicnn-1.pb", "msd-musicnn-1.json", "emomusic-msd-musicnn-2.pb"):
        shutil.copy(SHARED / name, models / name)
    (models / "emomusic-msd-musicnn-2.json").write_text(json.dumps(EMOMUSIC))
    audio = song(seed, seconds=seconds)

    found = _measured(audio, backend=backend)

    graph, mono = str(models / "msd-musicnn-1.pb"), audio.mono(16_000)
    tags = es.TensorflowPredictMusiCNN(graphFilename=graph, output="model/Sigmoid")(mono)
    classes = json.loads((models / "msd-musicnn-1.json").read_text())["classes"]
    for name, value in zip(classes, tags.mean(axis=0), strict=True):
        assert found.features[f"tag_{slug(name)}"] == pytest.approx(float(value), abs=1e-4)
    embeddings = es.TensorflowPredictMusiCNN(graphFilename=graph, output="model/dense/BiasAdd")(
        mono
    )
    np.testing.assert_allclose(
        found.series["musicnn_embeddings"],
        embeddings,
        rtol=1e-3,
        atol=1e-3 * np.abs(embeddings).max(),
    )
    moods = es.TensorflowPredict2D(
        graphFilename=str(models / "emomusic-msd-musicnn-2.pb"), output="model/Identity"
    )(embeddings)
    for name, value in zip(("valence", "arousal"), moods.mean(axis=0), strict=True):
        assert found.features[f"emomusic_{name}"] == pytest.approx(float(value), rel=1e-4)


EMOMUSIC = {
    "name": "emomusic",
    "classes": ["valence", "arousal"],
    "schema": {
        "inputs": [{"name": "model/Placeholder"}],
        "outputs": [{"name": "model/Identity", "output_purpose": "predictions"}],
    },
    "inference": {"embedding_model": {"model_name": "msd-musicnn-1"}},
}


@needs_real_weights
def test_most_filters_of_the_real_musicnn_are_switched_off() -> None:
    """What makes it fast: were it no longer so, the figures in the documentation were wrong."""
    onnx = pytest.importorskip("onnx")
    from stages.graphs.frozen_graph import read_graph
    from stages.graphs.onnx_graph import onnx_model

    graph = read_graph((SHARED / "msd-musicnn-1.pb").read_bytes())
    model = onnx.load_from_string(
        onnx_model(graph, inputs=["model/Placeholder"], outputs=["model/Sigmoid"]).content
    )
    weights = {one.name: list(one.dims) for one in model.graph.initializer}
    convolutions = [one for one in model.graph.node if one.op_type == "Conv"]
    filters = sorted(weights[one.input[1]][0] for one in convolutions)

    assert filters == sorted([24, 15, 4, 8, 17, 20, 61, 63])
