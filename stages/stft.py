"""The short-time Fourier transform of a source in blocks that stay in the caches: librosa's numbers.

Frames of 2,048 samples every 512, Hann window, frames centred on their times with zeros beyond both
ends: the defaults of librosa 0.11, which most published descriptors were made with. Its window is
float64 and so is its transform; in float32 a spectral contrast moves by up to 5.5 dB.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft
import scipy.signal
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FRAME_SAMPLES = 2048
HOP_SAMPLES = 512
BINS = 1 + FRAME_SAMPLES // 2

# 32 frames are 0.5 MB in float64: with their spectra they stay in the second cache.
_FRAMES_AT_ONCE = 32


class Frames:
    """Cuts samples that come in blocks into overlapping frames, the first centred on sample 0."""

    def __init__(self, frame_samples: int = FRAME_SAMPLES, hop_samples: int = HOP_SAMPLES) -> None:
        self._frame, self._hop = frame_samples, hop_samples
        self._held = np.zeros(frame_samples // 2, dtype=np.float32)

    def add(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the frames that are whole with these samples, one a row: a view."""
        held = np.concatenate([self._held, samples])
        frames = max(0, 1 + (len(held) - self._frame) // self._hop)
        self._held = held[frames * self._hop :]
        if not frames:
            return np.empty((0, self._frame), dtype=np.float32)
        return sliding_window_view(held, self._frame)[: frames * self._hop : self._hop]

    def end(self) -> NDArray[np.float32]:
        """Return the frames that reach beyond the last sample."""
        return self.add(np.zeros(self._frame // 2, dtype=np.float32))


def frame_count(samples: int) -> int:
    """Return how many frames so many samples have."""
    return 1 + samples // HOP_SAMPLES


def magnitudes(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield the magnitudes of all frames in order, a few at a time, each of shape `(n, 1025)`.

    Bit for bit those of `np.abs(librosa.stft(samples)).T`, however the samples are cut.

    Args:
        blocks: the samples of one channel, from the first to the last.
    """
    cut = Frames()
    for frames in itertools.chain(map(cut.add, blocks), map(lambda _: cut.end(), range(1))):
        for start in range(0, len(frames), _FRAMES_AT_ONCE):
            windowed = frames[start : start + _FRAMES_AT_ONCE] * _window()
            yield np.abs(scipy.fft.rfft(windowed, axis=1).astype(np.complex64))


@functools.cache
def _window() -> NDArray[np.float64]:
    window: NDArray[np.float64] = scipy.signal.get_window("hann", FRAME_SAMPLES, fftbins=True)
    return window
