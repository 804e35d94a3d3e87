"""A convolution with what follows it, without the filters that training has switched off.

Weight decay drives filters that nothing needs to some 1e-30: in float32 their output is that of no
filter at all, a constant. In MusiCNN that is true of 180 and 189 of the 204 filters of its two
dearest convolutions, and of most of the others. Leaving them out, and looking for the maximum before
what only rises or falls, gives the same numbers for an eighth of the multiplications.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stages.graphs.onnx_writer import OnnxWriter

Values: TypeAlias = NDArray[np.float32]

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]

# What all weights of a filter together may move an activation by, for each unit of the input. Inputs
# are below 1e4 and what follows rounds at 1e-7: no number changes. Real filters have 1e-2 and more.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Convolution:
    """`filters` of shape `(out, in, height, width)`, and the other attributes of ONNX's `Conv`."""

    filters: Values
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Affine:
    """Each channel times its factor, plus its shift."""

    factors: Values
    shifts: Values


@dataclass(frozen=True)
class Rectified:
    """Nothing below zero."""


@dataclass(frozen=True)
class Highest:
    """The maximum in each window; the attributes of ONNX's `MaxPool`."""

    attributes: Mapping[str, Any]


Step: TypeAlias = Affine | Rectified | Highest


def convolved(
    writer: OnnxWriter, source: str, convolution: Convolution, steps: Sequence[Step]
) -> str:
    """Add a convolution and the steps that follow it; return the tensor, channels last as the source.

    Args:
        steps: at most one `Highest` among them.
    """
    live = _live(convolution, steps)
    channels = len(convolution.filters)
    filters = convolution.filters[live]
    pool = next((step for step in steps if isinstance(step, Highest)), None)
    before = steps[: steps.index(pool)] if pool is not None else []
    signs = np.prod([_signs(step, live) for step in before], axis=0, initial=1.0)
    flipped = np.broadcast_to(np.asarray(signs, np.float32), len(filters))
    found = writer.emit("Transpose", [source], perm=TO_CHANNELS_FIRST)
    weights = writer.constant(filters * flipped[:, None, None, None])
    found = writer.emit("Conv", [found, weights], **convolution.attributes)
    if pool is not None:
        found = writer.emit("MaxPool", [found], **pool.attributes)
    found = writer.emit("Transpose", [found], perm=TO_CHANNELS_LAST)
    if (flipped < 0).any():
        found = writer.emit("Mul", [found, writer.constant(flipped)])
    for step in steps:
        found = _done(writer, found, step, live)
    return found if len(live) == channels else _spread(writer, found, live, steps, channels)


def _live(convolution: Convolution, steps: Sequence[Step]) -> NDArray[np.int64]:
    """Return which filters matter, at least one."""
    if convolution.attributes["group"] != 1:
        return np.arange(len(convolution.filters))
    reach = np.abs(convolution.filters.astype(np.float64)).sum(axis=(1, 2, 3))
    for step in steps:
        if isinstance(step, Affine):
            reach = reach * np.abs(step.factors)
    live: NDArray[np.int64] = np.flatnonzero(~(reach <= _NOTHING))  # NaN is no filter to leave out
    return live if len(live) else np.array([0])


def _signs(step: Step, live: NDArray[np.int64]) -> Values:
    """Return whether a step turns each channel's order around: then its minimum is looked for."""
    factors = step.factors[live] if isinstance(step, Affine) else np.ones(len(live), np.float32)
    return np.where(factors < 0, np.float32(-1), np.float32(1))


def _done(writer: OnnxWriter, source: str, step: Step, live: NDArray[np.int64]) -> str:
    if isinstance(step, Rectified):
        return writer.emit("Relu", [source])
    if isinstance(step, Highest):
        return source  # looked for already
    if (step.factors != 1).any():
        source = writer.emit("Mul", [source, writer.constant(step.factors[live])])
    return writer.emit("Add", [source, writer.constant(step.shifts[live])])


def _spread(
    writer: OnnxWriter,
    source: str,
    live: NDArray[np.int64],
    steps: Sequence[Step],
    channels: int,
) -> str:
    """Put the live channels in their places, and between them what the others always are."""
    always = np.zeros(channels, np.float32)
    for step in steps:
        if isinstance(step, Affine):
            always = always * step.factors + step.shifts
        elif isinstance(step, Rectified):
            always = np.maximum(always, np.float32(0))
    always[live] = 0
    places = np.zeros((len(live), channels), np.float32)
    places[np.arange(len(live)), live] = 1
    return writer.emit(
        "Add", [writer.emit("MatMul", [source, writer.constant(places)]), writer.constant(always)]
    )
