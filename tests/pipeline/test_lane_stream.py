"""The time that a lane counts as a track's."""

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
from tests.fakes import FakeSettings, Separation
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
    """A wire that gives one track, after a pause another, then the word to stop."""

    def __init__(self, orders: list[WorkOrder], published: _Published) -> None:
        self._orders, self._published = orders, published

    def messages(self) -> Iterator[Message]:
        for number, order in enumerate(self._orders):
            self._published.wait_for(number)
            time.sleep(number * _PAUSE_S)
            yield order.to_message()
        self._published.wait_for(len(self._orders))
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


def test_waiting_for_a_track_is_no_track_s_work(tmp_path: Path) -> None:
    sandbox, published = Sandbox(tmp_path), _Published(tmp_path)
    wire = cast(Wire, _Supervisor([_order(sandbox, unit) for unit in (0, 1)], published))
    setup = LaneOrder("", str(tmp_path), "", "cpu", 1, 1, "", DecodeSettings(), 0, {})
    stage = Separation(FakeSettings())
    inbox = Inbox()
    listen: Callable[[Wire], Any] = inbox.listen
    threading.Thread(target=listen, args=(wire,), daemon=True).start()

    Stream(stage, setup, cast(Publisher, published), Reports(wire)).serve(inbox)

    assert len(published.wall_s) == 2
    assert max(published.wall_s) < _PAUSE_S * 3 / 4
