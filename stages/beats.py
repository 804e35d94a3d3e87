"""Tempo and beats from an onset envelope: librosa's, in memory that does not grow with their square.

Tempo: the lag at which the envelope is most like itself, on average over windows of 8 s, with a
leaning towards 120 beats per minute. Beats: Ellis, "Beat tracking by dynamic programming", Journal
of New Music Research 36 (2007). librosa compiles its own at every import, which takes two seconds,
and keeps 8 s of autocorrelation for every frame: 2 GB for 10 hours.
"""

from __future__ import annotations

import numba
import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_START_BPM = 120.0
_MAX_BPM = 320.0
_WINDOW_S = 8.0
_TIGHTNESS = 100.0  # of the beats to the tempo
_FRAMES_AT_ONCE = 64
_TINY = float(np.finfo(np.float32).tiny)
_TINY_DOUBLE = float(np.finfo(np.float64).tiny)


def tempo_and_beats(
    envelope: NDArray[np.float32], frames_per_s: float
) -> tuple[float, NDArray[np.intp]]:
    """Return beats per minute and the frames of the beats, ascending; 0 and none without onsets.

    Args:
        envelope: onset strength, none of it negative, shape `(frames,)`.
    """
    if len(envelope) < 2 or not envelope.any():
        return 0.0, np.zeros(0, dtype=np.intp)
    tempo_bpm = _tempo_bpm(envelope, frames_per_s)
    return tempo_bpm, _beats(envelope, round(frames_per_s * 60.0 / tempo_bpm))


def _tempo_bpm(envelope: NDArray[np.float32], frames_per_s: float) -> float:
    lags = int(_WINDOW_S * frames_per_s)
    with np.errstate(divide="ignore"):
        bpm = 60.0 * frames_per_s / np.arange(lags)
    prior = np.full(lags, -np.inf)
    allowed = bpm < _MAX_BPM
    prior[allowed] = -0.5 * np.square(np.log2(bpm[allowed]) - np.log2(_START_BPM))
    likeness = _mean_autocorrelation(envelope, lags)
    return float(bpm[np.argmax(np.log1p(1e6 * likeness) + prior)])


def _mean_autocorrelation(envelope: NDArray[np.float32], lags: int) -> NDArray[np.float64]:
    """Return the mean over all frames of the autocorrelation around each, scaled to a peak of 1."""
    half = lags // 2
    ramped = np.pad(envelope, half, mode="linear_ramp", end_values=0)
    # Of an even number of lags there is a window more than frames.
    frames = sliding_window_view(ramped, lags)[: len(envelope)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(lags) / lags)
    size = scipy.fft.next_fast_len(2 * lags - 1, real=True)
    total = np.zeros(size // 2 + 1)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        windowed = frames[start : start + _FRAMES_AT_ONCE] * window
        energies = np.einsum("fl,fl->f", windowed, windowed)  # the peak, which is at lag 0
        spectra = scipy.fft.rfft(windowed, n=size, overwrite_x=True)
        power = np.square(spectra.real) + np.square(spectra.imag)
        total += (1.0 / np.where(energies < _TINY_DOUBLE, 1.0, energies)) @ power
    # A sum of transforms is the transform of the sum: only one goes back.
    return scipy.fft.irfft(total, n=size)[:lags] / len(frames)


def _beats(envelope: NDArray[np.float32], period: int) -> NDArray[np.intp]:
    scaled = envelope / (envelope.std(ddof=1) + np.float32(_TINY))
    # In float64 from here: sums of hundreds decide between places that are nearly as good.
    score = _local_score(scaled.astype(np.float64), period)
    links, sums = _best_chains(score, period)
    beats = _chain(links, _last_beat(sums))
    return _trimmed(beats, score)


@numba.njit(cache=True, nogil=True)
def _local_score(
    envelope: NDArray[np.float64], period: int
) -> NDArray[np.float64]:  # pragma: no cover
    """Return the envelope, smoothed over a share of a beat; the edge as librosa 0.11 has it."""
    window = np.exp(-0.5 * (np.arange(-period, period + 1) * 32.0 / period) ** 2)
    taps, frames = len(window), len(envelope)
    score = np.zeros(frames)
    for at in range(frames):
        for tap in range(max(0, at + period - frames + 1), min(at + period, taps)):
            score[at] += window[tap] * envelope[at + period - tap]
    return score


@numba.njit(cache=True, nogil=True)
def _best_chains(
    score: NDArray[np.float64], period: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:  # pragma: no cover
    """Return for each frame the beat before it, or -1, and the best sum of a chain that ends there."""
    frames = len(score)
    links = np.full(frames, -1, dtype=np.int32)
    sums = np.empty(frames)
    nearest, farthest = int(np.round(period / 2)), 2 * period
    costs = np.empty(farthest + 1)
    for lag in range(1, farthest + 1):
        costs[lag] = _TIGHTNESS * (np.log(lag) - np.log(period)) ** 2
    threshold = 0.01 * score.max()
    begun = False
    for at in range(frames):
        best, link = -np.inf, -1
        for lag in range(max(nearest, 1), min(farthest, at) + 1):
            found = sums[at - lag] - costs[lag]
            if found > best:
                best, link = found, at - lag
        sums[at] = score[at] + best if link >= 0 else score[at]
        # Nothing leads back before the first beat.
        begun = begun or score[at] >= threshold
        if begun:
            links[at] = link
    return links, sums


def _last_beat(sums: NDArray[np.float64]) -> int:
    """Return the last local maximum that is at least half of their median."""
    rises = np.append(False, sums[1:] > sums[:-1])
    falls = np.append(sums[:-1] >= sums[1:], True)
    peaks = np.flatnonzero(rises & falls)
    high = peaks[sums[peaks] >= 0.5 * np.median(sums[peaks])] if len(peaks) else peaks
    return int(high[-1]) if len(high) else len(sums) - 1


def _chain(links: NDArray[np.int32], last: int) -> NDArray[np.intp]:
    beats = []
    while last >= 0:
        beats.append(last)
        last = int(links[last])
    return np.array(beats[::-1], dtype=np.intp)


def _trimmed(beats: NDArray[np.intp], score: NDArray[np.float64]) -> NDArray[np.intp]:
    """Leave out the beats before the first and after the last frame that is strong for a beat."""
    smooth = np.convolve(score[beats], np.hanning(5))[2 : len(score) + 2]
    strong = np.flatnonzero(score > 0.5 * np.sqrt(np.mean(np.square(smooth))))
    if not len(strong):
        return beats[:0]
    kept: NDArray[np.intp] = beats[(beats >= strong[0]) & (beats <= strong[-1])]
    return kept
