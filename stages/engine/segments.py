"""How Demucs cuts a track into segments that overlap, and how their stems are put together again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.demucs_loader import Network


@dataclass(frozen=True)
class Segment:
    """One segment of a track, in samples.

    Args:
        offset: where its stems begin.
        samples: how many of them there are: fewer at the end of the track.
        first: where what the network is given begins; may lie before the track.
        taken: how much the network is given; what lies outside of the track is zero.
    """

    offset: int
    samples: int
    first: int
    taken: int

    @property
    def trimmed(self) -> int:
        """How many samples of the network's output lie before `offset`."""
        return self.offset - self.first


@dataclass(frozen=True)
class Cutting:
    """What one network takes at once and how far apart that is, in samples.

    `taken`: how much it is given for so many samples. HTDemucs always gets the length it was
    trained on; older networks compute a short segment at its own length.
    """

    length: int
    stride: int
    taken: Callable[[int], int]

    @classmethod
    def of(cls, network: Network, overlap: float) -> Cutting:
        """Return what Demucs' `apply_model` does with a network, rounded as it does."""
        length = int(network.samplerate * network.segment)
        taken = getattr(network, "valid_length", _as_it_is)
        return cls(length, int((1 - overlap) * length), taken)

    def segment(self, offset: int, track_samples: int) -> Segment:
        """Return the segment at `offset` of a track."""
        samples = min(self.length, track_samples - offset)
        taken = self.taken(samples)
        return Segment(offset, samples, offset - (taken - samples) // 2, taken)

    def weights(self) -> Tensor:
        """Return how much each sample of a segment counts: a triangle, float32, at most 1."""
        up = torch.arange(1, self.length // 2 + 1)
        down = torch.arange(self.length - self.length // 2, 0, -1)
        triangle = torch.cat([up, down])
        return triangle / triangle.max()


def _as_it_is(samples: int) -> int:
    return samples


class OverlapAdd:
    """Puts the stems of one track's segments together: the weighted mean where they overlap.

    It keeps what the next segment will be added to, and nothing more.
    """

    def __init__(self, weights: Tensor, stride: int) -> None:
        self._weights = weights
        self._stride = stride
        self._sum: Tensor | None = None  # stems and weights of what is not final yet
        self._weight = weights[:0]

    def add(self, stems: Tensor, *, is_last: bool) -> Tensor:
        """Add a segment's stems `(..., samples)`, and return what is final: its stride, or the rest.

        Overwrites `stems`.
        """
        weight = self._weights[: stems.shape[-1]].clone()
        stems *= weight
        if self._sum is not None:
            stems[..., : self._sum.shape[-1]] += self._sum
            weight[: len(self._weight)] += self._weight
        final = stems.shape[-1] if is_last else self._stride
        self._sum, self._weight = stems[..., final:].clone(), weight[final:].clone()
        return stems[..., :final] / weight[:final]
