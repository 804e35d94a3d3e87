"""What a lane tells its supervisor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import cast

from pipeline.wire import Message, Wire
from stages.base import JsonValue

_REPORT_EVERY_S = 0.5


class Reports:
    """Messages to the supervisor, from any thread."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._decided: dict[str, dict[str, JsonValue]] = {}

    def send(self, kind: str, **facts: object) -> None:
        """Send one report; without a supervisor there is nothing left to do."""
        try:
            self._wire.send(cast(Message, {"type": kind, **facts}))
        except OSError:
            os._exit(1)

    def ticker(self, unit: int, phase: str) -> Callable[[float], None]:
        """Return what a stage calls with its seconds done; passed on now and then."""
        self.send("progress", unit=unit, phase=phase, done_s=0.0)
        last = time.monotonic()

        def tick(done_s: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _REPORT_EVERY_S:
                last = now
                self.send("progress", unit=unit, phase=phase, done_s=float(done_s))

        return tick

    def decided(self, stage: str, facts: Mapping[str, JsonValue]) -> None:
        """Tell what a stage decided for this machine, once."""
        if facts and self._decided.get(stage) != facts:
            self._decided[stage] = dict(facts)
            self.send("decided", stage=stage, facts=dict(facts))
