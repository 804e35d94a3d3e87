"""Tracks through stages that take one at a time: several tracks side by side, each in a thread.

A worker reads a track and does what may be done in any thread. The main thread does the rest, one
track after the other. With stages of that kind alone the one worker so reads one track ahead.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from traceback import clear_frames
from typing import TYPE_CHECKING, Any

from pipeline.lane_inbox import Inbox
from pipeline.lane_publisher import Publisher, Result, check_source
from pipeline.lane_reports import Reports
from pipeline.lane_room import Room, decoded_bytes

if TYPE_CHECKING:
    from pipeline.artifacts import OutputFolder
    from pipeline.order import JobOrder, LaneOrder, WorkOrder
    from stages.base import Stage, Track
    from stages.collect import Sink

    Kinds = tuple[Callable[[], Sink], ...]


@dataclass(frozen=True)
class _Reading:
    """A work order with its track, or with what went wrong on the way; the seconds it took."""

    order: WorkOrder
    track: Track | None
    flags: tuple[str, ...] = ()
    seconds: float = 0.0
    error: Exception | None = None


class Tracks:
    """Serves the stages of a lane until told to stop; what is not begun then is left."""

    def __init__(
        self,
        stages: Mapping[str, Stage[Any]],
        order: LaneOrder,
        out: OutputFolder,
        publisher: Publisher,
        reports: Reports,
    ) -> None:
        self._stages = stages
        self._order = order
        self._out = out
        self._publisher = publisher
        self._reports = reports
        self._room = Room(order.room_bytes)
        self._parallel = {
            name
            for name, stage in stages.items()
            if order.stages[name].declaration.parallel and stage.parallel
        }
        self._workers = order.tracks_at_once
        self._rest: queue.Queue[tuple[_Reading, Sequence[JobOrder]] | None] = queue.Queue(maxsize=1)
        self._at_work = 0
        self._counting = threading.Lock()

    @property
    def window(self) -> int:
        """How many tracks it wants in its hands: one each worker, and as many that are next."""
        return 2 * self._workers

    def serve(self, inbox: Inbox) -> None:
        """Work until told to stop."""
        for _ in range(self._workers):
            threading.Thread(target=self._work_all, args=(inbox,), daemon=True).start()
        working = self._workers
        while working:
            handed = self._rest.get()
            if handed is None:
                working -= 1
                continue
            order, begun = handed[0].order, len(handed[1]) < len(handed[0].order.jobs)
            if begun or not inbox.stopped.is_set():
                with self._counted():
                    self._do(*handed)
                self._reports.send("finished", unit=order.unit)
            del handed  # and with it the track: now there is room for another one
            self._room.give_back(decoded_bytes(order))

    # ---- a worker

    def _work_all(self, inbox: Inbox) -> None:
        from pipeline.order import WorkOrder

        while (message := inbox.next()) is not None:
            order = WorkOrder.from_message(message)
            self._room.take(decoded_bytes(order))
            if inbox.stopped.is_set() or not self._handed_on(order):  # stopped while it waited
                self._room.give_back(decoded_bytes(order))
        self._rest.put(None)

    def _handed_on(self, order: WorkOrder) -> bool:
        """Read and do what may be done here; say whether the main thread has the rest of it."""
        with self._counted():
            reading = self._read(order)
            here = [job for job in order.jobs if job.stage in self._parallel or reading.error]
            self._do(reading, here)
        rest = [job for job in order.jobs if job not in here]
        if not rest:
            self._reports.send("finished", unit=order.unit)
            return False
        self._reports.send("decoded", unit=order.unit)  # it waits its turn: nobody's hang
        self._rest.put((reading, rest))
        return True

    # ---- reading

    def _read(self, order: WorkOrder) -> _Reading:
        from pipeline.sources import read_sources
        from stages.base import Track
        from stages.decode import DecodeLimits
        from stages.opening import opened

        began = time.perf_counter()
        open_file = partial(
            opened,
            kinds=dict.fromkeys(kind for job in order.jobs for kind in self._kinds(job)),
            limits=DecodeLimits(**self._order.limits.model_dump()),
            tick=self._reports.ticker(order.unit, "decode"),
            # Where half of the threads have nothing to do, a track gets two.
            ahead=2 * self._at_work <= self._workers,
        )
        try:
            check_source(order)
            sources, flags = read_sources(order, self._out, open_file)
            check_source(order)
        except Exception as error:
            clear_frames(error.__traceback__)  # they hold what was read so far
            return _Reading(order, None, error=error)
        self._reports.send("decoded", unit=order.unit)
        seconds = time.perf_counter() - began
        return _Reading(order, Track(order.sha256, sources), flags, seconds)

    def _kinds(self, job: JobOrder) -> Kinds:
        from stages.collect import Collector

        hears = self._stages[job.stage].hears
        return (Collector,) if hears is None else hears

    # ---- computing and publishing

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self._at_work += 1
        try:
            yield
        finally:
            with self._counting:
                self._at_work -= 1

    def _do(self, reading: _Reading, jobs: Sequence[JobOrder]) -> None:
        for job in jobs:
            try:
                if reading.error is not None:
                    raise reading.error
                self._do_one(reading, job)
            except Exception as error:
                self._publisher.failed(reading.order.unit, job, error)
            self._publisher.clear(job)

    def _do_one(self, reading: _Reading, job: JobOrder) -> None:
        order, track = reading.order, reading.track
        assert track is not None
        attempt = self._publisher.begin(job)
        tick = self._reports.ticker(order.unit, job.stage)
        heard_s = self._heard_s(reading, track, job)
        stage, wall, cpu = self._stages[job.stage], time.perf_counter(), time.thread_time()
        facts = stage.run(replace(track, tick=tick), attempt)
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        # The tracks at work share the lane's time: so the jobs' seconds add up to it.
        timings = {"wall_s": (wall + heard_s) / max(self._at_work, 1), "cpu_s": cpu + heard_s}
        result = Result(facts, reading.flags, track.duration_s, timings)
        self._publisher.publish(order, job, stage, result)

    def _heard_s(self, reading: _Reading, track: Track, job: JobOrder) -> float:
        """Return a job's share of the reading: of its sinks, and of the decoding."""
        sharing = Counter(kind for one in reading.order.jobs for kind in self._kinds(one))
        took = {
            kind: sum(audio.hearing_s(kind) for audio in track.sources.values()) for kind in sharing
        }
        own = sum(took[kind] / sharing[kind] for kind in self._kinds(job))
        # Sinks that heard in a thread of their own may have taken more than the whole.
        decoding_s = max(0.0, reading.seconds - sum(took.values()))
        return own + decoding_s / len(reading.order.jobs)
