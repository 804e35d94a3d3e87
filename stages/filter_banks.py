"""Filter banks of frequencies: mel bands, pitch classes, constant-Q wavelets. librosa's, to the bit.

librosa compiles functions whenever it is imported, and takes a second and more for it: too long for
a few tables. Tests hold each of these against its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# Slaney, "Auditory Toolbox", Interval Research technical report 1998-010: linear to 1 kHz, 15 mel
# at most there, then by a factor of 6.4 in 27 steps.
_LINEAR_HZ_PER_MEL = 200.0 / 3
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0

_PITCH_CLASSES = 12
_A440_OCTAVES = 16.0  # A4 over A0
_CENTRE_OCTAVE, _OCTAVE_WIDTH = 5.0, 2.0  # of the Gaussian that weighs the octaves


def mel_filters(sample_rate_hz: int, frame_samples: int, bands: int) -> NDArray[np.float32]:
    """Return triangles of equal area to half the rate, shape `(bands, bins)`: `librosa.filters.mel`."""
    frequencies = np.fft.rfftfreq(frame_samples, 1 / sample_rate_hz)
    corners = _mel_to_hz(np.linspace(0.0, _hz_to_mel(sample_rate_hz / 2), bands + 2))
    widths, ramps = np.diff(corners), np.subtract.outer(corners, frequencies)
    rising = -ramps[:-2] / widths[:-1, np.newaxis]
    falling = ramps[2:] / widths[1:, np.newaxis]
    weights: NDArray[np.float32] = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    weights *= (2.0 / (corners[2:] - corners[:-2]))[:, np.newaxis]
    return weights


def _hz_to_mel(hz: float) -> float:
    return float(_LOG_FROM_MEL + np.log(hz / _LOG_FROM_HZ) / _LOG_STEP)


def _mel_to_hz(mel: Float64) -> Float64:
    hz: Float64 = np.where(
        mel >= _LOG_FROM_MEL,
        _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL)),
        _LINEAR_HZ_PER_MEL * mel,
    )
    return hz


def chroma_filters(
    sample_rate_hz: int, frame_samples: int, *, tuning: float
) -> NDArray[np.float32]:
    """Return how much each bin belongs to each pitch class from C upwards, shape `(12, bins)`.

    Ellis, "Chroma feature analysis and synthesis", LabROSA, Columbia University (2007):
    `librosa.filters.chroma`.

    Args:
        tuning: in semitones.
    """
    frequencies = np.linspace(0, sample_rate_hz, frame_samples, endpoint=False)[1:]
    semitones = _PITCH_CLASSES * octaves(frequencies, tuning=tuning, bins_per_octave=12)
    # The bin of 0 Hz stands an octave and a half below the next.
    semitones = np.concatenate([[semitones[0] - 1.5 * _PITCH_CLASSES], semitones])
    widths = np.concatenate([np.maximum(np.diff(semitones), 1.0), [1.0]])
    away = np.subtract.outer(semitones, np.arange(_PITCH_CLASSES, dtype=np.float64)).T
    half = round(_PITCH_CLASSES / 2)
    away = np.remainder(away + half + 10 * _PITCH_CLASSES, _PITCH_CLASSES) - half
    weights = np.exp(-0.5 * (2 * away / widths) ** 2)
    weights /= np.sqrt(np.sum(weights**2, axis=0))
    octave = (semitones / _PITCH_CLASSES - _CENTRE_OCTAVE) / _OCTAVE_WIDTH
    weights *= np.exp(-0.5 * octave**2)
    from_c = np.roll(weights, -3, axis=0)[:, : frame_samples // 2 + 1]
    return np.ascontiguousarray(from_c, dtype=np.float32)


def octaves(
    hz: NDArray[np.floating], *, tuning: float = 0.0, bins_per_octave: int = 12
) -> NDArray[np.floating]:
    """Return frequencies in octaves above A0, which is off by so many bins."""
    a440 = 440.0 * 2.0 ** (tuning / bins_per_octave)
    above: NDArray[np.floating] = np.log2(hz / (a440 / _A440_OCTAVES))
    return above


def wavelets(frequencies_hz: Float64, sample_rate_hz: int) -> tuple[NDArray[np.complex64], Float64]:
    """Return complex tones under Hann windows, as many cycles of each as separate it from the next.

    `librosa.filters.wavelet`: of an absolute sum of 1, in the middle of a power of two of samples,
    shape `(frequencies, samples)`; and the length of each in samples, a fraction.
    """
    steps = np.log2(frequencies_hz)
    bins_per_octave = 2 / np.gradient(steps, edge_order=1) / 2
    relative = 2.0 ** (2 / bins_per_octave)
    lengths = (relative + 1) / (relative - 1) * sample_rate_hz / frequencies_hz
    size = int(2.0 ** np.ceil(np.log2(lengths.max())))
    filters = np.zeros((len(frequencies_hz), size), dtype=np.complex64)
    for row, length, hz in zip(filters, lengths, frequencies_hz, strict=True):
        places = np.arange(-length // 2, length // 2, dtype=np.float64)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(places)) / len(places))
        tone = window * np.exp(1j * places * 2 * np.pi * hz / sample_rate_hz)
        first = (size - len(tone)) // 2
        row[first : first + len(tone)] = tone / np.abs(tone).sum()
    return filters, lengths


def without_the_least(filters: NDArray[np.complexfloating], share: float) -> NDArray[np.complex64]:
    """Set to zero what makes up the smallest share of each row: `librosa.util.sparsify_rows`."""
    magnitudes = np.abs(filters)
    ascending = np.sort(magnitudes, axis=1)
    sums = np.cumsum(ascending / magnitudes.sum(axis=1, keepdims=True), axis=1)
    least = np.take_along_axis(ascending, np.argmin(sums < share, axis=1)[:, np.newaxis], axis=1)
    return np.where(magnitudes >= least, filters, 0).astype(np.complex64)
