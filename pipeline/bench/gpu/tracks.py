"""Whole tracks through the engine on the device: against the CPU, beside neighbours, twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.bench.gpu.brief import Row
from pipeline.bench.gpu.formats import FORMATS, allowed
from pipeline.bench.gpu.loaded import Loaded, likeness_db
from pipeline.bench.gpu.trying import tried
from stages.engine.compute import Compute
from stages.engine.separator import Failed, Separator, Stems
from stages.engine.song import Song
from stages.mix import Mix, mix_of_samples

_LONGEST_S = 30.0
_TRACKS = 3


def measure(loaded: Loaded) -> Iterator[Row]:
    """Give, for each format, how like the CPU's stems of a track are, and whether bits are kept.

    `alone`: that the last track has the same bits without neighbours in its batches; `turned`: that
    all have them in the opposite order; `again`: that they have them a second time. The CPU
    computes at `exact`.
    """
    mixes = beginnings(loaded, _TRACKS)
    reference = separated(loaded, mixes[:1], device="cpu")[0]
    for format in loaded.brief.formats:
        facts = {"kind": "track", "format": format}
        yield tried(facts, partial(_compared, loaded, format, mixes, reference))


def _compared(
    loaded: Loaded, format: str, mixes: Sequence[Mix], reference: NDArray[np.float32]
) -> Row:
    precision = FORMATS[format].precision
    # Made before TF32 is allowed: it switches it off for good.
    compute = Compute(
        loaded.model.networks,
        device=loaded.device,
        precision=precision,
        batch=max(loaded.brief.batches),
    )
    with allowed(FORMATS[format]):
        together = _through(loaded, compute, mixes)
        again = _through(loaded, compute, mixes)
        turned = _through(loaded, compute, mixes[::-1])
        alone = _through(loaded, compute, mixes[-1:])
    return {
        "batch": compute.batch,
        "sdr_db": likeness_db(reference, together[0]),
        "typical_db": precision.typical_db,
        "alone": bool(np.array_equal(alone[0], together[-1])),
        "turned": all(map(np.array_equal, turned[::-1], together)),
        "again": all(map(np.array_equal, again, together)),
    }


def beginnings(loaded: Loaded, count: int) -> list[Mix]:
    """Return the first half minute of the first files."""
    rate_hz = loaded.model.sample_rate_hz
    mixes = []
    for number in range(min(count, len(loaded.brief.files))):
        samples = np.concatenate(list(loaded.mix(number).blocks()), axis=1)
        some = samples[:, : round(_LONGEST_S * rate_hz)]
        mixes.append(mix_of_samples(some, rate_hz, model_rate_hz=rate_hz))
    return mixes


def separated(loaded: Loaded, mixes: Sequence[Mix], *, device: str) -> list[NDArray[np.float32]]:
    """Return the stems of each mix, `(stems, 2, n)`, at `exact`, a segment at a time.

    Raises:
        TrackUnusable: one cannot be separated.
    """
    compute = Compute(loaded.model.networks, device=device)
    return _through(loaded, compute, mixes)


def _through(loaded: Loaded, compute: Compute, mixes: Sequence[Mix]) -> list[NDArray[np.float32]]:
    parts: list[list[NDArray[np.float32]]] = [[] for _ in mixes]
    songs = [Song(number, mix) for number, mix in enumerate(mixes)]
    for event in Separator(loaded.model, compute).separate(songs):
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Stems):
            parts[event.song.id].append(event.samples)
    return [np.concatenate(part, axis=2) for part in parts]
