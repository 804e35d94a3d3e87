"""One track on its way through the networks: its segments out, its stems in, in order."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.base import Tick, no_tick
from stages.demucs_loader import DemucsModel
from stages.engine.mix_window import MixWindow
from stages.engine.quality import Residual
from stages.engine.segments import Cutting, Segment
from stages.engine.view import View
from stages.mix import Mix

_MAX_SHIFT_S = 0.5

_numbers = itertools.count()


@dataclass(frozen=True, eq=False)
class Song:
    """A mix to be separated.

    Args:
        id: the caller's name for it.
        mix: stereo, at the model's rate.
        seed: decides the shifts: the hash of the file's bytes.
        tick: called with the seconds done, after each segment.
    """

    id: int
    mix: Mix
    seed: bytes = b""
    tick: Tick = no_tick


@dataclass(frozen=True)
class Plan:
    """What every song goes through: the networks of a model, each so many times shifted.

    Args:
        triangles: the weights of each network's overlap-add, on the device.
        shares: what each network counts for each source, `(sources, 1, 1)`, and `totals` their
            sums; there, too, since to bring them later is to wait for the device.
        shifts: how often each network sees the song, each time moved by up to half a second; the
            mean is taken. 0 is once and not moved.
    """

    model: DemucsModel
    cuttings: tuple[Cutting, ...]
    triangles: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]
    totals: Tensor
    shifts: int = 0

    @classmethod
    def of(
        cls, model: DemucsModel, cuttings: Sequence[Cutting], device: str, *, shifts: int = 0
    ) -> Plan:
        """Return the plan of a model whose stems are added up on a device."""
        rows = model.bag.weights
        totals = [math.fsum(column) for column in zip(*rows, strict=True)]
        return cls(
            model,
            tuple(cuttings),
            tuple(cutting.weights().to(device) for cutting in cuttings),
            tuple(torch.tensor(row, device=device)[:, None, None] for row in rows),
            torch.tensor(totals, device=device)[:, None, None],
            shifts,
        )

    def delays(self, song: Song) -> list[int]:
        """Return by how many samples of silence a song is delayed each time."""
        longest = int(_MAX_SHIFT_S * self.model.sample_rate_hz)
        return [longest - offset(song.seed, number, longest) for number in range(self.shifts)] or [
            0
        ]


def offset(seed: bytes, number: int, longest: int) -> int:
    """Return one of Demucs' random offsets, 0 to `longest`: the same for the same seed."""
    digest = hashlib.sha256(seed + b"shift" + str(number).encode()).digest()
    return int.from_bytes(digest, "big") % (longest + 1)


@dataclass(frozen=True)
class Row:
    """One segment as a network takes it: normalised samples `(2, segment.taken)`, on the CPU.

    `number` counts the rows of all songs.
    """

    number: int
    passing: Passing
    view: View
    segment: Segment
    samples: NDArray[np.float32]

    @property
    def is_last(self) -> bool:
        """Whether nothing of its view comes after it."""
        return self.segment.offset + self.view.cutting.stride >= self.view.samples


class Passing:
    """A song under way: rows for the networks, and stems as far as all views have come."""

    def __init__(self, song: Song, plan: Plan) -> None:
        self.song = song
        self.on_cpu = False  # the device has no room for even one segment
        self.ended = False
        self._plan = plan
        self._mix = song.mix
        self._window = MixWindow(song.mix)
        self._views = [
            View(network, delay, song.mix.samples, cutting, plan.triangles[network])
            for network, cutting in enumerate(plan.cuttings)
            for delay in plan.delays(song)
        ]
        self._rows = self._cut_rows()
        self.given = 0  # samples of stems
        self.residual = Residual()

    def close(self) -> None:
        """Let go of the mix; no rows come any more."""
        self.ended = True
        self._rows.close()
        self._window.close()

    def next_row(self) -> Row | None:
        """Return the next row, None when there is none left.

        Raises:
            TrackUnusable: the mix cannot be read on.
        """
        return None if self.ended else next(self._rows, None)

    def _cut_rows(self) -> Generator[Row, None, None]:
        while open_views := [view for view in self._views if not view.is_cut]:
            # In step with each other, or the ones ahead would fill the memory.
            view = min(open_views, key=lambda view: view.needed)
            segment = view.next()
            piece = self._window.cut(segment.first - view.delay, segment.taken)
            self._window.forget(min(self.given, *(view.needed for view in self._views)))
            self._normalise(piece, segment.first - view.delay)
            yield Row(next(_numbers), self, view, segment, piece)
        self._window.finish()

    def _normalise(self, piece: NDArray[np.float32], first: int) -> None:
        """Subtract the mean and divide, inside of the mix only: beyond its ends stays silence."""
        inside = piece[:, max(0, -first) : max(0, self._mix.samples - first)]
        inside -= np.float32(self._mix.mean)
        inside /= np.float32(self._mix.std)

    def add(self, row: Row, stems: Tensor) -> None:
        """Take what a network gave for a row."""
        row.view.add(row.segment, stems, is_last=row.is_last)
        computed = sum(view.computed for view in self._views)
        self.song.tick(self._mix.duration_s * computed / sum(view.samples for view in self._views))

    @property
    def has_rows(self) -> bool:
        """Whether rows are left to be handed out."""
        return not self.ended and not all(view.is_cut for view in self._views)

    @property
    def is_done(self) -> bool:
        """Whether all stems were given."""
        return self.given >= self._mix.samples

    def ready(self) -> tuple[Tensor, NDArray[np.float32]] | None:
        """Return the next stems `(sources, 2, samples)` and the mix under them, if there are any.

        Both are full scale and the caller's own.
        """
        samples = min(view.final_samples for view in self._views)
        if not samples:
            return None
        stems = self._merged(samples)
        stems.mul_(self._mix.std).add_(self._mix.mean)
        under = self._window.cut(self.given, samples)
        self.given += samples
        return stems, under

    def _merged(self, samples: int) -> Tensor:
        """Return the weighted mean of all views, in the order and with the rounding of Demucs."""
        by_network: list[Tensor] = []
        for network in range(len(self._plan.cuttings)):
            views = [view for view in self._views if view.network == network]
            by_network.append(_mean([view.take(samples) for view in views]))
        return _weighted(by_network, self._plan)


def _mean(views: Sequence[Tensor]) -> Tensor:
    total = views[0]
    for view in views[1:]:
        total = total + view
    return total / len(views) if len(views) > 1 else total


def _weighted(stems: Sequence[Tensor], plan: Plan) -> Tensor:
    if len(stems) == 1 and all(weight == 1 for weight in plan.model.bag.weights[0]):
        return stems[0]
    total: Tensor | None = None
    for network, share in zip(stems, plan.shares, strict=True):
        part = network * share
        total = part if total is None else total + part
    assert total is not None
    return total / plan.totals
