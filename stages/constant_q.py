"""Chroma by a constant-Q transform over seven octaves from C1, in blocks: librosa's numbers.

All octaves share one set of 36 filters, as the samples are brought to half their rate from one to
the next (Schörkhuber and Klapuri, "Constant-Q transform toolbox for music processing", SMC 2010).
What librosa does with a transform and a sparse product is one product of frames and filters here.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from stages.filter_banks import wavelets, without_the_least
from stages.stft import HOP_SAMPLES, Frames, frame_count

BINS_PER_OCTAVE = 36
_OCTAVES = 7
_C1_HZ = 440.0 * 2.0 ** ((24 - 69) / 12)
_PITCH_CLASSES = 12
_SPARSITY = 0.01  # librosa's: of a filter's magnitude, what is left out
_FRAMES_AT_ONCE = 64
_LONGEST_FILTER_SAMPLES = 1024 * 64  # 1,024 in the lowest of seven octaves, each at half the rate


class ConstantQChroma:
    """Sums up the magnitudes of each pitch class, of one channel that comes in blocks.

    Args:
        samples: how many will come.
        tuning: how far off A4 = 440 Hz the source is, in bins of a third of a semitone.
    """

    def __init__(self, samples: int, sample_rate_hz: int, *, tuning: float) -> None:
        # With zeros after its end a short source keeps what its lower octaves ring on.
        self._zeros = max(0, _LONGEST_FILTER_SAMPLES - samples)
        self._frames = frame_count(samples)
        self._sums = np.zeros((frame_count(samples + self._zeros), _PITCH_CLASSES), np.float32)
        self._octave = _Octave(0, sample_rate_hz, tuning, self._sums)

    def add(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples, shape `(n,)`."""
        self._octave.add(samples)

    def end(self) -> NDArray[np.float32]:
        """Return the sums from C upwards, shape `(12, frames)`: librosa's `chroma_cqt`, `norm=None`."""
        self._octave.add(np.zeros(self._zeros, dtype=np.float32))
        self._octave.end()
        return self._sums[: self._frames].T


class _Octave:
    """One octave of the transform, counted from the top; hands what is below on to the next."""

    def __init__(
        self, number: int, sample_rate_hz: int, tuning: float, sums: NDArray[np.float32]
    ) -> None:
        self._filters = _filters(sample_rate_hz, tuning)
        self._fold = _fold()
        self._sums = sums
        self._done = 0
        self._frames = Frames(len(self._filters), HOP_SAMPLES >> number, _FRAMES_AT_ONCE)
        self._below: _Octave | None = None
        if number + 1 < _OCTAVES:
            self._below = _Octave(number + 1, sample_rate_hz, tuning, sums)
            self._half = _Half()

    def add(self, samples: NDArray[np.float32]) -> None:
        self._measure(self._frames.add(samples))
        if self._below is not None:
            self._below.add(self._half.add(samples))

    def end(self) -> None:
        self._measure(self._frames.end())
        if self._below is not None:
            self._below.add(self._half.end())
            self._below.end()

    def _measure(self, groups: list[NDArray[np.float32]]) -> None:
        for frames in groups:
            # Lower octaves may have a frame more, as half of an odd length is rounded up.
            some = np.ascontiguousarray(frames[: len(self._sums) - self._done])
            found = some @ self._filters
            real, imaginary = found[:, :BINS_PER_OCTAVE], found[:, BINS_PER_OCTAVE:]
            magnitudes = np.sqrt(real * real + imaginary * imaginary)
            self._sums[self._done : self._done + len(some)] += magnitudes @ self._fold
            self._done += len(some)


class _Half:
    """Brings samples that come in blocks to half their rate, as `librosa.resample` does at once."""

    def __init__(self) -> None:
        self._stream = soxr.ResampleStream(2, 1, 1, dtype="float32", quality="HQ")
        self._taken = 0
        self._given = 0

    def add(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        self._taken += len(samples)
        return self._scaled(self._stream.resample_chunk(samples))

    def end(self) -> NDArray[np.float32]:
        """Return the rest, so that in all there are half as many samples, rounded up."""
        rest = self._stream.resample_chunk(np.empty(0, dtype=np.float32), last=True)
        left = -(-self._taken // 2) - self._given
        short = max(0, left - len(rest))
        return self._scaled(np.pad(rest[:left], (0, short)))

    def _scaled(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        self._given += len(samples)
        # Of the energy, too: a tone is as strong at every rate.
        scaled: NDArray[np.float32] = samples / np.float32(np.sqrt(0.5))
        return scaled


@functools.lru_cache(maxsize=8)
def _filters(sample_rate_hz: int, tuning: float) -> NDArray[np.float32]:
    """Return the filters of an octave: real parts, then imaginary ones, shape `(samples, 72)`."""
    lowest = _C1_HZ * 2.0 ** (_OCTAVES - 1 + tuning / BINS_PER_OCTAVE)
    frequencies = lowest * 2.0 ** (np.arange(BINS_PER_OCTAVE) / BINS_PER_OCTAVE)
    basis, lengths = wavelets(frequencies, sample_rate_hz)
    size = basis.shape[1]
    spectra = scipy.fft.fft(basis * (lengths[:, np.newaxis] / size), axis=1)[:, : size // 2 + 1]
    kept = without_the_least(spectra, _SPARSITY)
    # What a product of the filters' spectra and that of a frame is, as one product with the frame.
    filters = scipy.fft.fft(kept / np.sqrt(lengths)[:, np.newaxis], n=size, axis=1).T
    return np.ascontiguousarray(np.hstack([filters.real, filters.imag]), dtype=np.float32)


@functools.cache
def _fold() -> NDArray[np.float32]:
    """Return how the bins of an octave from C are summed to pitch classes, shape `(36, 12)`."""
    semitone = BINS_PER_OCTAVE // _PITCH_CLASSES
    # Half of a semitone's bins lie below it: the last of an octave is the next one's.
    classes = np.roll(np.repeat(np.eye(_PITCH_CLASSES), semitone, axis=0), -(semitone // 2), axis=0)
    return np.ascontiguousarray(classes, dtype=np.float32)
