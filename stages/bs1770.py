"""Loudness after ITU-R BS.1770-5, with the windows of EBU Tech 3341 and the range of Tech 3342.

Energies of 10 ms steps are what it starts from: every window of every feature is a sum of them.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

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

# By number of channels, in the order of a WAV file. BS.1770-5: 1.41 for what stands 60 to 120
# degrees to the side and not overhead, 1.0 for the rest, nothing for LFE. Mono counts once: 3 LU
# below the same signal in two channels. Other counts have no known layout: all 1.0.
_CHANNEL_WEIGHTS: dict[int, tuple[float, ...]] = {
    4: (1.0, 1.0, 1.41, 1.41),  # L R Ls Rs
    5: (1.0, 1.0, 1.0, 1.41, 1.41),  # L R C Ls Rs
    6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41),  # L R C LFE Ls Rs
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.41, 1.41),  # L R C LFE, backs at 135, sides at 90 degrees
}


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


def loudness_range_ends_lufs(windows: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return what the loudness range (EBU Tech 3342) lies between, the lower end first.

    Its length is the range in LU. None when no window passes the gate.

    Args:
        windows: mean squares of 3 s, 100 ms apart.
    """
    gated = _above_gates(windows, relative_lu=RANGE_GATE_LU)
    if len(gated) == 0:
        return None
    low, high = np.percentile(loudness_lufs(gated), RANGE_PERCENTILES)
    return float(low), float(high)


def _above_gates(means: NDArray[np.float64], *, relative_lu: float) -> NDArray[np.float64]:
    """Leave out what the absolute gate refuses, then what lies too far below the mean of the rest."""
    loud: NDArray[np.float64] = means[means > 10.0 ** ((ABSOLUTE_GATE_LUFS - _OFFSET_DB) / 10.0)]
    if len(loud) == 0:
        return loud
    gated: NDArray[np.float64] = loud[loud > loud.mean() * 10.0 ** (relative_lu / 10.0)]
    return gated
