"""Which batch a run takes at each precision: found as a run finds it, once, for all runs to be told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from pipeline.bench.gpu.brief import Row
from pipeline.bench.gpu.loaded import Loaded
from pipeline.bench.gpu.trying import tried
from stages.engine.batch import best_batch, forward_s
from stages.engine.compute import Compute
from stages.htdemucs.precision import PRECISIONS, Precision


def measure(loaded: Loaded) -> Iterator[Row]:
    """Give the batch of each precision; on a CPU it is one segment.

    `settled`: whether a larger one did not pay, or was not tried; `seconds`: what finding it took.
    """
    for name, precision in PRECISIONS.items():
        yield tried({"kind": "batch", "format": name}, partial(_found, loaded, precision))


def _found(loaded: Loaded, precision: Precision) -> Row:
    compute = Compute(loaded.model.networks, device=loaded.device, precision=precision)
    if not compute.runs_behind:
        return {"batch": 1, "settled": True, "seconds": 0.0}
    cutting = loaded.cutting()
    began = time.perf_counter()
    best = best_batch(partial(forward_s, compute, cutting.taken(cutting.length)))
    seconds = time.perf_counter() - began
    return {"batch": best.batch, "settled": best.settled, "seconds": seconds}
