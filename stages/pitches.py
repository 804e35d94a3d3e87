"""The tuning of a source: how far its spectral peaks are off A4 = 440 Hz, as librosa finds it."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from stages.filter_banks import octaves
from stages.growing import Growing
from stages.stft import BINS, FRAME_SAMPLES

Float32 = NDArray[np.float32]

_THRESHOLD = 0.1  # of a frame's maximum, as `piptrack`
SEMITONES = 12  # bins per octave
_TUNINGS = 100
_EDGES = np.linspace(-0.5, 0.5, _TUNINGS + 1)

_KEPT_PEAKS = 16_000_000  # 128 MB
_COUNTED_AT_ONCE = 1 << 20
# Of a float32 that is not negative the bits order as its value: 8 of exponent, 12 of 23 are counted.
_DROPPED_BITS = 11
_STRENGTHS = 1 << (31 - _DROPPED_BITS)
_PITCHES_HZ = (150.0, 4000.0)


class Pitches:
    """All peaks between 150 and 4,000 Hz that `piptrack` finds, frame by frame, and their tunings.

    White noise has a hundred in every frame: beyond 16 millions, an hour of that, they are only
    counted, their strengths told apart to a part in 4,096.

    Args:
        bins_per_octave: one tuning for each number.
    """

    def __init__(self, sample_rate_hz: int, bins_per_octave: tuple[int, ...]) -> None:
        self._hz_per_bin = sample_rate_hz / FRAME_SAMPLES
        low, high = np.searchsorted(np.arange(BINS) * self._hz_per_bin, _PITCHES_HZ)
        self._ends = max(int(low), 1), min(int(high), BINS - 1)
        self._found = Growing((2,), np.float32)
        self._bins_per_octave = bins_per_octave
        self._counts: list[NDArray[np.int32]] = []  # by strength and tuning; none yet

    def add(self, spectra: Float32) -> None:
        """Take the next frames, shape `(frames, 1025)`: magnitudes, or what they were raised to."""
        found = np.empty((len(spectra) * (BINS // 2), 2), dtype=np.float32)
        count = _find(spectra, *self._ends, self._hz_per_bin, found)
        self._found.add(found[:count])
        if self._found.count > _KEPT_PEAKS or (
            self._counts and self._found.count > _COUNTED_AT_ONCE
        ):
            self._count()

    def tunings(self) -> dict[int, float | None]:
        """Return the tuning of the pitches as strong as the median or stronger, and keep none.

        By bins per octave, in fractions of a bin, in [-0.5, 0.5): how far they are off A4 = 440 Hz.
        The one that most of them have, of a hundred: `librosa.pitch_tuning`. None without pitches.
        """
        if self._counts:
            self._count()
            counts, self._counts = self._counts, []
            of_tunings = [_of_the_strong(one) for one in counts]
        else:
            strong_hz = self._strong_hz()
            if not strong_hz.size:
                return dict.fromkeys(self._bins_per_octave)
            of_tunings = [
                np.bincount(_places(strong_hz, bins), minlength=_TUNINGS)
                for bins in self._bins_per_octave
            ]
        found = [float(_EDGES[np.argmax(one)]) for one in of_tunings]
        return dict(zip(self._bins_per_octave, found, strict=True))

    def _strong_hz(self) -> Float32:
        found = self._found.joined()
        pitches_hz, strengths = found[:, 0], found[:, 1]
        return pitches_hz[strengths >= np.median(strengths)] if len(found) else pitches_hz

    def _count(self) -> None:
        if not self._counts:
            shape = (_STRENGTHS, _TUNINGS)  # mostly never touched
            self._counts = [np.zeros(shape, np.int32) for _ in self._bins_per_octave]
        found, self._found = self._found, Growing((2,), np.float32)
        for chunk in found.chunks():
            for start in range(0, len(chunk), _COUNTED_AT_ONCE):
                some = chunk[start : start + _COUNTED_AT_ONCE]
                strengths = np.ascontiguousarray(some[:, 1]).view(np.uint32) >> _DROPPED_BITS
                for counts, bins in zip(self._counts, self._bins_per_octave, strict=True):
                    np.add.at(counts, (strengths, _places(some[:, 0], bins)), 1)


def _places(pitches_hz: Float32, bins_per_octave: int) -> NDArray[np.intp]:
    """Return which of a hundred tunings each pitch has."""
    residuals = np.mod(bins_per_octave * octaves(pitches_hz), 1.0)
    residuals[residuals >= 0.5] -= 1.0
    places: NDArray[np.intp] = np.searchsorted(_EDGES, residuals, side="right") - 1
    return np.minimum(places, _TUNINGS - 1)  # as of a histogram: the last one ends with its edge


def _of_the_strong(counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return how many have each tuning, of those as strong as the median or stronger."""
    by_strength = counts.sum(axis=1, dtype=np.int64)
    median = int(np.searchsorted(np.cumsum(by_strength), (by_strength.sum() + 1) // 2))
    strong: NDArray[np.int64] = counts[median:].sum(axis=0, dtype=np.int64)
    return strong


@numba.njit(cache=True, nogil=True)
def _find(
    spectra: Float32, low: int, high: int, hz_per_bin: float, found: Float32
) -> int:  # pragma: no cover
    """Write pitch and strength of each peak, interpolated by a parabola; return how many."""
    count = 0
    for frame in range(spectra.shape[0]):
        row = spectra[frame]
        highest = np.float32(0.0)
        for value in row:
            highest = value if value > highest else highest
        reference = np.float32(_THRESHOLD) * highest
        for bin_ in range(low, high):
            value = row[bin_]
            if not value > reference:
                continue
            before = row[bin_ - 1] if row[bin_ - 1] > reference else np.float32(0.0)
            after = row[bin_ + 1] if row[bin_ + 1] > reference else np.float32(0.0)
            if value > before and value >= after:
                left, right = float(row[bin_ - 1]), float(row[bin_ + 1])
                curve, slope = left + right - 2.0 * float(value), (right - left) / 2.0
                shift = 0.0 if abs(slope) >= abs(curve) else -slope / curve
                found[count, 0] = (bin_ + shift) * hz_per_bin
                found[count, 1] = value + 0.5 * slope * shift
                count += 1
    return count
