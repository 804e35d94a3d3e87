"""A song as one network sees it: what it is given, and what came out and is final."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from stages.engine.segments import Cutting, OverlapAdd, Segment


class View:
    """A song as one network sees it, once: after `delay` samples of silence."""

    def __init__(
        self, network: int, delay: int, mix_samples: int, cutting: Cutting, weights: Tensor
    ) -> None:
        self.network = network
        self.delay = delay
        self.cutting = cutting
        self.samples = mix_samples + delay
        self._sum = OverlapAdd(weights, cutting.stride)
        self._cut = 0
        self._silence = delay  # of what comes out, still to be dropped
        self._final: deque[Tensor] = deque()
        self.final_samples = 0
        self.computed = 0  # samples, the silence included, up to which it came

    @property
    def needed(self) -> int:
        """Position in the mix before which this view needs nothing any more."""
        return (self.samples if self.is_cut else self._next().first) - self.delay

    @property
    def is_cut(self) -> bool:
        """Whether all of it was handed out."""
        return self._cut >= self.samples

    def next(self) -> Segment:
        """Return its next segment; offsets include the silence."""
        segment = self._next()
        self._cut += self.cutting.stride
        return segment

    def _next(self) -> Segment:
        return self.cutting.segment(self._cut, self.samples)

    def add(self, segment: Segment, stems: Tensor, *, is_last: bool) -> None:
        """Take what the network gave for a segment: `(sources, 2, taken)`."""
        self.computed = min(segment.offset + self.cutting.stride, self.samples)
        trimmed = stems[..., segment.trimmed : segment.trimmed + segment.samples].clone()
        final = self._sum.add(trimmed, is_last=is_last)
        dropped = min(self._silence, final.shape[-1])
        self._silence -= dropped
        if dropped < final.shape[-1]:
            self._final.append(final[..., dropped:])
            self.final_samples += final.shape[-1] - dropped

    def take(self, samples: int) -> Tensor:
        """Return so many of the first final samples, which must be there. The caller's own."""
        parts = []
        self.final_samples -= samples
        while samples:
            part = self._final.popleft()
            if part.shape[-1] > samples:
                self._final.appendleft(part[..., samples:])
                part = part[..., :samples]
            samples -= part.shape[-1]
            parts.append(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
