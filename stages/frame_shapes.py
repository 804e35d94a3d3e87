"""What is measured of one spectrum after the other, in one pass: the kernel of the spectral features.

Each number is that of a function of librosa 0.11, to rounding; sums are float64 unless said.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TypeAlias

import librosa
import numba
import numpy as np
from numpy.typing import NDArray

from stages.stft import BINS, FRAME_SAMPLES

Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.intp]

CONTRAST_BANDS = 7  # librosa's: to 200 Hz, then six octaves
MEL_BANDS = 128

_ROLLOFF = 0.85
_QUANTILE = 0.02  # of a band's bins, those that count as its peaks and as its valleys
_SMALLEST_POWER = 1e-10  # `amin` of librosa's flatness
_PITCH_THRESHOLD = 0.1  # of a frame's maximum, as `piptrack`
_PITCHES_HZ = (150.0, 4000.0)
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Shapes:
    """Measures of some frames, in order.

    Args:
        highest: largest magnitude of each frame, as all below shape `(frames,)` unless said.
        centroid_hz: `spectral_centroid`.
        bandwidth_hz: `spectral_bandwidth`.
        rolloff_hz: `spectral_rolloff`; summed in float32, as librosa does, or a bin may flip.
        flatness: `spectral_flatness` of the power.
        flux: Euclidean distance from the frame before, both spectra scaled to unit energy, in
            [0, sqrt 2] as no magnitude is negative: 0 for a steady sound of any level, 1.41 where
            two spectra share no bin. After Tzanetakis and Cook, "Musical genre classification of
            audio signals", IEEE TSAP 10 (2002), without their square. The first is 0.
        peaks, valleys: of `spectral_contrast`, linear, shape `(frames, 7)`.
        mel: power in mel bands (`melspectrogram`), shape `(frames, 128)`.
        pitches_hz, strengths: of all peaks that `piptrack` finds, frame by frame, shape `(n,)`.
    """

    highest: Float32
    centroid_hz: Float64
    bandwidth_hz: Float64
    rolloff_hz: Float64
    flatness: Float64
    flux: Float64
    peaks: Float32
    valleys: Float32
    mel: Float32
    pitches_hz: Float32
    strengths: Float32


class Measurer:
    """Measures the frames of one source, which come in order and in blocks."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._tables = _tables(sample_rate_hz)
        self._before = np.zeros(BINS)  # the last spectrum, of unit energy
        self._is_first = True

    def measure(self, spectra: NDArray[np.float32]) -> Shapes:
        """Measure the next frames, given as magnitudes of shape `(frames, 1025)`."""
        frames = len(spectra)
        lines = np.empty((6, frames))
        peaks = np.empty((frames, CONTRAST_BANDS), dtype=np.float32)
        valleys = np.empty_like(peaks)
        mel = np.empty((frames, MEL_BANDS), dtype=np.float32)
        pitches = np.empty((2, frames * (BINS // 2)), dtype=np.float32)
        found = _measure(spectra, self._before, *self._tables, lines, peaks, valleys, mel, pitches)
        if self._is_first and frames:
            lines[5, 0] = 0.0
            self._is_first = False
        highest, centroid_hz, bandwidth_hz, rolloff_hz, flatness, flux = lines
        return Shapes(
            highest.astype(np.float32),
            centroid_hz,
            bandwidth_hz,
            rolloff_hz,
            flatness,
            flux,
            peaks,
            valleys,
            mel,
            pitches[0, :found].copy(),
            pitches[1, :found].copy(),
        )


def joined(parts: list[Shapes]) -> Shapes:
    """Return the measures of all frames of a source."""
    return Shapes(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Shapes.__match_args__)
    )


@functools.cache
def _tables(
    sample_rate_hz: int,
) -> tuple[Float64, Index, Float32, Index, Index]:
    """Return frequencies of the bins; contrast bands as first, last and share; mel filters, ends."""
    frequencies = librosa.fft_frequencies(sr=sample_rate_hz, n_fft=FRAME_SAMPLES)
    filters = librosa.filters.mel(sr=sample_rate_hz, n_fft=FRAME_SAMPLES, n_mels=MEL_BANDS)
    used = filters > 0
    mel_ends = np.stack([used.argmax(1), BINS - used[:, ::-1].argmax(1)], axis=1)
    pitch_ends = np.searchsorted(frequencies, _PITCHES_HZ)
    return frequencies, _contrast_bands(frequencies), filters, mel_ends, pitch_ends


def _contrast_bands(frequencies: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return for each band its first bin, the one after its last, and how many bins are its share."""
    edges = np.concatenate([[0.0], 200.0 * 2.0 ** np.arange(CONTRAST_BANDS)])
    bands = []
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = np.flatnonzero((frequencies >= low) & (frequencies <= high))
        first, after = int(inside[0]), int(inside[-1]) + 1
        if number > 0:
            first -= 1
        if number == CONTRAST_BANDS - 1:
            after = len(frequencies)
        share = max(1, round(_QUANTILE * (after - first)))
        bands.append((first, after if number == CONTRAST_BANDS - 1 else after - 1, share))
    return np.array(bands)


@numba.njit(cache=True, nogil=True)
def _measure(
    spectra: Float32,
    before: Float64,
    frequencies: Float64,
    bands: Index,
    filters: Float32,
    mel_ends: Index,
    pitch_ends: Index,
    lines: Float64,
    peaks: Float32,
    valleys: Float32,
    mel: Float32,
    pitches: Float32,
) -> int:  # pragma: no cover
    """Measure frames into the last five arrays; return how many pitches were found."""
    found = 0
    bins = spectra.shape[1]
    power = np.empty(bins)
    hz_per_bin = frequencies[1]
    for frame in range(spectra.shape[0]):
        row = spectra[frame]
        total, moment, energy, highest = 0.0, 0.0, 0.0, np.float32(0.0)
        running = np.float32(0.0)
        for bin_ in range(bins):
            value = float(row[bin_])
            total += value
            moment += frequencies[bin_] * value
            power[bin_] = value * value
            energy += power[bin_]
            running += row[bin_]
            highest = max(highest, row[bin_])
        length = total if total >= _TINY else 1.0
        centroid = moment / length
        unit = 1.0 / max(np.sqrt(energy), _TINY)
        spread, distance = 0.0, 0.0
        for bin_ in range(bins):
            value = float(row[bin_])
            away = frequencies[bin_] - centroid
            spread += value * away * away
            scaled = value * unit
            step = scaled - before[bin_]
            before[bin_] = scaled
            distance += step * step
        lines[0, frame] = highest
        lines[1, frame] = centroid
        lines[2, frame] = np.sqrt(spread / length)
        lines[3, frame] = hz_per_bin * _rolloff_bin(row, np.float32(_ROLLOFF) * running)
        lines[4, frame] = _flatness(power)
        lines[5, frame] = np.sqrt(distance)
        for band in range(bands.shape[0]):
            first, after, share = bands[band]
            low, high = _extremes(row[first:after], share)
            valleys[frame, band] = low
            peaks[frame, band] = high
        for band in range(filters.shape[0]):
            weighted = 0.0
            for bin_ in range(mel_ends[band, 0], mel_ends[band, 1]):
                weighted += filters[band, bin_] * power[bin_]
            mel[frame, band] = weighted
        found = _add_pitches(row, highest, pitch_ends, hz_per_bin, pitches, found)
    return found


@numba.njit(cache=True, nogil=True)
def _rolloff_bin(row: Float32, threshold: np.float32) -> int:  # pragma: no cover
    """Return the first bin up to which the sum is not below a threshold."""
    running = np.float32(0.0)
    for bin_ in range(len(row)):
        running += row[bin_]
        if not running < threshold:
            return bin_
    return len(row) - 1


@numba.njit(cache=True, nogil=True)
def _flatness(power: Float64) -> float:  # pragma: no cover
    """Return the geometric over the arithmetic mean; a logarithm is taken of four values at once."""
    logarithms, total, product = 0.0, 0.0, 1.0
    for bin_ in range(len(power)):
        value = max(power[bin_], _SMALLEST_POWER)
        total += value
        product *= value
        if bin_ % 4 == 3:
            logarithms += np.log(product)
            product = 1.0
    logarithms += np.log(product)
    flatness: float = np.exp(logarithms / len(power)) / (total / len(power))
    return flatness


@numba.njit(cache=True, nogil=True)
def _extremes(values: Float32, share: int) -> tuple[float, float]:  # pragma: no cover
    """Return the mean of the so many smallest and of the so many largest values."""
    low = np.full(share, np.float32(np.inf))
    high = np.full(share, np.float32(-np.inf))
    for value in values:
        if value < low[-1]:
            place = share - 1
            while place > 0 and low[place - 1] > value:
                low[place] = low[place - 1]
                place -= 1
            low[place] = value
        if value > high[-1]:
            place = share - 1
            while place > 0 and high[place - 1] < value:
                high[place] = high[place - 1]
                place -= 1
            high[place] = value
    lowest, highest = 0.0, 0.0
    for place in range(share):
        lowest += low[place]
        highest += high[place]
    return lowest / share, highest / share


@numba.njit(cache=True, nogil=True)
def _add_pitches(
    row: Float32,
    highest: np.float32,
    ends: Index,
    hz_per_bin: float,
    pitches: Float32,
    found: int,
) -> int:  # pragma: no cover
    """Append the peaks of a spectrum, interpolated by a parabola; return how many there are now."""
    reference = np.float32(_PITCH_THRESHOLD) * highest
    for bin_ in range(max(ends[0], 1), min(ends[1], len(row) - 1)):
        value = row[bin_]
        if not value > reference:
            continue
        before = row[bin_ - 1] if row[bin_ - 1] > reference else np.float32(0.0)
        after = row[bin_ + 1] if row[bin_ + 1] > reference else np.float32(0.0)
        if value > before and value >= after:
            left, right = float(row[bin_ - 1]), float(row[bin_ + 1])
            curve, slope = left + right - 2.0 * float(value), (right - left) / 2.0
            shift = 0.0 if abs(slope) >= abs(curve) else -slope / curve
            pitches[0, found] = (bin_ + shift) * hz_per_bin
            pitches[1, found] = value + 0.5 * slope * shift
            found += 1
    return found
