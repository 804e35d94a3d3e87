"""The short-time Fourier transform of a source in blocks that stay in the caches: librosa's numbers.

Frames of 2,048 samples every 512, Hann window, frames centred on their times with zeros beyond both
ends: the defaults of librosa 0.11, which most published descriptors were made with. Its window is
float64 and so is its transform; in float32 a spectral contrast moves by up to 5.5 dB.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FRAME_SAMPLES = 2048
HOP_SAMPLES = 512
BINS = 1 + FRAME_SAMPLES // 2

# 32 frames are 0.5 MB in float64: with their spectra they stay in the second cache.
_FRAMES_AT_ONCE = 32


class Frames:
    """Cuts samples that come in blocks into overlapping frames, the first centred on sample 0.

    Args:
        group: how many frames come at once, but for the last: so what is computed of a group is
            the same, bit for bit, however the samples were cut into blocks.
    """

    def __init__(self, frame_samples: int, hop_samples: int, group: int) -> None:
        self._frame, self._hop, self._group = frame_samples, hop_samples, group
        self._held = np.zeros(frame_samples // 2, dtype=np.float32)

    def add(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the groups that are whole with these samples, a frame a row: views."""
        return self._cut(samples, last=False)

    def end(self) -> list[NDArray[np.float32]]:
        """Return the rest, with the frames that reach beyond the last sample."""
        return self._cut(np.zeros(self._frame // 2, dtype=np.float32), last=True)

    def _cut(self, samples: NDArray[np.float32], *, last: bool) -> list[NDArray[np.float32]]:
        held = np.concatenate([self._held, samples])
        count = max(0, 1 + (len(held) - self._frame) // self._hop)
        if not last:
            count -= count % self._group
        self._held = held[count * self._hop :]
        if not count:
            return []
        frames = sliding_window_view(held, self._frame)[: count * self._hop : self._hop]
        return [frames[start : start + self._group] for start in range(0, count, self._group)]


def frame_count(samples: int) -> int:
    """Return how many frames so many samples have."""
    return 1 + samples // HOP_SAMPLES


class Stft:
    """Spectra of samples that come in blocks, a few frames at a time.

    Magnitudes of shape `(n, 1025)`: bit for bit those of `np.abs(librosa.stft(samples)).T`, however
    the samples were cut into blocks.
    """

    def __init__(self) -> None:
        self._cut = Frames(FRAME_SAMPLES, HOP_SAMPLES, _FRAMES_AT_ONCE)
        self._windowed = np.empty((_FRAMES_AT_ONCE, FRAME_SAMPLES))

    def add(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yield what is whole with these samples of one channel, in order."""
        return map(self._transformed, self._cut.add(samples))

    def end(self) -> Iterator[NDArray[np.float32]]:
        """Yield the rest, with the frames that reach beyond the last sample."""
        return map(self._transformed, self._cut.end())

    def _transformed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        windowed = np.multiply(frames, _window(), out=self._windowed[: len(frames)])
        return np.abs(scipy.fft.rfft(windowed, axis=1).astype(np.complex64))


@functools.cache
def _window() -> NDArray[np.float64]:
    # As `scipy.signal.get_window`, to the bit, without the half second that importing it takes.
    turns = np.linspace(-np.pi, np.pi, FRAME_SAMPLES + 1)[:-1]
    return 0.5 + 0.5 * np.cos(turns)
