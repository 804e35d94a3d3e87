"""How far MusiCNN's values, as the stage `tagging` gives them, are from Essentia's own calls.

    python -m benchmarks.tags recordings/ models/

For both backends and on the same samples: tags, and embeddings over the largest of them, of every
patch; what heads say in the mean, over its size. Then what becomes of the tags where Essentia's
documentation loads a file, with a linear resampler.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import essentia
import essentia.standard as es
import numpy as np

from stages.base import TrackUnusable, no_tick
from stages.decode import decode
from stages.families import MUSICNN, RATE_HZ
from stages.predictions import LoadedFamily, Predicted
from stages.settings import TaggingSettings
from stages.tagging_models import FamilyFiles, chosen_models

essentia.log.infoActive = False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("models", type=Path)
    asked = parser.parse_args()
    (files,) = chosen_models(TaggingSettings(), asked.models)
    backends = {
        name: LoadedFamily(files, backend=name, device="cpu") for name in ("onnx", "essentia")
    }
    theirs = Calls(files)
    print(f"{MUSICNN.backbone} with {', '.join(files.heads) or 'no heads'}")
    for file in sorted(path for path in asked.recordings.iterdir() if path.is_file()):
        try:
            mono = decode(os.fsencode(file)).audio.mono(RATE_HZ)
        except TrackUnusable:
            continue
        expected = theirs(mono)
        for name, models in backends.items():
            print(f"{file.name:24} {name:9} {_apart(_ours(models, mono), expected)}")
        linear = theirs(es.MonoLoader(filename=str(file), sampleRate=RATE_HZ, resampleQuality=4)())
        print(
            f"{file.name:24} resampled linearly: tags in the mean {_means_apart(linear, expected):.1e}"
        )


class Calls:
    """Essentia's own calls, each with its graph loaded once."""

    def __init__(self, files: FamilyFiles) -> None:
        graph = str(files.backbone.path)
        self._tags, self._embeddings = (
            es.TensorflowPredictMusiCNN(graphFilename=graph, output=output)
            for output in (files.backbone.predictions, files.backbone.embeddings)
        )
        self._heads = {
            name: es.TensorflowPredict2D(
                graphFilename=str(head.path), input=head.input, output=head.predictions
            )
            for name, head in files.heads.items()
        }

    def __call__(self, mono: np.ndarray) -> Predicted:
        """Return what they say of samples at 16 kHz."""
        embeddings = self._embeddings(mono)
        heads = {name: call(embeddings) for name, call in self._heads.items()}
        return Predicted(self._tags(mono), embeddings, heads)


def _ours(models: LoadedFamily, mono: np.ndarray) -> Predicted:
    sink = models.sink()
    sink.begin(sample_rate_hz=RATE_HZ, channels=1, expected_frames=len(mono))
    sink.add(mono[:, np.newaxis])
    sink.end()
    return sink.predicted(no_tick)


def _apart(found: Predicted, expected: Predicted) -> str:
    assert found.predictions is not None
    assert expected.predictions is not None
    tags = np.abs(found.predictions - expected.predictions).max()
    embeddings = np.abs(found.embeddings - expected.embeddings).max()
    said = [f"tags {tags:.1e}", f"embeddings {embeddings / np.abs(expected.embeddings).max():.1e}"]
    for name, rows in expected.heads.items():
        means = rows.mean(axis=0)
        far = np.abs(found.heads[name].mean(axis=0) - means) / np.abs(means)
        said.append(f"{name} {far.max():.1e}")
    return ", ".join(said)


def _means_apart(found: Predicted, expected: Predicted) -> float:
    assert found.predictions is not None
    assert expected.predictions is not None
    return float(np.abs(found.predictions.mean(axis=0) - expected.predictions.mean(axis=0)).max())


if __name__ == "__main__":
    main()
