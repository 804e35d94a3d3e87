"""Songs in, stems out: segments of several songs share batches, each song fails alone."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.base import Reason, TrackUnusable
from stages.demucs_loader import DemucsModel
from stages.engine.coming import Coming, Copier
from stages.engine.compute import Compute, NoRoom, Poisoned, is_out_of_memory, raise_if_poisoned
from stages.engine.segments import Cutting
from stages.engine.song import Passing, Plan, Row, Song

logger = logging.getLogger(__name__)

# Network, samples of a row, whether it is computed on the CPU instead: what a batch has in common.
_Kind: TypeAlias = tuple[int, int, bool]

# Called with True when nothing can be done without a song; returns None when none is there, or
# when all are done.
TakeSong: TypeAlias = Callable[[bool], Song | None]


@dataclass(frozen=True, eq=False)
class Stems:
    """Stems of a song, the next in order.

    Args:
        offset: sample of the song at which they begin.
        samples: `(stems, 2, n)`, full scale ±1, which they may exceed. The receiver's own.
        peaks: lowest and highest sample of each stem, `(stems, 2)`.
    """

    song: Song
    offset: int
    samples: NDArray[np.float32]
    peaks: NDArray[np.float32]


@dataclass(frozen=True)
class Separated:
    """All stems of a song were given.

    Args:
        residual_db: energy of the mix minus all its sources against that of the mix; None where a
            source was left out, or one of both is silent.
        batch: segments that were computed at once, at the end.
        on_cpu: the device had no room, and the CPU computed some of it.
    """

    song: Song
    residual_db: float | None
    batch: int
    on_cpu: bool


@dataclass(frozen=True)
class Failed:
    """A song cannot be separated; the stems that were given are void."""

    song: Song
    error: Exception


Event: TypeAlias = Stems | Separated | Failed


class Separator:
    """Separates songs as Demucs' `apply_model` would, each alone, in memory that does not grow.

    Args:
        model: its networks, and which stems it gives.
        compute: runs the networks.
        overlap: of neighbouring segments, 0 to 1.
        shifts: as Demucs': each network sees a song so many times, moved by up to half a second.
    """

    def __init__(
        self, model: DemucsModel, compute: Compute, *, overlap: float = 0.25, shifts: int = 0
    ) -> None:
        self.model = model
        self.compute = compute
        cuttings = tuple(Cutting.of(network, overlap) for network in model.networks)
        self._plan = Plan.of(model, cuttings, compute.device, shifts=shifts)
        given = [model.sources.index(stem) for stem in model.stems]
        self._given = torch.tensor(given, device=compute.device)
        self._gives_all = len(model.stems) == len(model.sources)
        self._songs: list[Passing] = []
        self._rows: dict[_Kind, deque[Row]] = {}
        self._coming: deque[Coming] = deque()
        self._copier = Copier(compute.device)

    def separate(self, songs: Iterable[Song]) -> Iterator[Event]:
        """Separate songs that are all there already, and yield what becomes of them."""
        waiting = iter(songs)
        return self.run(lambda wait: next(waiting, None))

    def run(self, take: TakeSong) -> Iterator[Event]:
        """Yield what becomes of songs until `take(True)` returns None.

        The stems of a song come in order, then exactly one `Separated` or `Failed`. Songs end in
        about the order in which they came. Closing the iterator lets go of all.

        Raises:
            Poisoned: the device has to be left; nothing more can be separated in this process.
        """
        try:
            while True:
                yield from self._fill(take)
                under_way = len(self._coming)
                if any(self._rows.values()):
                    yield from self._compute(self._next_kind())
                    # While a device is at this batch, we are at the one before.
                    is_behind = self.compute.runs_behind
                    yield from self._arrived(under_way if is_behind else len(self._coming))
                elif under_way:
                    yield from self._arrived(under_way)
                else:
                    return
        finally:
            for passing in self._songs:
                passing.close()
            self._songs.clear()
            self._rows.clear()
            self._coming.clear()

    def drop(self, song: Song) -> None:
        """Compute nothing more of a song; no event of it follows."""
        for passing in [passing for passing in self._songs if passing.song is song]:
            self._end(passing)

    # ---- songs to rows

    def _fill(self, take: TakeSong) -> Iterator[Failed]:
        """Cut segments until a batch is full, or there is nothing to cut at this moment."""
        while not any(len(rows) >= self._size(kind) for kind, rows in self._rows.items()):
            passing = next((passing for passing in self._songs if passing.has_rows), None)
            if passing is None:
                song = take(not self._coming and not any(self._rows.values()))
                if song is None:
                    return
                self._songs.append(Passing(song, self._plan))
                continue
            try:
                row = passing.next_row()
            except Exception as error:
                yield self._fail(passing, error)
                continue
            if row is not None:
                self._rows.setdefault(self._kind(row), deque()).append(row)

    def _kind(self, row: Row) -> _Kind:
        return (row.view.network, row.samples.shape[1], row.passing.on_cpu)

    def _size(self, kind: _Kind) -> int:
        """Return the rows of a batch: a shape that no other segment has is computed alone."""
        network, samples, on_cpu = kind
        cutting = self._plan.cuttings[network]
        is_usual = samples == cutting.taken(cutting.length)
        return self.compute.batch if is_usual and not on_cpu else 1

    def _next_kind(self) -> _Kind:
        """Return the kind of the oldest row: the rows of a view have to come in order."""
        return min(self._rows, key=lambda kind: self._rows[kind][0].number)

    # ---- rows to stems

    def _compute(self, kind: _Kind) -> Iterator[Event]:
        waiting, size = self._rows[kind], self._size(kind)
        rows = [waiting.popleft() for _ in range(min(size, len(waiting)))]
        if not waiting:
            del self._rows[kind]
        for row, given in self._results(kind, rows, size):
            if row.passing.ended:
                continue
            if isinstance(given, Exception):
                yield self._fail(row.passing, given)
            else:
                yield from self._overlapped(row, given)

    def _overlapped(self, row: Row, stems: Tensor) -> Iterator[Event]:
        """Add a row's stems to those of its song, and begin to fetch what is final."""
        passing = row.passing
        try:
            passing.add(row, stems)
            if (ready := passing.ready()) is not None:
                self._coming.append(self._begun(passing, *ready))
        except Exception as error:
            lost = self._lost(passing, error)
        else:
            return
        yield lost  # outside of the handler, which holds the frames and all that is in them

    def _begun(self, passing: Passing, stems: Tensor, mix: NDArray[np.float32]) -> Coming:
        given = stems if self._gives_all else stems.index_select(0, self._given)
        peaks = torch.stack([given.amin((1, 2)), given.amax((1, 2))], dim=1)
        total = [stems.sum(0)] if self._gives_all else []
        copy = self._copier.begin([given, peaks, *total])
        return Coming(passing, passing.given - mix.shape[1], mix, copy, is_last=passing.is_done)

    def _results(
        self, kind: _Kind, rows: list[Row], size: int
    ) -> list[tuple[Row, Tensor | Exception]]:
        """Return what each row gave, or why it gave nothing."""
        network, _, on_cpu = kind
        try:
            samples = [row.samples for row in rows]
            given = self.compute(network, samples, batch=size, on_cpu=on_cpu)
        except Poisoned:
            raise
        except Exception as error:
            problem = error
        else:
            return list(zip(rows, given, strict=True))
        # Outside of the handler, and without the frames: they would hold all that a forward made.
        if isinstance(problem, NoRoom):
            return self._with_less_memory(kind, rows, size, problem)
        if len(rows) == 1:
            return [(rows[0], _told(problem))]
        # One of them is the cause: which one shows when each half is computed in this shape.
        problem.__traceback__ = None
        half = len(rows) // 2
        return [
            *self._results(kind, rows[:half], size),
            *self._results(kind, rows[half:], size),
        ]

    def _with_less_memory(
        self, kind: _Kind, rows: list[Row], size: int, problem: Exception
    ) -> list[tuple[Row, Tensor | Exception]]:
        """Compute rows for which there was no room: in smaller batches, at last on the CPU."""
        network, samples, on_cpu = kind
        if size > 1:
            if size <= self.compute.batch:
                self.compute.smaller()
            found = []
            while rows:
                less = self.compute.batch
                found += self._results(kind, rows[:less], less)
                rows = rows[less:]
            return found
        if self.compute.has_cpu and not on_cpu:
            for row in rows:
                row.passing.on_cpu = True
            logger.warning("no room for one segment on %s: the CPU takes it", self.compute.device)
            return self._results((network, samples, True), rows, 1)
        detail = f"separating a segment of {samples} samples on the CPU: {problem}"
        return [(row, TrackUnusable(Reason.MEMORY, detail)) for row in rows]

    # ---- stems to the caller

    def _arrived(self, count: int) -> Iterator[Event]:
        """Yield the first so many of the stems that are coming, and the ends of their songs."""
        for _ in range(count):
            coming = self._coming.popleft()
            if not coming.passing.ended:
                yield from self._given_out(coming)

    def _given_out(self, coming: Coming) -> Iterator[Event]:
        event = self._looked_at(coming)
        yield event
        if coming.is_last and not coming.passing.ended:
            yield self._separated(coming.passing)

    def _looked_at(self, coming: Coming) -> Stems | Failed:
        """Wait for stems, and take note of what they show."""
        passing = coming.passing
        try:
            stems, peaks, *total = coming.copy.wait()
            if not np.isfinite(peaks).all():
                return self._fail(passing, self._not_finite(stems, coming.offset))
            if total:
                passing.residual.add(coming.mix, total[0])
        except Exception as error:
            return self._lost(passing, error)
        return Stems(passing.song, coming.offset, stems, peaks)

    def _separated(self, passing: Passing) -> Event:
        try:
            left = passing.next_row()  # the mix is read to its very end
            assert left is None
        except Exception as error:
            return self._fail(passing, error)
        residual_db = passing.residual.db
        self._end(passing)
        return Separated(passing.song, residual_db, self.compute.batch, passing.on_cpu)

    def _not_finite(self, stems: NDArray[np.float32], offset: int) -> TrackUnusable:
        bad = ~np.isfinite(stems).all(axis=1)  # `(stems, samples)`
        number, first = (int(where[0]) for where in np.nonzero(bad))
        first_s = (offset + first) / self.model.sample_rate_hz
        return TrackUnusable(
            Reason.ERROR,
            f"the model gives samples of {self.model.stems[number]} that are not finite, the first "
            f"at {first_s:.3f} s",
        )

    def _lost(self, passing: Passing, error: Exception) -> Failed:
        """End a song whose stems the device could not add up or give.

        Raises:
            Poisoned: it computes behind our back: what a network did wrong may show only here.
        """
        raise_if_poisoned(error, self.compute.device)
        if is_out_of_memory(error):
            error = TrackUnusable(Reason.MEMORY, f"adding stems up: {error}")
        return self._fail(passing, _told(error))

    def _fail(self, passing: Passing, error: Exception) -> Failed:
        self._end(passing)
        return Failed(passing.song, error)

    def _end(self, passing: Passing) -> None:
        """Forget a song and its rows; those in the batch under way are ignored."""
        passing.close()
        self._songs.remove(passing)
        for kind, rows in list(self._rows.items()):
            kept = deque(row for row in rows if row.passing is not passing)
            if kept:
                self._rows[kind] = kept
            else:
                del self._rows[kind]


def _told(error: Exception) -> Exception:
    """Return an error without its frames, after they were logged: it may outlive what they hold."""
    if not isinstance(error, TrackUnusable):
        # As text: a record that kept the error would keep its frames.
        logger.error("%s", "".join(traceback.format_exception(error)))
    return error.with_traceback(None)
