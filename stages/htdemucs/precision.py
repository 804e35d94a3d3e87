"""How exactly a network computes, and how far that is from float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

PrecisionName: TypeAlias = Literal["exact", "balanced", "fast"]


@dataclass(frozen=True)
class Precision:
    """Number formats of the two parts of a network. Sums, norms and transforms stay in float32.

    `typical_db`: the signal-to-error ratio against Demucs in float32, measured with random weights
    of htdemucs' size (docs/separation.md).
    """

    name: PrecisionName
    convolutions: torch.dtype
    transformer: torch.dtype
    typical_db: float


PRECISIONS: dict[PrecisionName, Precision] = {
    precision.name: precision
    for precision in (
        Precision("exact", torch.float32, torch.float32, 117.0),
        Precision("balanced", torch.float32, torch.bfloat16, 66.0),
        Precision("fast", torch.bfloat16, torch.bfloat16, 37.0),
    )
}
EXACT = PRECISIONS["exact"]
