"""Convolutions, residual branches, encoder and decoder layers of HTDemucs with channels last.

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

from stages.htdemucs.normed import RowNorm, covariance

# Rows of a residual branch are independent: so many bytes at once stay in the caches.
_CACHED_BYTES = 4 << 20

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
        self._norm = _own(norm, dtype)
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


class Residual(nn.Module):
    """One residual of a `DConv`: dilated convolution, norm, GELU, 1x1 convolution, norm, gate, scale.

    The second norm costs no pass over its input: mean and deviation of a 1x1 convolution follow
    from mean and covariance of what goes in, which has a sixteenth of the channels. With the rows
    divided by that deviation, and two more channels for what the mean and the convolution's own
    bias then are, the convolution itself gives what the norm would.
    """

    weight: Tensor
    bias: Tensor
    products: Tensor

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        conv, norm, _, out, out_norm, _, scale = layer
        self.narrow = Conv(conv, dtype)
        self.norm = RowNorm(norm, dtype)
        self._eps = out_norm.eps
        weight, bias = out.weight.detach()[:, :, 0].double(), out.bias.detach().double()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("products", weight.T @ weight / len(bias))
        factor, shift = out_norm.weight.detach().double(), out_norm.bias.detach().double()
        half = len(bias) // 2
        after = torch.ones_like(factor)
        after[:half] = scale.scale.detach()
        columns = [factor[:, None] * weight, (factor * bias)[:, None], -factor[:, None]]
        normed = torch.cat(columns, dim=1) * after[:, None]
        self.value = Pointwise(normed[:half], (shift * after)[:half], dtype)
        self.gate = Pointwise(normed[half:], shift[half:], dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of `x` `(rows, channels, 1, length)` and its residual."""
        hidden = F.gelu(self.norm(as_rows(self.narrow(x))))
        mean, inverse = self._moments(hidden)
        count, length, channels = hidden.shape
        padded = hidden.new_empty(count, length, channels + 2)
        torch.mul(hidden, inverse, out=padded[..., :channels])
        padded[..., channels : channels + 1] = inverse
        padded[..., channels + 1 :] = mean * inverse
        pixels = padded[:, None].permute(0, 3, 1, 2)
        return torch.addcmul(x, self.value(pixels), self.gate(pixels).sigmoid_())

    def _moments(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and reciprocal deviation of what the second convolution would give.

        Both float32 of shape `(rows, 1, 1)`. Nothing large is subtracted from its like.
        """
        means, spread = covariance(hidden)
        of_channels = means @ self.weight.T + self.bias
        mean = of_channels.mean(1, keepdim=True)
        variance = (spread * self.products).sum((1, 2)) + (of_channels - mean).square().mean(1)
        inverse = torch.rsqrt(variance + self._eps)
        return mean.float()[:, :, None], inverse.float()[:, None, None]


class Residuals(nn.Module):
    """A `DConv`: residuals along time, each frequency for itself."""

    def __init__(self, dconv: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Residual(layer, dtype) for layer in dconv.layers)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frequencies, length = x.shape
        pixels = x.permute(0, 2, 3, 1)
        rows = pixels.reshape(-1, 1, length, channels).permute(0, 3, 1, 2)
        at_once = self._rows_at_once(x)
        if at_once < frequencies:
            done = torch.empty_like(rows)
            for item in range(batch):
                # Cut alike in each item of the batch: its bits must not depend on its place.
                for start in range(0, frequencies, at_once):
                    some = slice(
                        item * frequencies + start,
                        item * frequencies + min(start + at_once, frequencies),
                    )
                    done[some] = self._of_rows(rows[some])
        else:
            done = self._of_rows(rows)
        return done.permute(0, 2, 3, 1).reshape(pixels.shape).permute(0, 3, 1, 2)

    def _rows_at_once(self, x: Tensor) -> int:
        _, channels, frequencies, length = x.shape
        if x.device.type != "cpu":
            return frequencies
        return max(1, _CACHED_BYTES // (2 * channels * length * x.element_size()))

    def _of_rows(self, rows: Tensor) -> Tensor:
        for layer in self.layers:
            rows = layer(rows)
        return rows


class Encoder(nn.Module):
    """A `HEncLayer`: a strided convolution, GELU, residuals, and a gated convolution."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self._time_stride = 1 if layer.freq else layer.stride
        self.conv = Conv(layer.conv, dtype)
        self.norm = _own(layer.norm1, dtype)
        self.residuals = Residuals(layer.dconv, dtype) if layer.dconv is not None else None
        self.rewrite = Gated(layer.rewrite, layer.norm2, dtype)

    def forward(self, x: Tensor) -> Tensor:
        missing = -x.shape[-1] % self._time_stride
        if missing:
            x = F.pad(x, (0, missing)).contiguous(memory_format=torch.channels_last)
        y = self.conv(x)
        y = F.gelu(y if self.norm is None else self.norm(y))
        if self.residuals is not None:
            y = self.residuals(y)
        rewritten: Tensor = self.rewrite(y)
        return rewritten


class Decoder(nn.Module):
    """A `HDecLayer`: skip, gated convolution, residuals, and a transposed convolution."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self._freq, self._pad, self._last = layer.freq, layer.pad, layer.last
        self.rewrite = Gated(layer.rewrite, layer.norm1, dtype)
        self.residuals = Residuals(layer.dconv, dtype) if layer.dconv is not None else None
        kind: type[AcrossFrequencies | AcrossTime] = AcrossFrequencies if layer.freq else AcrossTime
        self.transposed = kind(layer.conv_tr, dtype)
        self.norm = _own(layer.norm2, dtype)

    def forward(self, x: Tensor, skip: Tensor, length: int) -> Tensor:
        """Return the layer's output; `length` is that of the time branch."""
        y = self.rewrite(x + skip)
        if self.residuals is not None:
            y = self.residuals(y)
        z = self.transposed(y)
        if self.norm is not None:
            z = self.norm(z)
        if not self._freq:
            z = z[..., self._pad : self._pad + length]
        elif self._pad:
            z = z[:, :, self._pad : -self._pad]
        return z if self._last else F.gelu(z)


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


def _own(norm: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """Return a copy of a norm, None where there is none."""
    return None if isinstance(norm, nn.Identity) else copy.deepcopy(norm).to(dtype)
