"""MusiCNN: tags and embeddings of a source, and what heads make of the embeddings.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019;
the graphs of Alonso-Jiménez and others, "TensorFlow audio models in Essentia", ICASSP 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import essentia.standard as es
import numpy as np
from essentia import Pool
from numpy.typing import NDArray

from stages.base import StageBlocked, Tick
from stages.essentia_models import GraphFile, ImportedModels

RATE_HZ = 16_000
PATCH_FRAMES = 187
PATCH_HOP_FRAMES = 93
PATCH_S = 3.0  # 187 frames of 512 samples every 256

_FRAME_SAMPLES = 512
_HOP_SAMPLES = 256
_BANDS = 96
_BATCH_PATCHES = 64  # as Essentia's own call; bounds the memory, whatever the length


@dataclass(frozen=True)
class Predicted:
    """What the models say of each patch of 3 s: a row each, one every 1.488 s."""

    tags: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    heads: Mapping[str, NDArray[np.float32]]

    @property
    def times_s(self) -> NDArray[np.float64]:
        """When each patch begins."""
        patches = np.arange(len(self.tags), dtype=np.float64)
        return patches * PATCH_HOP_FRAMES * _HOP_SAMPLES / RATE_HZ


class Musicnn:
    """The graphs, loaded once.

    Raises:
        StageBlocked: a file is no graph, or has not the nodes of its description.
    """

    def __init__(self, models: ImportedModels) -> None:
        backbone = models.backbone
        assert backbone.embeddings is not None
        self._backbone = backbone
        self._predict = _graph(backbone, [backbone.predictions, backbone.embeddings])
        self._heads = {
            name: (head, _graph(head, [head.predictions])) for name, head in models.heads.items()
        }
        self._mel = es.TensorflowInputMusiCNN()
        self._check_classes()

    def _check_classes(self) -> None:
        """Hold the outputs for a patch of nothing against the descriptions."""
        nothing = np.zeros((1, PATCH_FRAMES, _BANDS), np.float32)
        found = _run(self._predict, self._backbone.input, nothing)
        _check_width(self._backbone, found[self._backbone.predictions])
        for head, graph in self._heads.values():
            embeddings = found[str(self._backbone.embeddings)]
            _check_width(head, _run(graph, head.input, embeddings)[head.predictions])

    def predict(self, mono: NDArray[np.float32], tick: Tick) -> Predicted:
        """Return what the models say of a source at 16 kHz; no rows where it is shorter than 3 s.

        Equal to Essentia's own `TensorflowPredictMusiCNN`, with both outputs from one pass.
        """
        tags: list[NDArray[np.float32]] = []
        embeddings: list[NDArray[np.float32]] = []
        done = 0
        for patches in self._batches(mono):
            found = _run(self._predict, self._backbone.input, patches)
            tags.append(found[self._backbone.predictions])
            embeddings.append(found[str(self._backbone.embeddings)])
            done += len(patches)
            tick(done * PATCH_HOP_FRAMES * _HOP_SAMPLES / RATE_HZ)
        if not tags:
            none = np.zeros((0, 0), np.float32)
            return Predicted(none, none, dict.fromkeys(self._heads, none))
        joined = np.concatenate(embeddings)
        return Predicted(
            np.concatenate(tags),
            joined,
            {
                name: _run(graph, head.input, joined)[head.predictions]
                for name, (head, graph) in self._heads.items()
            },
        )

    def _batches(self, mono: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Give the mel bands in patches, shape `(patches, 187, 96)`; a rest is left out."""
        # The first frame is centred on the first sample, as in Essentia's own call.
        frames = es.FrameGenerator(
            mono, frameSize=_FRAME_SAMPLES, hopSize=_HOP_SAMPLES, startFromZero=False
        )
        mel: list[NDArray[np.float32]] = []
        enough = PATCH_FRAMES + PATCH_HOP_FRAMES * (_BATCH_PATCHES - 1)
        for frame in frames:
            mel.append(self._mel(frame))
            if len(mel) == enough:
                yield _patches(mel)
                del mel[: PATCH_HOP_FRAMES * _BATCH_PATCHES]
        if len(mel) >= PATCH_FRAMES:
            yield _patches(mel)


def _patches(mel: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    rows = np.stack(mel)
    starts = range(0, len(rows) - PATCH_FRAMES + 1, PATCH_HOP_FRAMES)
    return np.stack([rows[start : start + PATCH_FRAMES] for start in starts])


def _graph(model: GraphFile, outputs: list[str]) -> es.TensorflowPredict:
    try:
        return es.TensorflowPredict(
            graphFilename=str(model.path), inputs=[model.input], outputs=outputs, squeeze=True
        )
    except RuntimeError as error:
        raise StageBlocked(
            f"{model.path} cannot be loaded: {error}",
            f"Get it again (pipeline models fetch {model.path.stem}, if it is of the catalogue), or "
            "take it away",
        ) from error


def _check_width(model: GraphFile, rows: NDArray[np.float32]) -> None:
    if rows.shape[1] != len(model.classes):
        raise StageBlocked(
            f"{model.path} gives {rows.shape[1]} values, and its description names "
            f"{len(model.classes)} classes",
            "Get both anew, or take both away",
        )


def _run(
    graph: es.TensorflowPredict, input_node: str, batch: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Return each output for a batch, shape `(rows, classes)`."""
    pool = Pool()
    # Always four dimensions; those of one are taken out again before they reach the graph.
    pool.set(input_node, batch.reshape(len(batch), 1, -1, batch.shape[-1]))
    found = graph(pool)
    return {name: found[name].reshape(len(batch), -1) for name in found.descriptorNames()}
