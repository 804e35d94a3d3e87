"""The numbers that a card can compute with: those of `--precision`, and those that it could offer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from stages.htdemucs.precision import EXACT, PRECISIONS, Precision


@dataclass(frozen=True)
class Format:
    """Number formats of the two parts of a network; `tf32`: products of float32 keep ten bits."""

    precision: Precision
    tf32: bool = False


# The name of the last is not asked for anywhere: only its types count.
_HALF = Precision("fast", torch.float16, torch.float16, 0.0)

FORMATS: dict[str, Format] = {
    **{str(name): Format(precision) for name, precision in PRECISIONS.items()},
    "tf32": Format(EXACT, tf32=True),
    "float16": Format(_HALF),
}
"""By the name under which a measurement tells them."""


@contextmanager
def allowed(format: Format) -> Iterator[None]:
    """Let products and convolutions of float32 have TF32, or not. It changes nothing on a CPU."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = format.tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
