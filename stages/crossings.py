"""Zero crossings of each frame of a source that comes in blocks: librosa's numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.growing import Growing
from stages.stft import FRAME_SAMPLES, HOP_SAMPLES

_HOPS = FRAME_SAMPLES // HOP_SAMPLES
_SMALLEST = 1e-10  # librosa's: what is nearer to zero is taken for zero, which counts as positive


class Crossings:
    """Counts the changes of sign, hop by hop."""

    def __init__(self) -> None:
        self._held = np.empty(0, dtype=np.bool_)  # signs of samples of a hop that is not whole
        # Of each hop: changes of sign from each of its samples to the next, and that of the last.
        self._hops = Growing((2,), np.int16)
        self._samples = 0

    def add(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples of one channel."""
        self._samples += len(samples)
        self._count(np.concatenate([self._held, samples < -_SMALLEST]))

    def _count(self, negative: NDArray[np.bool_]) -> None:
        hops = max(0, len(negative) - 1) // HOP_SAMPLES
        used = negative[: hops * HOP_SAMPLES + 1]
        changes = (used[1:] != used[:-1]).reshape(hops, HOP_SAMPLES)
        self._hops.add(np.stack([changes.sum(axis=1), changes[:, -1]], axis=1))
        self._held = negative[hops * HOP_SAMPLES :]

    def shares(self) -> NDArray[np.float64]:
        """Return the changes of sign in each frame over its length, shape `(frames,)`.

        As `librosa.feature.zero_crossing_rate`: beyond both ends the first and the last sample
        go on.
        """
        if not self._samples:
            return np.zeros(0)
        frames = 1 + self._samples // HOP_SAMPLES
        self._count(np.concatenate([self._held, np.repeat(self._held[-1], FRAME_SAMPLES)]))
        counts = self._hops.joined().astype(np.int64)
        before = np.zeros((_HOPS // 2, 2), np.int64)
        padded = np.concatenate([before, counts])[: frames + _HOPS - 1]
        sums = np.convolve(padded[:, 0], np.ones(_HOPS, np.int64), mode="valid")[:frames]
        # The change that leads out of a frame is none of its own.
        shares: NDArray[np.float64] = (sums - padded[_HOPS - 1 :, 1]) / FRAME_SAMPLES
        return shares
