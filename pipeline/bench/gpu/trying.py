"""What a card cannot do is a finding too, and no end of the others."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pipeline.bench.gpu.brief import Row
from stages.engine.compute import is_out_of_memory


def tried(facts: Row, work: Callable[[], Row]) -> Row:
    """Return `facts` with what `work` finds, or with the `problem` it has.

    Raises:
        AcceleratorError: the device answers nothing any more in this process.
    """
    try:
        return {**facts, **work()}
    except Exception as error:
        if isinstance(error, torch.AcceleratorError) and not _is_harmless(error):
            raise
        first = (str(error).splitlines() or [""])[0]
        return {**facts, "problem": f"{type(error).__name__}: {first}"}


def _is_harmless(error: Exception) -> bool:
    """Say whether the device goes on: what cannot be recorded as a graph does it no harm."""
    return is_out_of_memory(error) or "captur" in str(error)
