"""The residual branches of HTDemucs, a `DConv` each: along time, in rows that stay in the caches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.htdemucs.convolutions import Conv, Pointwise, as_rows
from stages.htdemucs.normed import RowNorm, covariance

# Rows of a residual branch are independent: so many bytes at once stay in the caches.
_CACHED_BYTES = 4 << 20


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
