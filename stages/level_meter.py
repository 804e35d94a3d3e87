"""One pass over a source for loudness and peaks: energies of 10 ms steps, and the peaks.

What is kept grows by 16 bytes per step: 58 MB for 10 hours.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from stages.bs1770 import STEPS_PER_S, channel_weights, k_weighting
from stages.growing import Growing
from stages.true_peak import TruePeak


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


class LevelMeter:
    """A sink that measures all channels of a source at its own rate; `levels` in the end.

    The rate is 4,000 Hz or more: below 3,364 Hz the K-weighting has no stable form.

    Args:
        true_peak_oversampling: see `oversampling_at`.
    """

    def __init__(self, true_peak_oversampling: int = 4) -> None:
        self._oversampling = true_peak_oversampling

    @staticmethod
    @functools.cache
    def of(true_peak_oversampling: int) -> functools.partial[LevelMeter]:
        """Return the kind of sink for one oversampling, always the same object."""
        return functools.partial(LevelMeter, true_peak_oversampling)

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        self._rate_hz, self._channels = sample_rate_hz, channels
        self._peaks = TruePeak(channels, sample_rate_hz, oversampling=self._oversampling)
        self._sections = k_weighting(sample_rate_hz)
        self._weights = np.array(channel_weights(channels))
        self._state = np.zeros((channels, len(self._sections), 2))
        steps = (expected_frames or 0) * STEPS_PER_S // sample_rate_hz
        self._steps = Growing((2,), np.float64, steps)
        self._begun = np.zeros(2)  # energies of the step that is not whole yet
        self._done = 0
        self._energy = 0.0

    def add(self, block: NDArray[np.float32]) -> None:
        self._peaks.add(block)
        steps = np.zeros((2 + len(block) * STEPS_PER_S // self._rate_hz, 2))
        steps[0] = self._begun
        whole, energy = _measure(
            block, self._sections, self._weights, self._state, self._done, self._rate_hz, steps
        )
        self._steps.add(steps[:whole])
        self._begun = steps[whole].copy()
        self._done += len(block)
        self._energy += energy

    def end(self) -> None:
        self._peaks.end()
        steps = self._steps.joined()
        self.levels = Levels(
            sample_rate_hz=self._rate_hz,
            weighted=np.ascontiguousarray(steps[:, 0]),
            plain=np.ascontiguousarray(steps[:, 1]),
            mean_square=self._energy / max(self._done * self._channels, 1),
            sample_peak=self._peaks.sample_peak,
            true_peak=self._peaks.true_peak,
        )


@numba.njit(cache=True, nogil=True)
def _measure(
    block: NDArray[np.float32],
    sections: NDArray[np.float64],
    weights: NDArray[np.float64],
    state: NDArray[np.float64],
    done: int,
    rate_hz: int,
    steps: NDArray[np.float64],
) -> tuple[int, float]:  # pragma: no cover
    """Add the energies of a block to steps; return how many are whole, and the energy of it all.

    Step `k` starts at sample `k * rate // 100`, so that rates like 22,050 Hz do not drift.
    """
    frames, channels = block.shape
    step = (STEPS_PER_S * (done + 1) - 1) // rate_hz
    first, start, energy = step, 0, 0.0
    while start < frames:
        after = (step + 1) * rate_hz // STEPS_PER_S - done
        end = min(after, frames)
        weighted, plain = 0.0, 0.0
        for channel in range(0, channels, 2):
            # Two at once: each waits for its own last value, not for the other's.
            pair = _pair(
                block, channel, min(channel + 1, channels - 1), start, end, sections, state
            )
            weighted += weights[channel] * pair[0]
            plain += pair[1]
            if channel + 1 < channels:
                weighted += weights[channel + 1] * pair[2]
                plain += pair[3]
        energy += plain
        steps[step - first, 0] += weighted
        steps[step - first, 1] += plain / channels
        start = end
        if end == after:
            step += 1
    return step - first, energy


@numba.njit(cache=True, nogil=True)
def _pair(
    block: NDArray[np.float32],
    left: int,
    right: int,
    start: int,
    end: int,
    sections: NDArray[np.float64],
    state: NDArray[np.float64],
) -> tuple[float, float, float, float]:  # pragma: no cover
    """K-weight two channels; return the energy of each, weighted and plain, left first.

    Direct form II, transposed, as SciPy's `sosfilt`. In float64: float32 states are wrong by 1e-4.
    """
    b0, b1, b2, a1, a2 = (
        sections[0, 0],
        sections[0, 1],
        sections[0, 2],
        sections[0, 4],
        sections[0, 5],
    )
    c0, c1, c2, d1, d2 = (
        sections[1, 0],
        sections[1, 1],
        sections[1, 2],
        sections[1, 4],
        sections[1, 5],
    )
    s1, s2, t1, t2 = state[left, 0, 0], state[left, 0, 1], state[left, 1, 0], state[left, 1, 1]
    u1, u2, v1, v2 = state[right, 0, 0], state[right, 0, 1], state[right, 1, 0], state[right, 1, 1]
    weighted_left, plain_left, weighted_right, plain_right = 0.0, 0.0, 0.0, 0.0
    for at in range(start, end):
        x, y = np.float64(block[at, left]), np.float64(block[at, right])
        plain_left += x * x
        plain_right += y * y
        p, q = b0 * x + s1, b0 * y + u1
        s1, u1 = b1 * x - a1 * p + s2, b1 * y - a1 * q + u2
        s2, u2 = b2 * x - a2 * p, b2 * y - a2 * q
        x, y = c0 * p + t1, c0 * q + v1
        t1, v1 = c1 * p - d1 * x + t2, c1 * q - d1 * y + v2
        t2, v2 = c2 * p - d2 * x, c2 * q - d2 * y
        weighted_left += x * x
        weighted_right += y * y
    if right != left:
        state[right, 0, 0], state[right, 0, 1] = u1, u2
        state[right, 1, 0], state[right, 1, 1] = v1, v2
    state[left, 0, 0], state[left, 0, 1], state[left, 1, 0], state[left, 1, 1] = s1, s2, t1, t2
    return weighted_left, plain_left, weighted_right, plain_right
