"""What a script does that asks Essentia's models about files, as Essentia's documentation has it.

    python -P -m pipeline.bench.tagging_calls <way> <families> <out> <file>…

Way `each-by-itself` loads every graph for every file, as a function per file does; `loaded-once`
loads each once. Either has a call for the backbone's predictions, another for its embeddings, and
one for each head: what `TensorflowPredict…` gives is one output. Writes `<out>/<file's name>.npz`
under the names that our stage gives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import essentia
import essentia.standard as es
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from pipeline.bench.feature_ways import Way
from stages.settings import TaggingSettings
from stages.tagging_models import FamilyFiles, chosen_models, prefix_of, slug

essentia.log.infoActive = False

Rows: TypeAlias = NDArray[np.float32]
Call: TypeAlias = Callable[[Rows], Rows]

_CALLS = {
    "musicnn": es.TensorflowPredictMusiCNN,
    "vggish": es.TensorflowPredictVGGish,
    "effnet": es.TensorflowPredictEffnetDiscogs,
}


class Models:
    """The calls of one family, each with its graph loaded."""

    def __init__(self, files: FamilyFiles) -> None:
        self._files = files
        backbone = files.backbone
        predict, graph = _CALLS[files.family.name], str(backbone.path)

        def asked(output: str) -> Call:
            call: Call = predict(graphFilename=graph, input=backbone.input, output=output)
            return call

        self._embeddings = asked(str(backbone.embeddings))
        self._predictions = asked(backbone.predictions) if backbone.predictions else None
        self._heads: dict[str, Call] = {
            name: es.TensorflowPredict2D(
                graphFilename=str(head.path), input=head.input, output=head.predictions
            )
            for name, head in files.heads.items()
        }

    def values(self, mono: Rows, number: int) -> Iterator[tuple[str, Rows]]:
        """Give what is said of a file, by our names."""
        family = self._files.family
        embeddings = self._embeddings(mono)
        yield f"{family.name}_embeddings", embeddings
        if self._predictions is not None:
            yield f"{family.name}_{family.predictions}s", self._predictions(mono)
        for name, call in self._heads.items():
            means = call(embeddings).mean(axis=0)
            for one, value in zip(self._files.heads[name].classes, means, strict=True):
                yield f"{prefix_of(family.name, number)}{slug(name)}_{slug(one)}", value


def _mono(file: Path) -> Rows:
    # Not `MonoLoader`: as the documentation calls it, it resamples linearly, and gives other values.
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    mono: Rows = soxr.resample(samples.mean(axis=1), rate, 16_000)
    return mono


def main() -> None:
    """Ask about every file."""
    way, families, out, *files = sys.argv[1:]
    settings = TaggingSettings.model_validate({"families": families.split(",")})
    chosen = chosen_models(settings)
    Path(out).mkdir(parents=True)
    loaded = [] if way == Way.EACH_BY_ITSELF else [Models(one) for one in chosen]
    for file in map(Path, files):
        mono = _mono(file)
        models = loaded or [Models(one) for one in chosen]
        values = {
            name: value
            for number, one in enumerate(models)
            for name, value in one.values(mono, number)
        }
        np.savez(Path(out) / f"{file.name}.npz", **values)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
