"""What a measurement needs of torch beforehand, asked of a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.processes import python, seconds
from pipeline.errors import Unfit
from pipeline.threads import budget, variables

OVERLAP = 0.25
"""Demucs' own and ours."""

# The peak is the machine's, not that of glibc, which gives every large buffer back to the kernel.
_KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


@dataclass(frozen=True)
class Network:
    """What one network of a model takes at once, and what that costs.

    `is_padded`: a last segment that is shorter is filled up and costs as much.
    """

    segment_samples: int
    flop_per_segment: int
    is_padded: bool

    def flop(self, samples: int) -> float:
        """Return the floating-point operations for a track of so many samples."""
        stride_samples = int((1 - OVERLAP) * self.segment_samples)
        taken = [
            self.segment_samples if self.is_padded else min(self.segment_samples, samples - offset)
            for offset in range(0, samples, stride_samples)
        ]
        return self.flop_per_segment * sum(taken) / self.segment_samples


@dataclass(frozen=True)
class Prepared:
    """The model by its numbers, and the machine's peak in operations a second by type of number.

    `device` is what torch calls the one that was asked for.
    """

    device: str
    sample_rate_hz: int
    sources: tuple[str, ...]
    networks: tuple[Network, ...]
    peak_flop_per_s: Mapping[str, float]

    def flop(self, samples: int) -> float:
        """Return the floating-point operations that a track takes in all networks."""
        return sum(network.flop(samples) for network in self.networks)


def prepare(
    *,
    model: str,
    device: str,
    numbers: tuple[str, ...],
    repository: Path,
    environment: Mapping[str, str],
) -> Prepared:
    """Write Demucs' repository, look at the model, measure the peak.

    Args:
        numbers: types of number whose peak is measured, as torch names them; there may be none.
        repository: a folder that is not there yet.

    Raises:
        Unfit: the model cannot be loaded, or the device not be used.
        NotMeasured: the process died.
    """
    answer = repository.with_suffix(".json")
    command = python("pipeline.bench.prepare", model, device, ",".join(numbers), repository, answer)
    surroundings = {**environment, **variables(budget()), **_KEEP_MEMORY}
    seconds([command], environment=surroundings, what="the machine's peak")
    found = json.loads(answer.read_text(encoding="utf-8"))
    if "problem" in found:
        raise Unfit(found["problem"])
    return Prepared(
        device=found["device"],
        sample_rate_hz=found["sample_rate_hz"],
        sources=tuple(found["sources"]),
        networks=tuple(Network(**network) for network in found["networks"]),
        peak_flop_per_s=found["peak_flop_per_s"],
    )
