"""Group norms of one group with channels last, at the accuracy that 110 dB needs.

torch's group norm for channels-last input adds up values and squares of each channel in one float32:
67 dB on 86,000 values of one channel, 96 dB on 169 values whose mean is twenty deviations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SHORT = 1024


class RowNorm(nn.Module):
    """A group norm of one group; takes and gives `(rows, length, channels)`, contiguous."""

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: nn.GroupNorm, dtype: torch.dtype) -> None:
        super().__init__()
        self._eps = norm.eps
        self.register_buffer("weight", norm.weight.detach().to(dtype))
        self.register_buffer("bias", norm.bias.detach().to(dtype))
        self._spread: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def forward(self, rows: Tensor) -> Tensor:
        """Return the rows, each normalised over all of it, then scaled and shifted per channel."""
        count, length, channels = rows.shape
        if length <= _SHORT:
            # A layer norm over length and channels, whose kernel is exact and the fastest.
            return F.layer_norm(rows, (length, channels), *self._weights(rows), self._eps)
        flat = rows.view(count, -1).float()
        centred = flat - flat.mean(1, keepdim=True)
        variance = centred.square().mean(1)
        scale = self.weight * torch.rsqrt(variance + self._eps)[:, None, None]
        normed = torch.addcmul(self.bias, centred.view_as(rows), scale)
        return normed.to(rows.dtype)

    def _weights(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight and bias spread over the length of the rows, made once for each length."""
        _, length, channels = rows.shape
        key = (length, rows.device)
        if key not in self._spread:
            shape = (length, channels)
            self._spread[key] = (
                self.weight.expand(shape).contiguous(),
                self.bias.expand(shape).contiguous(),
            )
        return self._spread[key]


def covariance(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of `(rows, length, channels)` over length and its covariance, in float64.

    The products of a thousand values are added up in float32, the rest in float64.
    """
    count, length, channels = rows.shape
    wide = rows.float()
    mean = wide.mean(1, keepdim=True)
    centred = wide - mean
    whole = length - length % _SHORT
    products = centred.new_zeros(count, channels, channels, dtype=torch.float64)
    if whole:
        blocks = centred[:, :whole].reshape(-1, _SHORT, channels)
        summed = torch.bmm(blocks.transpose(1, 2), blocks).double()
        products += summed.view(count, -1, channels, channels).sum(1)
    if whole < length:
        rest = centred[:, whole:]
        products += torch.bmm(rest.transpose(1, 2), rest).double()
    return mean[:, 0].double(), products / length
