"""Decoded samples and the views of them that several stages share."""

from __future__ import annotations

import threading

import numpy as np
import soxr
from numpy.typing import NDArray


class Audio:
    """Samples of one source, with every view of them computed at most once.

    Args:
        samples: float32, shape `(channels, samples)`, full scale ±1, all finite. May exceed ±1.
        sample_rate_hz: rate of `samples`.
    """

    def __init__(self, samples: NDArray[np.float32], sample_rate_hz: int) -> None:
        self.samples = samples
        self.sample_rate_hz = sample_rate_hz
        self._at_rate: dict[int, NDArray[np.float32]] = {sample_rate_hz: samples}
        self._lock = threading.Lock()

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
        with self._lock:
            if sample_rate_hz not in self._at_rate:
                self._at_rate[sample_rate_hz] = self._resampled(sample_rate_hz)
            return self._at_rate[sample_rate_hz]

    def _resampled(self, sample_rate_hz: int) -> NDArray[np.float32]:
        frames = np.ascontiguousarray(self.samples.T)
        converted = soxr.resample(frames, self.sample_rate_hz, sample_rate_hz, quality="HQ")
        return np.ascontiguousarray(converted.T, dtype=np.float32)
