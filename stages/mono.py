"""One channel at one rate, made of whatever is decoded, a block at a time."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from stages.downmix import to_mono
from stages.growing import Growing

PEAK_OF_SILENCE = 1e-6
"""-120 dBFS, linear."""


class MonoSink(ABC):
    """A sink that hears the mean of left and right at one rate.

    Mixed down by `to_mono` first and resampled then, which is the same and costs less. soxr's
    stream gives the very samples of its one-shot function, whatever the blocks.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.count = 0
        self.peak = 0.0  # of the one channel, linear
        self.peak_of_all = 0.0  # of all channels, up to where `peak` is above `PEAK_OF_SILENCE`

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        self.channels = channels
        self.count, self.peak, self.peak_of_all = 0, 0.0, 0.0
        self._stream = None
        if sample_rate_hz != self.sample_rate_hz:
            self._stream = soxr.ResampleStream(
                sample_rate_hz, self.sample_rate_hz, 1, dtype="float32", quality="HQ"
            )
        expected = (expected_frames or 0) * self.sample_rate_hz // sample_rate_hz
        # One more may come, as soxr rounds. What does not come takes no memory.
        self.start(expected + 1 if expected_frames else 0)

    def add(self, block: NDArray[np.float32]) -> None:
        if self.peak <= PEAK_OF_SILENCE:
            self.peak_of_all = max(self.peak_of_all, _magnitude(block))
        mono = to_mono(block.T)
        self._pass_on(mono if self._stream is None else self._stream.resample_chunk(mono))

    def end(self) -> None:
        if self._stream is not None:
            self._pass_on(self._stream.resample_chunk(np.empty(0, np.float32), last=True))
        self.finish()

    def _pass_on(self, mono: NDArray[np.float32]) -> None:
        if len(mono):
            self.count += len(mono)
            self.peak = max(self.peak, _magnitude(mono))
            self.take(mono)

    @abstractmethod
    def start(self, expected: int) -> None:
        """Make ready, perhaps anew. About so many samples will come; 0 where nobody knows."""

    @abstractmethod
    def take(self, mono: NDArray[np.float32]) -> None:
        """Take the next samples, shape `(n,)`, n at least 1. Their memory may be used again."""

    @abstractmethod
    def finish(self) -> None:
        """Learn that this was all."""


class WholeMono(MonoSink):
    """Keeps all of it: `samples`, shape `(samples,)`."""

    @staticmethod
    @functools.cache
    def at(sample_rate_hz: int) -> Callable[[], WholeMono]:
        """Return the kind of sink for one rate, always the same object."""
        return functools.partial(WholeMono, sample_rate_hz)

    def start(self, expected: int) -> None:
        self._rows = Growing((), np.float32, expected)

    def take(self, mono: NDArray[np.float32]) -> None:
        self._rows.add(mono)

    def finish(self) -> None:
        self.samples: NDArray[np.float32] = self._rows.joined()


def _magnitude(samples: NDArray[np.float32]) -> float:
    # Not abs(): that would write a copy of everything only to read it once.
    return float(max(samples.max(initial=0.0), -samples.min(initial=0.0)))
