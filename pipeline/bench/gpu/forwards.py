"""One forward of the first network: how long it takes by format, batch and how it is started."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pipeline.bench.flops import flop_of_segment
from pipeline.bench.gpu.brief import Row
from pipeline.bench.gpu.formats import FORMATS, allowed
from pipeline.bench.gpu.loaded import Loaded, likeness_db
from pipeline.bench.gpu.trying import tried
from stages.engine.compute import ready
from stages.htdemucs.forward import fits

_ENOUGH_S = 0.6
_COMPARED = 2
"""Segments whose stems are held against Demucs' on the CPU, which takes a second or two for each."""

Run: TypeAlias = Callable[[Tensor], Tensor]


def eager(run: Run, example: Tensor) -> Run:
    """Return a forward that starts its kernels one by one."""
    return run


def graph(run: Run, example: Tensor) -> Run:
    """Return a forward that starts all its kernels at once, as they were recorded.

    What it gives is overwritten by the next one.
    """
    given = example.clone()
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # what is made at first use is not to be recorded
        for _ in range(3):
            run(given)
    torch.cuda.current_stream().wait_stream(beside)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        stems = run(given)

    def replayed(mix: Tensor) -> Tensor:
        given.copy_(mix)
        recorded.replay()
        return stems

    return replayed


def compiled(run: Run, example: Tensor) -> Run:
    """Return a forward that torch has compiled for this shape; that takes a minute or more."""
    dynamo: Any = torch._dynamo
    dynamo.reset()
    # Or the ninth shape would be computed as it is, without a word.
    dynamo.config.fail_on_recompile_limit_hit = True
    made: Run = torch.compile(run, dynamic=False)
    return made


HOWS: dict[str, Callable[[Run, Tensor], Run]] = {
    "eager": eager,
    "graph": graph,
    "compiled": compiled,
}


def measure(loaded: Loaded) -> Iterator[Row]:
    """Give what one forward of each batch takes: ours in each format, Demucs' own in float32.

    `seconds`: the median of all. `times_real_time`: seconds of music that a batch adds to a track,
    over that. `sdr_db`: of the worst stem against Demucs in float32 on the CPU, null where no
    sample differs. `peak_bytes`: of the device's memory that tensors had, `reserved_bytes` that
    torch's allocator held for them; without what the driver takes.
    """
    network = loaded.model.networks[0]
    cutting = loaded.cutting()
    segments = torch.from_numpy(loaded.segments(max(loaded.brief.batches)))
    with torch.inference_mode():
        expected = network(segments[:_COMPARED])
        yield {
            "kind": "network",
            "segment_samples": cutting.length,
            "stride_samples": cutting.stride,
            "flop_per_segment": flop_of_segment(network, segments.shape[-1]),
        }
        for name, format, how, run in _ways(loaded):
            facts = {"kind": "forward", "network": name, "format": format, "how": how}
            with allowed(FORMATS[format]):
                yield from (
                    {**facts, **row}
                    for row in _batches(loaded, run, how=how, segments=segments, expected=expected)
                )


def _ways(loaded: Loaded) -> Iterator[tuple[str, str, str, Run]]:
    network = loaded.model.networks[0]
    if "eager" in loaded.brief.hows:
        theirs = _demucs_own(loaded)
        for format in ("exact", "tf32"):
            if format in loaded.brief.formats:
                yield "demucs", format, "eager", theirs
        del theirs
    if not fits(network):
        return
    for how in loaded.brief.hows:
        for format in loaded.brief.formats:
            yield "ours", format, how, ready(network, loaded.device, FORMATS[format].precision)


def _demucs_own(loaded: Loaded) -> Run:
    """Return Demucs' own forward on the device; the network that is kept stays where it is."""
    moved: Run = copy.deepcopy(loaded.model.networks[0]).to(loaded.device)
    return moved


def _batches(
    loaded: Loaded, run: Run, *, how: str, segments: Tensor, expected: Tensor
) -> Iterator[Row]:
    """Give each batch, up to the first for which there is no room."""
    for batch in loaded.brief.batches:
        work = partial(_one, loaded, run, how=how, segments=segments[:batch], expected=expected)
        row = tried({"batch": batch}, work)
        yield row
        if "problem" in row:
            return


def _one(loaded: Loaded, run: Run, *, how: str, segments: Tensor, expected: Tensor) -> Row:
    if loaded.is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(loaded.device)
    given = segments.to(loaded.device)
    began = time.perf_counter()
    started = HOWS[how](run, given)
    stems = started(given)
    loaded.wait()
    first_s = time.perf_counter() - began
    count = min(len(stems), len(expected))
    sdr_db = likeness_db(expected[:count].numpy(), stems[:count].cpu().numpy())
    all_s = _timed(loaded, started, given)
    cutting = loaded.cutting()
    stride_s = cutting.stride / loaded.model.sample_rate_hz
    return {
        "seconds": median(all_s),
        "all_s": all_s,
        "first_s": first_s,
        "times_real_time": len(segments) * stride_s / median(all_s),
        "sdr_db": sdr_db,
        "peak_bytes": torch.cuda.max_memory_allocated(loaded.device) if loaded.is_cuda else None,
        "reserved_bytes": torch.cuda.max_memory_reserved(loaded.device) if loaded.is_cuda else None,
    }


def _timed(loaded: Loaded, run: Run, given: Tensor) -> list[float]:
    """Return how long each of some forwards took, the device's work included."""
    all_s: list[float] = []
    while len(all_s) < loaded.brief.runs or (sum(all_s) < _ENOUGH_S and len(all_s) < 50):
        all_s.append(loaded.seconds(lambda: run(given)))
    return all_s
