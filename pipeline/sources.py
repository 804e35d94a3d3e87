"""The audio a lane works on: the decoded mix, or the published stems of its separation."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from pipeline import manifest as manifests
from pipeline.artifacts import OutputFolder
from pipeline.config import DecodeSettings
from pipeline.order import WorkOrder
from stages.audio import Audio
from stages.base import STEMS_FROM, Reason, Tick, TrackUnusable
from stages.decode import DecodeLimits, decode


def read_sources(
    order: WorkOrder, out: OutputFolder, limits: DecodeSettings, tick: Tick
) -> tuple[Mapping[str, Audio], tuple[str, ...]]:
    """Decode what a work order needs; return the sources by name, and the decoder's flags.

    Raises:
        TrackUnusable: it cannot be decoded.
    """
    allowed = DecodeLimits(**limits.model_dump())
    if order.scope == "mix":
        decoded = decode(os.fsencode(order.path), limits=allowed, tick=tick)
        return {"mix": decoded.audio}, decoded.flags
    return _stems(order, out, allowed, tick), ()


def _stems(
    order: WorkOrder, out: OutputFolder, limits: DecodeLimits, tick: Tick
) -> Mapping[str, Audio]:
    folder = out.stage(os.fsencode(order.folder), STEMS_FROM, "mix")
    found = manifests.read(folder)
    if found is None or found[0].fingerprint != order.upstream:
        raise TrackUnusable(
            Reason.STEMS_GONE,
            f"the stems in {out.relative(folder)} are missing or of another separation; "
            "the next run makes them anew",
        )
    gain, names = found[0].facts["gain"], found[0].facts["sources"]
    assert isinstance(gain, int | float)
    assert isinstance(names, list)
    stems = {}
    for file in found[0].files:
        if os.path.splitext(file.name)[0] not in names:
            continue  # what is said of the stems
        decoded = decode(os.fsencode(folder / file.name), limits=limits, tick=tick)
        # A gain of a power of two divides exactly: the model's own values.
        samples = decoded.audio.samples if gain == 1 else decoded.audio.samples / np.float32(gain)
        stems[os.path.splitext(file.name)[0]] = Audio(samples, decoded.audio.sample_rate_hz)
    return stems
