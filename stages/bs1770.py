"""Loudness and peaks after ITU-R BS.1770-5, with the windows of EBU Tech 3341 and the range of 3342.

One pass over the samples leaves energies of 10 ms steps; every window of every feature is a sum of
steps. What is kept grows by 16 bytes per step: 58 MB for 10 hours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import sosfilt

from stages.base import Tick, no_tick

# EBU Tech 3341 cases 13 and 14 hold a 400 ms burst at any multiple of 20 ms: a hop of 100 ms reads
# it up to 0.6 dB low, one of 10 ms is within 0.06 dB.
STEPS_PER_S = 100
MOMENTARY_STEPS = 40  # 400 ms: also the gating block of BS.1770
SHORT_TERM_STEPS = 300  # 3 s
GATING_HOP_STEPS = 10  # 75 % overlap of 400 ms blocks

ABSOLUTE_GATE_LUFS = -70.0
INTEGRATED_GATE_LU = -10.0
RANGE_GATE_LU = -20.0
RANGE_PERCENTILES = (10.0, 95.0)

# Stands for everything quieter, digital silence included; the noise of 16 bits is near -98 dBFS.
SILENCE_DB = -120.0

_OFFSET_DB = -0.691  # of BS.1770: takes back the gain of the K-weighting at 997 Hz
_TICK_S = 10

# By number of channels, in the order of a WAV file. BS.1770-5: 1.41 for what stands 60 to 120
# degrees to the side and not overhead, 1.0 for the rest, nothing for LFE. Mono counts once: 3 LU
# below the same signal in two channels. Other counts have no known layout: all 1.0.
_CHANNEL_WEIGHTS: dict[int, tuple[float, ...]] = {
    4: (1.0, 1.0, 1.41, 1.41),  # L R Ls Rs
    5: (1.0, 1.0, 1.0, 1.41, 1.41),  # L R C Ls Rs
    6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41),  # L R C LFE Ls Rs
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.41, 1.41),  # L R C LFE, backs at 135, sides at 90 degrees
}


@dataclass(frozen=True)
class Levels:
    """What one pass over a source leaves.

    Attributes:
        weighted: K-weighted energy of each whole 10 ms step, summed over the channels by their
            weights, shape `(steps,)`.
        plain: energy of each whole step without weighting, mean of all channels, shape `(steps,)`.
        mean_square: of every sample of every channel; 0.0 when there is none.
        sample_peak: largest magnitude, linear.
        true_peak: the same of the oversampled signal, never below `sample_peak`.
    """

    sample_rate_hz: int
    weighted: NDArray[np.float64]
    plain: NDArray[np.float64]
    mean_square: float
    sample_peak: float
    true_peak: float


def levels(
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    *,
    true_peak_oversampling: int = 4,
    tick: Tick = no_tick,
) -> Levels:
    """Return the energies and peaks of one source, second by second in bounded memory.

    Args:
        samples: shape `(channels, samples)`, all finite.
        sample_rate_hz: 4,000 or more: below 3,364 Hz the K-weighting has no stable form.
        true_peak_oversampling: see `oversampling_at`.
        tick: called with the seconds done, every 10 s of audio and at the end.
    """
    channels, length = samples.shape
    weighting = KWeighting(channels, sample_rate_hz)
    peaks = TruePeak(channels, sample_rate_hz, oversampling=true_peak_oversampling)
    weighted: list[NDArray[np.float64]] = [np.empty(0)]
    plain: list[NDArray[np.float64]] = [np.empty(0)]
    energy = 0.0
    # Blocks of one second: whole steps at every integer rate, and small enough for the cache.
    for start in range(0, length, sample_rate_hz):
        block = samples[:, start : start + sample_rate_hz]
        done = start + block.shape[1]
        squares = np.square(block, dtype=np.float64).mean(axis=0)
        energy += float(squares.sum())
        plain.append(step_sums(squares, sample_rate_hz))
        weighted.append(step_sums(weighting.squares(block), sample_rate_hz))
        peaks.add(block, last=done == length)
        if done == length or (done // sample_rate_hz) % _TICK_S == 0:
            tick(done / sample_rate_hz)
    return Levels(
        sample_rate_hz=sample_rate_hz,
        weighted=np.concatenate(weighted),
        plain=np.concatenate(plain),
        mean_square=energy / max(length, 1),
        sample_peak=peaks.sample_peak,
        true_peak=peaks.true_peak,
    )


def channel_weights(channels: int) -> tuple[float, ...]:
    """Return the weight of each channel in the sum, LFE 0.0, shape `(channels,)`."""
    return _CHANNEL_WEIGHTS.get(channels, (1.0,) * channels)


def k_weighting(sample_rate_hz: int) -> NDArray[np.float64]:
    """Return the K-weighting as second-order sections: shelf, then high pass, shape `(2, 6)`.

    BS.1770 gives coefficients at 48 kHz only. De Man ("Evaluation of Implementations of the EBU
    R128 Loudness Measurement", AES 145, 2018) found the analogue prototype behind them; the
    constants are those of libebur128 (`ebur128_init_filter`), and pyloudnorm's `DeMan`.
    """
    gain_db, shelf_q, shelf_hz = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k = np.tan(np.pi * shelf_hz / sample_rate_hz)
    high = 10.0 ** (gain_db / 20.0)
    middle = high**0.4996667741545416
    a0 = 1.0 + k / shelf_q + k * k
    shelf = [
        (high + middle * k / shelf_q + k * k) / a0,
        2.0 * (k * k - high) / a0,
        (high - middle * k / shelf_q + k * k) / a0,
        1.0,
        2.0 * (k * k - 1.0) / a0,
        (1.0 - k / shelf_q + k * k) / a0,
    ]
    pass_q, pass_hz = 0.5003270373238773, 38.13547087602444
    k = np.tan(np.pi * pass_hz / sample_rate_hz)
    a0 = 1.0 + k / pass_q + k * k
    # Not divided by a0, as in the table of BS.1770: 0.04 dB at 48 kHz, in its reference levels.
    high_pass = [1.0, -2.0, 1.0, 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / pass_q + k * k) / a0]
    return np.array([shelf, high_pass])


class KWeighting:
    """K-weights a source block by block; in float64, as float32 state is wrong by 1e-4."""

    def __init__(self, channels: int, sample_rate_hz: int) -> None:
        self._sections = k_weighting(sample_rate_hz)
        self._weights = channel_weights(channels)
        self._state = np.zeros((channels, len(self._sections), 2))

    def squares(self, block: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the weighted sum over channels of the squared signal, shape `(samples,)`."""
        total = np.zeros(block.shape[1])
        for channel, weight in enumerate(self._weights):
            if weight == 0.0:
                continue
            signal = block[channel].astype(np.float64)
            filtered, self._state[channel] = sosfilt(
                self._sections, signal, zi=self._state[channel]
            )
            total += weight * np.square(filtered)
        return total


def oversampling_at(sample_rate_hz: int, *, factor: int) -> int:
    """Return how many times a source is oversampled for its true peak.

    BS.1770-5 Annex 2 asks for four times at 48 kHz, and says that less does at higher rates:
    `factor` below 96 kHz, half of it from 96 kHz on, none from 192 kHz on. Below 48 kHz the factor
    stays: how much a peak between samples can be missed depends on the ratio alone.
    """
    if sample_rate_hz >= 192_000:
        return 1
    return factor // 2 if sample_rate_hz >= 96_000 else factor


class TruePeak:
    """Follows the largest magnitude of a source and of its oversampled form, block by block.

    Before the first and after the last sample is silence, as for every meter.
    """

    def __init__(self, channels: int, sample_rate_hz: int, *, oversampling: int) -> None:
        factor = oversampling_at(sample_rate_hz, factor=oversampling)
        self.sample_peak = 0.0
        self._between = 0.0
        self._stream = (
            soxr.ResampleStream(
                sample_rate_hz, factor * sample_rate_hz, channels, dtype="float32", quality="HQ"
            )
            if factor > 1
            else None
        )

    @property
    def true_peak(self) -> float:
        """Largest magnitude so far, whole only after the last block."""
        return max(self.sample_peak, self._between)

    def add(self, block: NDArray[np.float32], *, last: bool) -> None:
        """Take the next samples, shape `(channels, samples)`; `last` flushes the converter."""
        self.sample_peak = max(self.sample_peak, _magnitude(block))
        if self._stream is not None:
            frames = np.ascontiguousarray(block.T)
            oversampled = self._stream.resample_chunk(frames, last=last)
            self._between = max(self._between, _magnitude(oversampled))


def step_sums(squares: NDArray[np.float64], sample_rate_hz: int) -> NDArray[np.float64]:
    """Return the sum of each whole 10 ms step, shape `(steps,)`; the rest at the end is left out.

    Step `k` starts at sample `k * rate // 100`, so that rates like 22,050 Hz do not drift.
    """
    steps = (STEPS_PER_S * (len(squares) + 1) - 1) // sample_rate_hz
    if steps == 0:
        return np.empty(0)
    edges = np.arange(steps + 1) * sample_rate_hz // STEPS_PER_S
    sums: NDArray[np.float64] = np.add.reduceat(squares[: edges[-1]], edges[:-1])
    return sums


def window_means(
    energies: NDArray[np.float64], sample_rate_hz: int, *, steps: int, hop: int
) -> NDArray[np.float64]:
    """Return the mean square of every whole window of `steps` steps, one each `hop` steps.

    Summed anew for each window: a running sum would leave the rounding of a loud passage in the
    silence after it. Empty when the source is shorter than one window.
    """
    if len(energies) < steps:
        return np.empty(0)
    sums = sliding_window_view(energies, steps)[::hop].sum(axis=1)
    starts = np.arange(len(sums)) * hop
    ends = starts + steps
    counts = ends * sample_rate_hz // STEPS_PER_S - starts * sample_rate_hz // STEPS_PER_S
    means: NDArray[np.float64] = sums / counts
    return means


def window_ends_s(windows: int, *, steps: int, hop: int) -> NDArray[np.float64]:
    """Return when each window ends, in seconds: what a meter shows at that moment (Tech 3341)."""
    return (steps + hop * np.arange(windows)) / STEPS_PER_S


def decibels(mean_squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return levels re a square wave of full scale, never below `SILENCE_DB`."""
    floor = 10.0 ** (SILENCE_DB / 10.0)
    result: NDArray[np.float64] = 10.0 * np.log10(np.maximum(mean_squares, floor))
    return result


def loudness_lufs(mean_squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the loudness of K-weighted mean squares, never below `SILENCE_DB`."""
    return decibels(mean_squares * 10.0 ** (_OFFSET_DB / 10.0))


def integrated_lufs(blocks: NDArray[np.float64]) -> float | None:
    """Return the gated loudness of mean squares of 400 ms blocks; None when none passes the gate."""
    gated = _above_gates(blocks, relative_lu=INTEGRATED_GATE_LU)
    return float(loudness_lufs(gated.mean())) if len(gated) else None


def loudness_range_lu(windows: NDArray[np.float64]) -> float | None:
    """Return the loudness range (EBU Tech 3342) of mean squares of 3 s windows, 100 ms apart.

    None when no window passes the gate.
    """
    gated = _above_gates(windows, relative_lu=RANGE_GATE_LU)
    if len(gated) == 0:
        return None
    low, high = np.percentile(loudness_lufs(gated), RANGE_PERCENTILES)
    return float(high - low)


def _above_gates(means: NDArray[np.float64], *, relative_lu: float) -> NDArray[np.float64]:
    """Leave out what the absolute gate refuses, then what lies too far below the mean of the rest."""
    loud: NDArray[np.float64] = means[means > 10.0 ** ((ABSOLUTE_GATE_LUFS - _OFFSET_DB) / 10.0)]
    if len(loud) == 0:
        return loud
    gated: NDArray[np.float64] = loud[loud > loud.mean() * 10.0 ** (relative_lu / 10.0)]
    return gated


def _magnitude(samples: NDArray[np.float32]) -> float:
    # Not abs(): that would write a copy of everything only to read it once.
    return float(max(samples.max(initial=0.0), -samples.min(initial=0.0)))
