"""How far MusiCNN's tags, as the stage `essentia` gives them, are from Essentia's own call.

    python -m benchmarks.tags recordings/ models/

On the same samples, by the tags' names; and on what Essentia's own loader makes of each file.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import essentia.standard as es
import numpy as np
from numpy.typing import NDArray

from stages.base import TrackUnusable, no_tick
from stages.decode import decode
from stages.essentia_models import BACKBONE, imported_models, slug
from stages.musicnn import RATE_HZ, Musicnn
from stages.settings import EssentiaSettings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("models", type=Path)
    asked = parser.parse_args()
    models = imported_models(EssentiaSettings(models="musicnn"), asked.models)
    assert models is not None
    ours = Musicnn(models)
    graph = str(asked.models / f"{BACKBONE}.pb")
    theirs = es.TensorflowPredictMusiCNN(graphFilename=graph, output=models.backbone.predictions)
    classes = json.loads((asked.models / f"{BACKBONE}.json").read_text())["classes"]

    def apart(found: dict[str, float], rows: NDArray[np.float32]) -> float:
        means = rows.mean(axis=0)
        return max(
            abs(found[slug(name)] - float(m)) for name, m in zip(classes, means, strict=True)
        )

    for file in sorted(path for path in asked.recordings.iterdir() if path.is_file()):
        try:
            mono = decode(os.fsencode(file)).audio.mono(RATE_HZ)
        except TrackUnusable:
            continue
        means = ours.predict(mono, no_tick).tags.mean(axis=0)
        found = {
            slug(name): float(m) for name, m in zip(models.backbone.classes, means, strict=True)
        }
        loaded = es.MonoLoader(filename=str(file), sampleRate=RATE_HZ)()
        print(
            f"{file.name:28} same samples {apart(found, theirs(mono)):.1e}, "
            f"Essentia's own loader {apart(found, theirs(loaded)):.1e}"
        )


if __name__ == "__main__":
    main()
