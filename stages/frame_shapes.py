"""What is measured of one spectrum after the other, in one pass: the kernel of the spectral features.

Each number is that of a function of librosa 0.11, to rounding; sums are float64 unless said.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from stages.filter_banks import mel_filters
from stages.growing import Growing
from stages.stft import BINS, FRAME_SAMPLES

Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.intp]

CONTRAST_BANDS = 7  # librosa's: to 200 Hz, then six octaves
MEL_BANDS = 128

_ROLLOFF = 0.85
_QUANTILE = 0.02  # of a band's bins, those that count as its peaks and as its valleys
_SMALLEST_POWER = 1e-10  # `amin` of librosa's flatness
_TINY = float(np.finfo(np.float32).tiny)

# One side of the spectrum stands for two; the Hann window's energy is 3/8 of its length.
_PARSEVAL = 2.0 / (FRAME_SAMPLES * FRAME_SAMPLES * 3 / 8)


BANDS_HZ = {
    "bass": (20.0, 120.0),
    "body": (120.0, 600.0),
    "mid": (600.0, 2_500.0),
    "air": (2_500.0, 22_000.0),
}
"""Bands of the four levels, by name: from, up to but without."""

_LINES = (
    "highest", "centroid_hz", "bandwidth_hz", "rolloff_hz", "flatness", "flux", "skewness",
    "kurtosis", *(f"{band}_power" for band in BANDS_HZ),
)  # fmt: skip
_LEVELS = 8  # where the four begin


@dataclass(frozen=True)
class Shapes:
    """Measures of all frames of a source, in order.

    Args:
        lines: one column each, shape `(frames, 12)`, under the names of `line`:
            `highest`: largest magnitude.
            `centroid_hz`, `bandwidth_hz`, `flatness`: as librosa's functions.
            `rolloff_hz`: `spectral_rolloff`; summed in float32, as librosa does, or a bin may flip.
            `flux`: Euclidean distance from the frame before, both spectra scaled to unit energy, in
            [0, sqrt 2] as no magnitude is negative: 0 for a steady sound of any level, 1.41 where
            two spectra share no bin. After Tzanetakis and Cook, "Musical genre classification of
            audio signals", IEEE TSAP 10 (2002), without their square. The first is 0.
            `skewness`, `kurtosis`: third and fourth standardised moment of the magnitudes around
            the centroid, 3 for a normal curve; 0 where there is no bandwidth. After Peeters,
            "A large set of audio features for sound description", IRCAM (2004).
            `bass_power`, `body_power`, `mid_power`, `air_power`: mean square of the samples under
            the window that falls into each of `BANDS_HZ`, over that of the window (Parseval).
        peaks, valleys: of `spectral_contrast`, linear, shape `(frames, 7)`.
    """

    lines: Float64
    peaks: Float32
    valleys: Float32

    def line(self, name: str) -> Float64:
        """Return one measure of each frame, shape `(frames,)`."""
        column: Float64 = self.lines[:, _LINES.index(name)]
        return column


class Measurer:
    """Measures the frames of one source, which come in order and in blocks."""

    def __init__(self, sample_rate_hz: int, expected_frames: int = 0) -> None:
        self._tables = _tables(sample_rate_hz)
        self._before = np.zeros(BINS)  # the last spectrum, of unit energy
        self._lines = Growing((len(_LINES),), np.float64, expected_frames)
        self._extremes = Growing((2, CONTRAST_BANDS), np.float32, expected_frames)

    def measure(self, spectra: NDArray[np.float32]) -> Float32:
        """Measure the next frames, given as magnitudes of shape `(frames, 1025)`.

        Returns:
            Their power in mel bands, as `melspectrogram`, shape `(frames, 128)`.
        """
        lines = np.empty((len(spectra), len(_LINES)))
        extremes = np.empty((len(spectra), 2, CONTRAST_BANDS), dtype=np.float32)
        mel = np.empty((len(spectra), MEL_BANDS), dtype=np.float32)
        _measure(spectra, self._before, *self._tables, lines, extremes, mel)
        if not self._lines.count and len(lines):
            lines[0, _LINES.index("flux")] = 0.0
        self._lines.add(lines)
        self._extremes.add(extremes)
        return mel

    def shapes(self) -> Shapes:
        """Return the measures of all frames, and keep none."""
        extremes = self._extremes.joined()
        return Shapes(self._lines.joined(), extremes[:, 0], extremes[:, 1])


@functools.cache
def _tables(sample_rate_hz: int) -> tuple[Float64, Index, Float32, Index, Index]:
    """Return frequencies of the bins; contrast bands as first, last and share; mel filters with
    their ends; ends of the bands of the levels."""
    frequencies = np.arange(BINS, dtype=np.float64) * (sample_rate_hz / FRAME_SAMPLES)
    filters = mel_filters(sample_rate_hz, FRAME_SAMPLES, MEL_BANDS)
    used = filters > 0
    mel_ends = np.stack([used.argmax(1), BINS - used[:, ::-1].argmax(1)], axis=1)
    level_ends = np.searchsorted(frequencies, list(BANDS_HZ.values()))
    return frequencies, _contrast_bands(frequencies), filters, mel_ends, level_ends


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
    level_ends: Index,
    lines: Float64,
    extremes: Float32,
    mel: Float32,
) -> None:  # pragma: no cover
    """Measure frames into the last three arrays."""
    bins = spectra.shape[1]
    power = np.empty(bins)
    low, high = np.empty(bins, dtype=np.float32), np.empty(bins, dtype=np.float32)
    for frame in range(spectra.shape[0]):
        row = spectra[frame]
        np.multiply(row, row, power)
        _measure_line(row, power, before, frequencies, lines[frame])
        for level in range(level_ends.shape[0]):
            sum_ = power[level_ends[level, 0] : level_ends[level, 1]].sum()
            lines[frame, _LEVELS + level] = _PARSEVAL * sum_
        for band in range(bands.shape[0]):
            first, after, share = bands[band]
            lowest, highest = _extremes(row[first:after], share, low, high)
            extremes[frame, 0, band] = highest
            extremes[frame, 1, band] = lowest
        for band in range(filters.shape[0]):
            weighted = 0.0
            for bin_ in range(mel_ends[band, 0], mel_ends[band, 1]):
                weighted += filters[band, bin_] * power[bin_]
            mel[frame, band] = weighted


@numba.njit(cache=True, nogil=True)
def _measure_line(
    row: Float32, power: Float64, before: Float64, frequencies: Float64, line: Float64
) -> None:  # pragma: no cover
    """Measure a frame but for its bands; `before` is the last one, and this one then."""
    total, moment, energy = 0.0, 0.0, 0.0
    running, highest = np.float32(0.0), np.float32(0.0)
    for bin_ in range(len(row)):
        total += row[bin_]
        moment += frequencies[bin_] * row[bin_]
        energy += power[bin_]
        running += row[bin_]
        highest = max(highest, row[bin_])
    length = total if total >= _TINY else 1.0
    centroid = moment / length
    unit = 1.0 / max(np.sqrt(energy), _TINY)
    second, third, fourth, distance = 0.0, 0.0, 0.0, 0.0
    for bin_ in range(len(row)):
        away = frequencies[bin_] - centroid
        square = row[bin_] * away * away
        second += square
        third += square * away
        fourth += square * away * away
        scaled = row[bin_] * unit
        step = scaled - before[bin_]
        before[bin_] = scaled
        distance += step * step
    variance = second / length
    bandwidth = np.sqrt(variance)
    flat = variance == 0.0
    line[0] = highest
    line[1] = centroid
    line[2] = bandwidth
    line[3] = frequencies[_rolloff_bin(row, np.float32(_ROLLOFF) * running)]
    line[4] = _flatness(power)
    line[5] = np.sqrt(distance)
    line[6] = 0.0 if flat else third / length / (variance * bandwidth)
    line[7] = 0.0 if flat else fourth / length / (variance * variance)


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
    """Return the geometric over the arithmetic mean; a logarithm is taken of eight values at once."""
    logarithms, total, product = 0.0, 0.0, 1.0
    for bin_ in range(len(power)):
        value = max(power[bin_], _SMALLEST_POWER)
        total += value
        product *= value
        if bin_ % 8 == 7:
            logarithms += np.log(product)
            product = 1.0
    logarithms += np.log(product)
    flatness: float = np.exp(logarithms / len(power)) / (total / len(power))
    return flatness


@numba.njit(cache=True, nogil=True)
def _extremes(
    values: Float32, share: int, low: Float32, high: Float32
) -> tuple[float, float]:  # pragma: no cover
    """Return the mean of the so many smallest and of the so many largest values.

    Most spectra fall: the largest are looked for from below and the smallest from above, so that
    few values displace another. `low` and `high` are room for so many.
    """
    low[:share], high[:share] = np.float32(np.inf), np.float32(-np.inf)
    last, count = share - 1, len(values)
    for at in range(count):
        value = values[at]
        if value > high[last]:
            place = last
            while place > 0 and high[place - 1] < value:
                high[place] = high[place - 1]
                place -= 1
            high[place] = value
        value = values[count - 1 - at]
        if value < low[last]:
            place = last
            while place > 0 and low[place - 1] > value:
                low[place] = low[place - 1]
                place -= 1
            low[place] = value
    lowest, highest = 0.0, 0.0
    for place in range(share):
        lowest += low[place]
        highest += high[place]
    return lowest / share, highest / share
