"""The short-time Fourier transform around HTDemucs, and its inverse.

As Demucs' `_spec` and `_ispec` (window Hann, hop a quarter, orthonormal; one bin and two frames at
each end are dropped), without their padding twice, their checks, which wait for the device, and
their window made anew at each call.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_QUARTERS = 4  # hops in a window


class Spectrum(nn.Module):
    """Samples to bins and back, for one window length."""

    window: Tensor
    envelope: Tensor

    def __init__(self, window_samples: int) -> None:
        super().__init__()
        self._window_samples = window_samples
        self._hop = window_samples // _QUARTERS
        self._margin = self._hop // 2 * 3
        window = torch.hann_window(window_samples, dtype=torch.float64)
        # What four windows, squared, add up to: the same at every hop, as none is at the edge.
        overlap = window.square().view(_QUARTERS, -1).sum(0)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("envelope", overlap.reciprocal().float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Return `(batch, bins, frames, channels, 2)`, real and imaginary, of `(batch, channels, n)`."""
        length = samples.shape[-1]
        frames = math.ceil(length / self._hop)
        margins = (self._margin, self._margin + frames * self._hop - length)
        padded = F.pad(samples, margins, mode="reflect")
        windowed = padded.unfold(-1, self._window_samples, self._hop)[:, :, :frames] * self.window
        bins = torch.fft.rfft(windowed, norm="ortho")[..., :-1]
        return torch.view_as_real(bins).permute(0, 3, 2, 1, 4)

    def inverse(self, bins: Tensor, length: int) -> Tensor:
        """Return samples `(batch, channels, length)` of what `forward` gives."""
        ordered = torch.view_as_complex(bins.permute(0, 3, 2, 1, 4).contiguous())
        frames = torch.fft.irfft(F.pad(ordered, (0, 1)), n=self._window_samples, norm="ortho").mul_(
            self.window
        )
        batch, channels, count, _ = frames.shape
        hop = self._hop
        added = frames.new_zeros(batch, channels, count + _QUARTERS - 1, hop)
        for quarter in range(_QUARTERS):
            part = frames[..., quarter * hop : (quarter + 1) * hop]
            added[:, :, quarter : quarter + count] += part
        samples: Tensor = added.mul_(self.envelope).view(batch, channels, -1)
        return samples[..., self._margin : self._margin + length]
