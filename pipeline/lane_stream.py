"""Tracks through a stage that works on several at once: opened ahead, published behind.

Threads open files, the main thread computes, a thread publishes; each track's error is its own.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.lane_inbox import Inbox
from pipeline.lane_publisher import Publisher, Result, Stopwatch, check_source
from pipeline.lane_reports import Reports

if TYPE_CHECKING:
    from pipeline.order import JobOrder, LaneOrder, WorkOrder
    from stages.base import Opened, Outcome, Piece, StreamStage

# Opened and not yet taken, beside those that are being opened: each holds at most one decoded song.
_OPENED_AHEAD = 2
_PUBLISHED_BEHIND = 2


@dataclass
class _Opening:
    """An order with its opened source, or with what went wrong on the way; `taken` when it was."""

    order: WorkOrder
    source: Opened | None
    error: Exception | None = None
    taken: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True)
class _Computed:
    """What is known of a track whose source is let go of."""

    order: WorkOrder
    flags: tuple[str, ...]
    duration_s: float


class Stream:
    """Serves one stage until told to stop; tracks that it has taken by then are finished."""

    def __init__(
        self,
        stage: StreamStage[Any, Any],
        order: LaneOrder,
        publisher: Publisher,
        reports: Reports,
    ) -> None:
        self._stage = stage
        self._order = order
        self._publisher = publisher
        self._reports = reports
        self._opened: queue.Queue[_Opening | None] = queue.Queue(_OPENED_AHEAD)
        self._through: queue.Queue[Callable[[], None] | None] = queue.Queue(_PUBLISHED_BEHIND)
        self._taken: dict[int, _Opening] = {}
        self._over = False
        self._openers = stage.opens
        self._counting = threading.Lock()

    def serve(self, inbox: Inbox) -> None:
        """Open, compute and publish until told to stop."""
        for _ in range(self._stage.opens):
            threading.Thread(target=self._open_all, args=(inbox,), daemon=True).start()
        publishing = threading.Thread(target=self._publish_all, daemon=True)
        publishing.start()
        last = Stopwatch()
        for outcome in self._stage.stream(lambda wait: self._take(inbox, wait)):
            opening = self._taken.pop(outcome.key)
            # Tracks share the device: this one's time began with it, or with the end of another.
            timings, last = min(opening.taken, last, key=Stopwatch.wall_s).timings(), Stopwatch()
            # It may wait long for a neighbour that is being published: nobody's hang.
            self._reports.send("computed", unit=outcome.key)
            self._through.put(partial(self._end, _computed(opening), outcome, timings))
        self._through.put(None)
        publishing.join()

    # ---- opening

    def _open_all(self, inbox: Inbox) -> None:
        from pipeline.order import WorkOrder

        while (message := inbox.next()) is not None:
            self._opened.put(self._open(WorkOrder.from_message(message)))
        with self._counting:
            self._openers -= 1
            is_last = not self._openers
        if is_last:
            self._opened.put(None)

    def _open(self, order: WorkOrder) -> _Opening:
        from stages.decode import DecodeLimits

        tick = self._reports.ticker(order.unit, "decode")
        limits = DecodeLimits(**self._order.limits.model_dump())
        try:
            check_source(order)
            source = self._stage.open(os.fsencode(order.path), limits=limits, tick=tick)
            check_source(order)
        except Exception as error:
            return _Opening(order, None, error)
        self._reports.send("decoded", unit=order.unit)
        return _Opening(order, source)

    # ---- computing

    def _take(self, inbox: Inbox, wait: bool) -> Piece[Any] | None:
        """Return the next track that could be opened, as `Take` says."""
        while not self._over:
            try:
                opening = self._opened.get(block=wait)
            except queue.Empty:
                return None
            self._over = opening is None or inbox.stopped.is_set()
            if opening is not None and not self._over:
                piece = self._begun(opening)
                if piece is not None:
                    return piece
        return None

    def _begun(self, opening: _Opening) -> Piece[Any] | None:
        from stages.base import Piece

        order, job = opening.order, _job(opening.order)
        try:
            if opening.error is not None:
                raise opening.error
            folder = self._publisher.begin(job)
        except Exception as error:
            self._fail(order, error)
            return None
        opening.taken = Stopwatch()
        self._taken[order.unit] = opening
        assert opening.source is not None
        tick = self._reports.ticker(order.unit, job.stage)
        return Piece(order.unit, order.sha256, opening.source, folder, tick)

    # ---- publishing

    def _publish_all(self) -> None:
        while (end := self._through.get()) is not None:
            end()

    def _end(self, track: _Computed, outcome: Outcome, timings: dict[str, float]) -> None:
        order, job = track.order, _job(track.order)
        self._reports.ticker(order.unit, "publish")
        try:
            result = Result(outcome.finish(), track.flags, track.duration_s, timings)
            self._publisher.publish(order, job, self._stage, result)
        except Exception as error:
            self._fail(order, error)
            return
        self._publisher.clear(job)
        self._reports.send("finished", unit=order.unit)

    def _fail(self, order: WorkOrder, error: Exception) -> None:
        job = _job(order)
        self._publisher.failed(order.unit, job, error)
        self._publisher.clear(job)
        self._reports.send("finished", unit=order.unit)


def _computed(opening: _Opening) -> _Computed:
    assert opening.source is not None
    return _Computed(opening.order, opening.source.flags, opening.source.duration_s)


def _job(order: WorkOrder) -> JobOrder:
    """Return the one job of an order: a stream stage has its lane for itself."""
    (job,) = order.jobs
    return job
