"""The chromagrams of a source: a second hearing, once its tuning is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.analysis import RATE_HZ, Analysis
from stages.constant_q import BINS_PER_OCTAVE, ConstantQChroma
from stages.filter_banks import chroma_filters
from stages.mono import MonoSink
from stages.stft import FRAME_SAMPLES, Stft, frame_count

_PITCH_CLASSES = 12


class Chromagrams(MonoSink):
    """A sink that sums up pitch classes from C upwards, each frame scaled to a maximum of 1.

    `constant_q`: librosa's `chroma_cqt`; `stft`: its `chroma_stft`; shape `(12, frames)`, in [0, 1].
    Tuned as librosa tunes them: the one in thirds of a semitone, by the peaks of the magnitudes;
    the other in semitones, by those of the power.
    """

    def __init__(self, found: Analysis) -> None:
        super().__init__(RATE_HZ)
        self._samples = found.count
        self._tuning = found.tunings[BINS_PER_OCTAVE] or 0.0
        self._power_tuning = found.power_tuning or 0.0

    def start(self, expected: int) -> None:
        self._octaves = ConstantQChroma(self._samples, RATE_HZ, tuning=self._tuning)
        self._spectra = _StftChroma(frame_count(self._samples), tuning=self._power_tuning)

    def take(self, mono: NDArray[np.float32]) -> None:
        self._octaves.add(mono)
        self._spectra.add(mono)

    def finish(self) -> None:
        self.constant_q: NDArray[np.float32] = _normalised(self._octaves.end())
        self.stft: NDArray[np.float32] = _normalised(self._spectra.end())


class _StftChroma:
    """Sums up the power of each pitch class."""

    def __init__(self, frames: int, *, tuning: float) -> None:
        self._filters = np.ascontiguousarray(
            chroma_filters(RATE_HZ, FRAME_SAMPLES, tuning=tuning).T
        )
        self._sums = np.zeros((frames, _PITCH_CLASSES), dtype=np.float32)
        self._done = 0
        self._stft = Stft()

    def add(self, samples: NDArray[np.float32]) -> None:
        for magnitudes in self._stft.add(samples):
            self._sum(magnitudes)

    def end(self) -> NDArray[np.float32]:
        for magnitudes in self._stft.end():
            self._sum(magnitudes)
        return self._sums.T

    def _sum(self, magnitudes: NDArray[np.float32]) -> None:
        after = self._done + len(magnitudes)
        np.matmul(np.square(magnitudes), self._filters, out=self._sums[self._done : after])
        self._done = after


def _normalised(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each frame to a maximum of 1, in place; one with nothing in it stays as it is."""
    highest = sums.max(axis=0)
    sums /= np.where(highest < np.finfo(np.float32).tiny, np.float32(1.0), highest)
    return sums
