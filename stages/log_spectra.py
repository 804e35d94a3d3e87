"""What the models look at: log-scaled mel spectra of a source at 16 kHz, made as it is heard.

The numbers of Essentia's `TensorflowInputMusiCNN` and `TensorflowInputVGGish`, without Essentia: many
frames at once, and beside other work, for Essentia holds the GIL. Found by trying windows, scales and
norms until both agreed; a test holds them together. Sources: Pons and Serra, "musicnn", ISMIR 2019;
Hershey and others, "CNN architectures for large-scale audio classification", ICASSP 2017.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from stages.families import MUSICNN_FRONT, RATE_HZ, Front
from stages.filter_banks import mel_filters
from stages.stft import Frames

Rows = NDArray[np.float32]

_TRANSFORM_SAMPLES = 512
_FRAMES_AT_ONCE = 128


class LogSpectra:
    """Rows of shape `(n, bands)` of samples that come in blocks; the same however they were cut."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._cut = Frames(front.frame_samples, front.hop_samples, _FRAMES_AT_ONCE)
        self._count = 0

    def add(self, samples: NDArray[np.float32]) -> Iterator[Rows]:
        """Yield what is whole with these samples, in order."""
        self._count += len(samples)
        return map(self._rows, self._cut.add(samples))

    def end(self) -> Iterator[Rows]:
        """Yield the rest; the last frame is the first that is centred on or beyond the end."""
        lacking = np.zeros(-self._count % self._front.hop_samples, dtype=np.float32)
        yield from self.add(lacking)
        yield from map(self._rows, self._cut.end())

    def _rows(self, frames: NDArray[np.float32]) -> Rows:
        windowed = frames * _window(self._front.frame_samples)
        spectra = scipy.fft.rfft(windowed, n=_TRANSFORM_SAMPLES, axis=1)
        rows: Rows
        if self._front == MUSICNN_FRONT:
            power = spectra.real**2 + spectra.imag**2
            rows = np.log10(np.float32(1) + np.float32(10_000) * (power @ _slaney_bands()))
        else:
            rows = np.log(np.float32(0.01) + np.abs(spectra) @ _htk_bands())
        return rows


@functools.cache
def _window(samples: int) -> NDArray[np.float32]:
    """Return Hann's, with zeros at both ends."""
    turns = 2 * np.pi * np.arange(samples) / (samples - 1)
    return (0.5 - 0.5 * np.cos(turns)).astype(np.float32)


@functools.cache
def _slaney_bands() -> NDArray[np.float32]:
    """MusiCNN's: 96 triangles of equal area from 0 to 8 kHz, shape `(bins, bands)`."""
    return np.ascontiguousarray(mel_filters(RATE_HZ, _TRANSFORM_SAMPLES, 96).T)


@functools.cache
def _htk_bands() -> NDArray[np.float32]:
    """VGGish's: 64 triangles of height 1 from 125 Hz to 7.5 kHz, straight in mel, `(bins, bands)`."""
    mel: NDArray[np.float64] = _htk_mel(np.fft.rfftfreq(_TRANSFORM_SAMPLES, 1 / RATE_HZ))
    low, high = _htk_mel(np.array([125.0, 7500.0]))
    corners = np.linspace(low, high, 64 + 2)
    width = corners[1] - corners[0]
    rising, falling = (mel[:, None] - corners[:-2]) / width, (corners[2:] - mel[:, None]) / width
    weights: NDArray[np.float32] = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return weights


def _htk_mel(hz: NDArray[np.floating]) -> NDArray[np.float64]:
    mel: NDArray[np.float64] = 1127.0 * np.log(1.0 + hz / 700.0)
    return mel
