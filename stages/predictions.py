"""What a family of models says of a source, patch by patch, as the source is heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stages.base import Tick, no_tick
from stages.families import RATE_HZ, Family
from stages.graphs.backends import Backend
from stages.graphs.loading import load_network
from stages.graphs.network import Network
from stages.log_spectra import LogSpectra
from stages.mono import MonoSink
from stages.tagging_models import FamilyFiles

Rows = NDArray[np.float32]

# At once, where the graph takes any number: more do not stay in a CPU's caches, and are no faster.
_BATCH_PATCHES = 4


@dataclass(frozen=True)
class Predicted:
    """What the models say of each patch, a row each: `predictions` of the backbone's own classes."""

    predictions: Rows | None
    embeddings: Rows
    heads: Mapping[str, Rows]


class LoadedFamily:
    """A backbone and its heads, each loaded once. Gives sinks that use them.

    Raises:
        StageBlocked: a file is no graph, or has not the nodes of its description.
    """

    def __init__(self, files: FamilyFiles, *, backend: Backend, device: str) -> None:
        self.files = files
        self.family: Family = files.family
        patch = np.zeros((1, self.family.patch_frames, self.family.front.bands), np.float32)
        self.backbone: Network = load_network(
            files.backbone, backend=backend, device=device, batch=self.family.batch, like=patch
        )
        embeddings = self.backbone.run(patch)[str(files.backbone.embeddings)]
        self.heads: dict[str, Network] = {
            name: load_network(head, backend=backend, device=device, batch=None, like=embeddings)
            for name, head in files.heads.items()
        }
        self.batch = self.backbone.batch or _BATCH_PATCHES
        self._nothing = self.look(patch)

    @property
    def any_thread(self) -> bool:
        """Whether any thread may use it."""
        return all(one.any_thread for one in (self.backbone, *self.heads.values()))

    def runtimes(self) -> dict[str, str]:
        """Return what runs each model."""
        networks = (self.backbone, *self.heads.values())
        return {
            graph.path.stem: network.runtime
            for graph, network in zip(self.files.graphs, networks, strict=True)
        }

    def look(self, patches: Rows) -> Predicted:
        """Return what is said of patches of shape `(patches, frames, bands)`."""
        backbone = self.files.backbone
        found = self.backbone.run(patches)
        embeddings = found[str(backbone.embeddings)]
        return Predicted(
            found[backbone.predictions] if backbone.predictions else None,
            embeddings,
            {
                name: network.run(embeddings)[str(self.files.heads[name].predictions)]
                for name, network in self.heads.items()
            },
        )

    def nothing(self) -> Predicted:
        """Return what is said of no patch at all."""
        found = self._nothing
        return Predicted(
            found.predictions[:0] if found.predictions is not None else None,
            found.embeddings[:0],
            {name: rows[:0] for name, rows in found.heads.items()},
        )

    def sink(self) -> Predictions:
        """Return a sink that hears one source."""
        return Predictions(self)


class Predictions(MonoSink):
    """Makes patches of what it hears and shows them to the models, at once or when it is asked to.

    A rest shorter than a patch is left out, as in Essentia's own calls. Batches begin at the same
    patch however the source is cut into blocks, so that the last bits are the same.
    """

    def __init__(self, models: LoadedFamily) -> None:
        super().__init__(RATE_HZ)
        self._models = models
        self._family = models.family

    def start(self, expected: int) -> None:
        self._spectra = LogSpectra(self._family.front)
        self._held: list[Rows] = []
        self._held_rows = 0
        self._found: list[Predicted] = []
        self._patches = 0

    def take(self, mono: NDArray[np.float32]) -> None:
        self._hold(self._spectra.add(mono))
        if self._models.any_thread and self._held_rows >= self._rows_of(self._models.batch):
            self._show(no_tick, all_of_it=False)

    def finish(self) -> None:
        self._hold(self._spectra.end())
        if self._models.any_thread:
            self.predicted(no_tick)

    def predicted(self, tick: Tick) -> Predicted:
        """Return what was found in all patches, none in a source shorter than one."""
        if self._held:
            self._show(tick, all_of_it=True)
            self._held, self._held_rows = [], 0
        if not self._found:
            self._found = [self._models.nothing()]
        elif len(self._found) > 1:
            self._found = [_joined(self._found)]
        return self._found[0]

    def times_s(self) -> NDArray[np.float64]:
        """When each patch begins."""
        return np.arange(self._patches, dtype=np.float64) * self._family.hop_s

    def _hold(self, rows: Iterable[Rows]) -> None:
        for few in rows:
            self._held.append(few)
            self._held_rows += len(few)

    def _rows_of(self, patches: int) -> int:
        return self._family.patch_frames + self._family.hop_frames * (patches - 1)

    def _patches_of(self, rows: int) -> int:
        beyond = rows - self._family.patch_frames
        return beyond // self._family.hop_frames + 1 if beyond >= 0 else 0

    def _show(self, tick: Tick, *, all_of_it: bool) -> None:
        """Show whole batches, at last the rest, and keep the rows that patches to come begin with."""
        rows = np.concatenate(self._held)
        hop, batch, shown = self._family.hop_frames, self._models.batch, 0
        patches = self._patches_of(len(rows))
        if not all_of_it:
            patches -= patches % batch
        # Views, a patch each: of an hour there are gigabytes.
        cut = (
            sliding_window_view(rows, self._family.patch_frames, axis=0)[::hop] if patches else rows
        )
        for start in range(0, patches, batch):
            few = cut[start : min(start + batch, patches)]
            self._found.append(self._models.look(few.transpose(0, 2, 1)))
            shown += len(few)
            self._patches += len(few)
            tick(self._patches * self._family.hop_s)
        self._held = [rows[shown * hop :].copy()]
        self._held_rows = len(self._held[0])


def _joined(parts: list[Predicted]) -> Predicted:
    own = [one.predictions for one in parts if one.predictions is not None]
    return Predicted(
        np.concatenate(own) if own else None,
        np.concatenate([one.embeddings for one in parts]),
        {name: np.concatenate([one.heads[name] for one in parts]) for name in parts[0].heads},
    )
