"""Convolutions and linear maps of HTDemucs with channels last.

Every tensor here is `(batch, channels, frequency, time)` in shape and channels last in memory; the
time branch has one frequency. That way oneDNN's convolutions run up to three times as fast on thin
layers, 1x1 ones need no reordering, and rows of frequencies are views.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ONEDNN: Any = torch.backends.mkldnn
_PACKS: bool = _ONEDNN.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Conv(nn.Module):
    """A convolution of Demucs, one- or two-dimensional, or some of its output channels."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, conv: nn.Conv1d | nn.Conv2d, dtype: torch.dtype, outputs: slice = slice(None)
    ) -> None:
        super().__init__()
        weight, bias = conv.weight.detach()[outputs], conv.bias
        assert bias is not None
        flat = weight.dim() == 3
        self.register_buffer("weight", last(weight[:, :, None] if flat else weight, dtype))
        self.register_buffer("bias", bias.detach()[outputs].to(dtype))
        self._stride = (1, *conv.stride) if flat else conv.stride
        self._padding = (0, *conv.padding) if flat else conv.padding
        self._dilation = (1, *conv.dilation) if flat else conv.dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self._stride, self._padding, self._dilation)


class Pointwise(nn.Module):
    """A 1x1 convolution: what a linear layer is, with its bias added inside (12 % less time)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", last(weight.detach()[:, :, None, None], dtype))
        self.register_buffer("bias", bias.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


class Linear(nn.Module):
    """A linear map of tokens, `(batch, tokens, inputs)`, with a GELU after it if asked.

    On a CPU through the operation that torch's compiler uses: weights packed for oneDNN once, bias
    and GELU inside, a fifth less time. Where a torch has none, as a plain map.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor, dtype: torch.dtype, *, gelu: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().to(dtype).contiguous())
        self.register_buffer("bias", bias.detach().to(dtype))
        self._gelu = gelu
        self._packed: dict[int, Tensor] = {}  # by the number of tokens

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, tokens, outputs)`."""
        if x.device.type != "cpu" or not _PACKS:
            plain = F.linear(x, self.weight, self.bias)
            return F.gelu(plain) if self._gelu else plain
        tokens = x.shape[0] * x.shape[1]
        if tokens not in self._packed:
            self._packed[tokens] = torch.ops.mkldnn._reorder_linear_weight(self.weight, tokens)
        name, algorithm = ("gelu", "none") if self._gelu else ("none", "")
        mapped: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed[tokens], self.bias, name, [], algorithm
        )
        return mapped


class Gated(nn.Module):
    """A convolution whose outputs come in halves, the second the gate of the first.

    In two convolutions where that costs less than a gate that reads both halves of a pixel.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d, norm: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        half = conv.out_channels // 2
        self._norm = own_norm(norm, dtype)
        pixel = all(size == 1 for size in conv.kernel_size)
        self._apart = self._norm is None and (pixel or dtype is not torch.float32)
        if self._apart:
            self.value = Conv(conv, dtype, slice(half))
            self.gate = Conv(conv, dtype, slice(half, None))
        else:
            self.both = Conv(conv, dtype)

    def forward(self, x: Tensor) -> Tensor:
        if self._apart:
            gated: Tensor = self.value(x).mul_(self.gate(x).sigmoid_())
            return gated
        both = self.both(x)
        return F.glu(both if self._norm is None else self._norm(both), dim=1)


class AcrossFrequencies(nn.Module):
    """A transposed convolution over frequencies."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: Any, dtype: torch.dtype) -> None:
        super().__init__()
        assert conv.bias is not None
        self._stride = conv.stride
        self.register_buffer("weight", last(conv.weight.detach(), dtype))
        self.register_buffer("bias", conv.bias.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias, self._stride)


class AcrossTime(nn.Module):
    """A transposed convolution over time whose kernel is two strides long.

    As one matrix product and one sum: each output is a tap of its own stride and one of the stride
    before. oneDNN's kernel for this shape takes five times as long.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: Any, dtype: torch.dtype) -> None:
        super().__init__()
        inputs, self._outputs, taps = conv.weight.shape
        assert conv.bias is not None
        self._stride = taps // 2
        flat = conv.weight.detach().permute(2, 1, 0).reshape(taps * self._outputs, inputs)
        self.register_buffer("weight", flat.to(dtype).contiguous())
        self.register_buffer("bias", conv.bias.detach().repeat(self._stride).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        taps = F.linear(as_rows(x), self.weight)
        batch, length, width = taps.shape
        half = width // 2
        sums = taps.new_empty(batch, length + 1, half)
        torch.add(taps[..., :half], self.bias, out=sums[:, :length])
        sums[:, length:] = self.bias
        sums[:, 1:] += taps[..., half:]
        pixels = sums.view(batch, 1, (length + 1) * self._stride, self._outputs)
        return pixels.permute(0, 3, 1, 2)


def as_rows(x: Tensor) -> Tensor:
    """Return `(rows, channels, 1, length)`, channels last, as `(rows, length, channels)`."""
    rows, channels, _, length = x.shape
    return x.permute(0, 2, 3, 1).reshape(rows, length, channels)


def last(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return four-dimensional weights with channels last."""
    return weight.to(dtype).contiguous(memory_format=torch.channels_last)


def own_norm(norm: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """Return a copy of a norm, None where there is none."""
    return None if isinstance(norm, nn.Identity) else copy.deepcopy(norm).to(dtype)
