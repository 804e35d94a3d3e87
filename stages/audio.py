"""Decoded samples and the views of them that several stages share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
import soxr
from numpy.typing import NDArray

from stages.downmix import to_mono

View = TypeVar("View")


class Audio:
    """Samples of one source, with every view of them computed at most once.

    Args:
        samples: float32, shape `(channels, samples)`, full scale ±1, all finite. May exceed ±1.
        sample_rate_hz: rate of `samples`.
    """

    def __init__(self, samples: NDArray[np.float32], sample_rate_hz: int) -> None:
        self.samples = samples
        self.sample_rate_hz = sample_rate_hz
        self._views: dict[Hashable, Any] = {}
        self._lock = threading.RLock()  # a view may be made from another one

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1] / self.sample_rate_hz)

    def at_rate(self, sample_rate_hz: int) -> NDArray[np.float32]:
        """Return the samples at another rate, shape `(channels, samples)`.

        soxr at quality HQ, the one converter of all stages, so that their numbers match. Length is
        `round(samples * new / old)`, within one sample. Empty stays empty.
        """
        if sample_rate_hz == self.sample_rate_hz:
            return self.samples
        return self.once(
            ("at_rate", sample_rate_hz), lambda: self._resampled(self.samples, sample_rate_hz)
        )

    def mono(self, sample_rate_hz: int) -> NDArray[np.float32]:
        """Return one channel at a rate, shape `(samples,)`: the mean of left and right.

        Mixed down by `to_mono` first and resampled then, which is the same and costs less.
        """
        return self.once(
            ("mono", sample_rate_hz),
            lambda: self._resampled(to_mono(self.samples)[np.newaxis], sample_rate_hz)[0],
        )

    def once(self, name: Hashable, make: Callable[[], View]) -> View:
        """Return the view of this name, made at the first call and kept as long as the audio.

        Treat it as read-only: other stages get the same object.
        """
        with self._lock:
            if name not in self._views:
                self._views[name] = make()
            view: View = self._views[name]
            return view

    def _resampled(self, samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
        if sample_rate_hz == self.sample_rate_hz:
            return samples
        frames = np.ascontiguousarray(samples.T)
        converted = soxr.resample(frames, self.sample_rate_hz, sample_rate_hz, quality="HQ")
        return np.ascontiguousarray(converted.T, dtype=np.float32)
