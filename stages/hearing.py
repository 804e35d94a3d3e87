"""Sinks that hear the same samples at once, each for itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from traceback import clear_frames
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.collect import Sink


class Hearing:
    """A sink, and how it fared: its error is for those who want it, not for its neighbours."""

    def __init__(self, sink: Any) -> None:
        self.seconds = 0.0
        self._sink = sink
        self._error: Exception | None = None

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._sink

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        self._error = None
        self._do(
            lambda: self._sink.begin(
                sample_rate_hz=sample_rate_hz, channels=channels, expected_frames=expected_frames
            )
        )

    def add(self, block: NDArray[np.float32]) -> None:
        self._do(lambda: self._sink.add(block))

    def end(self) -> None:
        self._do(self._sink.end)

    def _do(self, call: Callable[[], None]) -> None:
        if self._error is not None:
            return
        began = time.perf_counter()
        try:
            call()
        except Exception as error:
            clear_frames(error.__traceback__)  # or what it held would stay as long as the error
            self._error = error
        self.seconds += time.perf_counter() - began


class Together:
    """Lets several sinks hear the same."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        for sink in self._sinks:
            sink.begin(
                sample_rate_hz=sample_rate_hz, channels=channels, expected_frames=expected_frames
            )

    def add(self, block: NDArray[np.float32]) -> None:
        for sink in self._sinks:
            sink.add(block)

    def end(self) -> None:
        for sink in self._sinks:
            sink.end()
