"""Samples to integers of a width without clipping: when the gain must fall, and how it is applied.

A gain is written as its exponent: gain = 2 ** -exponent, so that scaling is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Fall(NamedTuple):
    """From this frame on, and for all before it, the gain is `2 ** -exponent`."""

    frame: int
    exponent: int


def exponent_for(lowest: float, highest: float, *, bits: int) -> int:
    """Return the least exponent, 0 or more, at which no sample between these two clips."""
    exponent = 0
    while _clips(lowest * 2.0**-exponent, highest * 2.0**-exponent, bits=bits):
        exponent += 1
    return exponent


def clipping(samples: NDArray[np.float32], *, bits: int, exponent: int = 0) -> NDArray[np.bool_]:
    """Return which samples would clip at this gain; same shape."""
    gain = np.float32(2.0**-exponent)
    return (samples * gain >= _first_above(bits)) | (samples * gain < _last_below(bits))


def falls(samples: NDArray[np.float32], *, bits: int, exponent: int) -> list[Fall]:
    """Return where the gain has to fall, in order; shape `(..., frames)`, all rows together.

    It falls at the very frame that needs it, not at a block's border: so the integers depend on the
    samples alone, however they are cut into blocks.
    """
    found: list[Fall] = []
    start = 0
    while (loud := _loud_frames(samples[..., start:], bits=bits, exponent=exponent)).any():
        start += int(loud.argmax())
        frame = samples[..., start]
        exponent = exponent_for(float(frame.min()), float(frame.max()), bits=bits)
        found.append(Fall(start, exponent))
    return found


def to_steps(
    samples: NDArray[np.float32], *, bits: int, exponents: Sequence[int]
) -> NDArray[np.float32]:
    """Return the integers, as floats, of samples `(channels, frames)`: shape `(frames, channels)`.

    They are rounded at the first exponent, then at each that follows, as if they had been written
    before the gain fell.
    """
    scale = np.float32(2.0 ** (bits - 1 - exponents[0]))
    steps = np.multiply(samples.T, scale, order="C")
    return fallen(np.rint(steps, out=steps), exponents=exponents)


def fallen(steps: NDArray[np.float32], *, exponents: Sequence[int]) -> NDArray[np.float32]:
    """Return integers, held as floats of any shape, brought from the first exponent to the last."""
    for before, after in pairwise(exponents):
        steps = np.rint(steps * np.float32(2.0 ** (before - after)))
    return steps


def _loud_frames(samples: NDArray[np.float32], *, bits: int, exponent: int) -> NDArray[np.bool_]:
    loud = clipping(samples, bits=bits, exponent=exponent)
    return np.asarray(loud.reshape(-1, samples.shape[-1]).any(axis=0))


def _clips(lowest: float, highest: float, *, bits: int) -> bool:
    return highest >= _first_above(bits) or lowest < _last_below(bits)


def _first_above(bits: int) -> float:
    """The least that is rounded to `2 ** (bits - 1)`, one more than the highest integer."""
    return 1 - 2.0**-bits


def _last_below(bits: int) -> float:
    """The least that is still rounded to the lowest integer: half a step, and a tie, to even."""
    return -1 - 2.0**-bits
