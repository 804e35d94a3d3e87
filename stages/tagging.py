"""The `tagging` stage: tags, embeddings, moods and styles, by the models of Essentia's makers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import StageBlocked, Tick
from stages.measure import Measured, Measuring
from stages.outputs import Missing, Scalar
from stages.predictions import LoadedFamily, Predicted, Predictions
from stages.settings import TaggingSettings
from stages.silence import silence_of
from stages.tagging_models import (
    FamilyFiles,
    check_bytes,
    chosen_models,
    class_names,
    prefix_of,
)


class Tagging(Measuring[TaggingSettings]):
    """What each family of models says of a source: in the mean, and of each patch."""

    def __init__(self, settings: TaggingSettings, *, device: str = "cpu") -> None:
        super().__init__(settings, device=device)
        self._families: tuple[LoadedFamily, ...] = ()

    def load(self) -> None:
        if self._families:
            return
        chosen = chosen_models(self.settings)
        for files in chosen:
            for graph in files.graphs:
                check_bytes(graph)
        _check_names(chosen)
        self._families = tuple(
            LoadedFamily(files, backend=self.settings.backend, device=self.device)
            for files in chosen
        )
        # The same objects each time: they stand for what is heard.
        self._kinds = tuple(family.sink for family in self._families)
        self.hears = self._kinds
        self.parallel = all(family.any_thread for family in self._families)
        self.decided = {
            "runtimes": {
                model: runtime
                for family in self._families
                for model, runtime in family.runtimes().items()
            }
        }

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        features: dict[str, Scalar] = {}
        series: dict[str, NDArray[np.floating]] = {}
        for number, (family, kind) in enumerate(zip(self._families, self._kinds, strict=True)):
            heard = audio.heard(kind)
            found = heard.predicted(_ticking(tick, number, len(self._families), audio.duration_s))
            values = _means(family, found, _missing(heard, found, family))
            prefix = prefix_of(family.family.name, number)
            features |= {f"{prefix}{name}": value for name, value in values}
            series |= self._series(family, heard, found)
        tick(audio.duration_s)
        return Measured(features, series)

    def _series(
        self, family: LoadedFamily, heard: Predictions, found: Predicted
    ) -> dict[str, NDArray[np.floating]]:
        name = family.family.name
        series: dict[str, NDArray[np.floating]] = {}
        if found.predictions is not None:
            series[f"{name}_{family.family.predictions}s"] = found.predictions
        series[f"{name}_embeddings"] = found.embeddings.astype(self.settings.embeddings)
        series[f"{name}_times_s"] = heard.times_s()
        return series


def _missing(heard: Predictions, found: Predicted, family: LoadedFamily) -> Missing | None:
    if len(found.embeddings) == 0:
        return Missing(f"shorter than a patch of {family.family.patch_s:.3g} s")
    return silence_of(heard)


def _means(
    family: LoadedFamily, found: Predicted, missing: Missing | None
) -> Iterator[tuple[str, Scalar]]:
    """Give the mean over all patches of every class of the backbone, and of every head."""
    rows = [found.predictions] if found.predictions is not None else []
    for names, values in zip(
        class_names(family.files), [*rows, *found.heads.values()], strict=True
    ):
        means = (
            [missing] * len(names) if missing else values.mean(axis=0, dtype=np.float64).tolist()
        )
        yield from zip(names, means, strict=True)


def _ticking(tick: Tick, number: int, families: int, duration_s: float) -> Tick:
    return lambda done_s: tick((number * duration_s + min(done_s, duration_s)) / families)


def _check_names(chosen: Sequence[FamilyFiles]) -> None:
    seen: dict[str, str] = {}
    for number, files in enumerate(chosen):
        prefix = prefix_of(files.family.name, number)
        graphs = [one for one in files.graphs if one.predictions is not None]
        for graph, names in zip(graphs, class_names(files), strict=True):
            for name in names:
                other = seen.setdefault(f"{prefix}{name}", graph.path.name)
                if other != graph.path.name:
                    raise StageBlocked(
                        f"{graph.path} and {other} both give {prefix}{name}",
                        "Rename the class in one of the descriptions, or take one of the two away",
                    )
