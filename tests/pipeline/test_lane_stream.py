"""What a lane does with a stage that works on several tracks at once, in the test's own process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from pipeline.config import DecodeSettings
from pipeline.identity import identity
from pipeline.lane_inbox import Inbox
from pipeline.lane_publisher import Publisher, Result
from pipeline.lane_reports import Reports
from pipeline.lane_stream import Stream
from pipeline.order import JobOrder, LaneOrder, WorkOrder
from pipeline.wire import Message, Wire
from stages.base import Tick, no_tick
from stages.decode import DecodeLimits
from tests.fakes import FakeSettings, Separation, Wave
from tests.sandbox import Sandbox

_PAUSE_S = 2.0


class _Published:
    """Takes what is through instead of a `Publisher`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.wall_s: list[float] = []
        self.arrived = threading.Condition()

    def begin(self, job: JobOrder) -> Path:
        folder = self._root / job.attempt
        folder.mkdir()
        return folder

    def publish(self, order: WorkOrder, job: JobOrder, stage: object, result: Result) -> None:
        with self.arrived:
            self.wall_s.append(result.timings["wall_s"])
            self.arrived.notify_all()

    def clear(self, job: JobOrder) -> None:
        pass

    def wait_for(self, number: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.wall_s) >= number, timeout=30)


class _Supervisor:
    """A wire that gives tracks, each when `before` lets it, then the word to stop."""

    def __init__(
        self, orders: list[WorkOrder], published: _Published, before: Callable[[int], None]
    ) -> None:
        self._orders, self.published, self._before = orders, published, before

    def messages(self) -> Iterator[Message]:
        for number, order in enumerate(self._orders):
            self._before(number)
            yield order.to_message()
        self.published.wait_for(len(self._orders))
        yield {"type": "stop"}
        threading.Event().wait()

    def send(self, message: Message) -> None:
        pass


def _order(sandbox: Sandbox, unit: int) -> WorkOrder:
    name = f"t{unit:02}.wav"
    path = sandbox.dataset / name
    sandbox.add(name, seed=unit)
    job = JobOrder(unit, "separation", "recipe", "fingerprint", f"attempt{unit}")
    found = identity(os.stat(path))
    return WorkOrder(unit, str(path), name, str(unit) * 64, "mix", found, None, {}, (job,))


def _serve(stage: Separation, wire: _Supervisor, root: Path) -> None:
    setup = LaneOrder("", str(root), "", "cpu", 1, 1, "", DecodeSettings(), 0, {})
    inbox = Inbox()
    listen: Callable[[Wire], Any] = inbox.listen
    threading.Thread(target=listen, args=(wire,), daemon=True).start()
    reports = Reports(cast(Wire, wire))
    Stream(stage, setup, cast(Publisher, wire.published), reports).serve(inbox)


def test_waiting_for_a_track_is_no_track_s_work(tmp_path: Path) -> None:
    """The second comes when the first is through, after a pause."""
    sandbox, published = Sandbox(tmp_path), _Published(tmp_path)

    def before(number: int) -> None:
        published.wait_for(number)
        time.sleep(number * _PAUSE_S)

    orders = [_order(sandbox, unit) for unit in (0, 1)]

    _serve(Separation(FakeSettings()), _Supervisor(orders, published, before), tmp_path)

    assert len(published.wall_s) == 2
    assert max(published.wall_s) < _PAUSE_S * 3 / 4


class _Together(Separation):
    """Opens a file only when as many others are being opened as there may be."""

    opens = 3

    def __init__(self) -> None:
        super().__init__(FakeSettings())
        self._all = threading.Barrier(self.opens)

    def open(self, path: bytes, *, limits: DecodeLimits, tick: Tick = no_tick) -> Wave:
        self._all.wait(timeout=30)
        return super().open(path, limits=limits, tick=tick)


def test_files_are_opened_beside_one_another_where_the_stage_wants_it(tmp_path: Path) -> None:
    sandbox, published = Sandbox(tmp_path), _Published(tmp_path)
    orders = [_order(sandbox, unit) for unit in range(6)]
    wire = _Supervisor(orders, published, lambda number: None)

    _serve(_Together(), wire, tmp_path)

    assert len(published.wall_s) == 6
