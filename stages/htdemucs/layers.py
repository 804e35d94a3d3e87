"""The encoder and decoder layers of HTDemucs, in both of its branches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.htdemucs.convolutions import AcrossFrequencies, AcrossTime, Conv, Gated, own_norm
from stages.htdemucs.residuals import Residuals


class Encoder(nn.Module):
    """A `HEncLayer`: a strided convolution, GELU, residuals, and a gated convolution."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self._time_stride = 1 if layer.freq else layer.stride
        self.conv = Conv(layer.conv, dtype)
        self.norm = own_norm(layer.norm1, dtype)
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
        self.norm = own_norm(layer.norm2, dtype)

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
