"""How much a model computes for one segment, by the shapes of Demucs' own modules.

Convolutions, transposed convolutions, linear layers, recurrent layers and attention products; not
the Fourier transforms, resampling, norms and activations, which come to little.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from demucs.demucs import LocalState
from torch import nn

_Count = Callable[[Any, tuple[torch.Tensor, ...], torch.Tensor], int]


def flop_of_segment(network: nn.Module, samples: int) -> int:
    """Return the floating-point operations of one forward of stereo `samples`, by running it."""
    total = 0

    def counting(count: _Count) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
            nonlocal total
            total += count(module, given, made)

        return hook

    hooks = [
        module.register_forward_hook(counting(count))
        for module in network.modules()
        for kinds, count in _COUNTS
        if isinstance(module, kinds)
    ]
    try:
        with torch.no_grad():
            network(torch.rand(1, 2, samples) - 0.5)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _convolution(layer: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> int:
    each = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return 2 * made.numel() * int(each)


def _transposed(layer: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> int:
    each = layer.out_channels // layer.groups * math.prod(layer.kernel_size)
    return 2 * given[0].numel() * int(each)


def _linear(layer: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> int:
    return 2 * made.numel() * int(layer.in_features)


def _recurrent(layer: Any, given: tuple[torch.Tensor, ...], made: Any) -> int:
    steps = given[0].numel() // given[0].shape[-1]
    return sum(2 * steps * weight.numel() for weight in layer.parameters() if weight.dim() == 2)


def _attention(layer: Any, given: tuple[torch.Tensor, ...], made: Any) -> int:
    """Return four projections, and the products: each query with each key, each weight with each value.

    The projections are not modules that are called, so `_linear` never sees them.
    """
    batch, queries, channels = given[0].shape
    keys = given[1].shape[1]
    projected = 2 * channels * channels * (2 * queries + 2 * keys)
    return batch * (projected + 4 * queries * keys * channels)


def _local_attention(layer: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> int:
    batch, channels, steps = given[0].shape
    return 4 * batch * steps * steps * channels


_COUNTS: tuple[tuple[tuple[type[nn.Module], ...], _Count], ...] = (
    ((nn.Conv1d, nn.Conv2d), _convolution),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d), _transposed),
    ((nn.Linear,), _linear),
    ((nn.LSTM,), _recurrent),
    ((nn.MultiheadAttention,), _attention),
    ((LocalState,), _local_attention),
)
