"""Short memory, for real: torch is given less of the card than a batch wants."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.bench.gpu.brief import Row
from pipeline.bench.gpu.loaded import Loaded, likeness_db
from pipeline.bench.gpu.tracks import beginnings
from pipeline.bench.gpu.trying import tried
from stages.engine.compute import Compute
from stages.engine.separator import Failed, Separated, Separator, Stems
from stages.engine.song import Song
from stages.mix import Mix

_ROOMS = (3.5, 1.5, 0.4)
"""In segments: one batch that has to fall, one segment that fits, one that does not."""

_ASKED = 8


def measure(loaded: Loaded) -> Iterator[Row]:
    """Give what the engine does where there is room for a few segments, for one, for less than one.

    `ended_batch`: the segments at once at the end; `on_cpu`: whether the CPU took the track;
    `sdr_db`: against the stems with all memory, `next_sdr_db` that of the track after it, for
    which there is room again.
    """
    if not loaded.is_cuda:
        yield {"kind": "memory", "problem": "a CPU has no memory of its own to run short of"}
        return
    kept, each = _needs(loaded)
    mixes = beginnings(loaded, 2)
    expected = [_separated(loaded, _compute(loaded), mix)[0] for mix in mixes]
    for room in _ROOMS:
        limit = int(kept + room * each)
        facts = {"kind": "memory", "room_segments": room, "limit_bytes": limit}
        yield tried(facts, partial(_short_of_memory, loaded, limit, mixes, expected))


def _short_of_memory(
    loaded: Loaded, limit: int, mixes: Sequence[Mix], expected: Sequence[NDArray[np.float32]]
) -> Row:
    """Separate the first track with little memory, the second with all, in the same engine."""
    device = torch.cuda.current_device()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    try:
        compute = _compute(loaded)
        began = time.perf_counter()
        stems, end = _separated(loaded, compute, mixes[0])
        seconds = time.perf_counter() - began
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    after, _ = _separated(loaded, compute, mixes[-1])
    return {
        "asked_batch": _ASKED,
        "ended_batch": end.batch,
        "on_cpu": end.on_cpu,
        "seconds": seconds,
        "sdr_db": likeness_db(expected[0], stems),
        "next_sdr_db": likeness_db(expected[-1], after),
    }


def _compute(loaded: Loaded) -> Compute:
    return Compute(loaded.model.networks, device=loaded.device, batch=_ASKED)


def _needs(loaded: Loaded) -> tuple[float, float]:
    """Return the bytes that a forward takes whatever the batch, and those for each segment more."""
    peaks = []
    for batch in (1, 3):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(loaded.device)
        compute = Compute(loaded.model.networks, device=loaded.device, batch=batch)
        given = list(loaded.segments(batch))
        compute(0, given, batch=batch)
        loaded.wait()
        peaks.append(torch.cuda.max_memory_reserved(loaded.device))
        del compute
    each = (peaks[1] - peaks[0]) / 2
    return peaks[0] - each, each


def _separated(loaded: Loaded, compute: Compute, mix: Mix) -> tuple[NDArray[np.float32], Separated]:
    parts, end = [], None
    for event in Separator(loaded.model, compute).separate([Song(0, mix)]):
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Stems):
            parts.append(event.samples)
        else:
            end = event
    assert end is not None
    return np.concatenate(parts, axis=2), end
