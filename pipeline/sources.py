"""The audio a lane works on: the decoded mix, or the published stems of its separation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeAlias

from pipeline import manifest as manifests
from pipeline.artifacts import OutputFolder
from pipeline.order import WorkOrder
from stages.audio import Audio
from stages.base import STEMS_FROM, Reason, TrackUnusable

Open: TypeAlias = Callable[..., tuple[Audio, tuple[str, ...]]]
"""`opened`, of a path and perhaps a gain; the rest is settled."""


def read_sources(
    order: WorkOrder, out: OutputFolder, open_file: Open
) -> tuple[Mapping[str, Audio], tuple[str, ...]]:
    """Decode what a work order needs; return the sources by name, and the decoder's flags.

    Raises:
        TrackUnusable: it cannot be decoded.
    """
    if order.scope == "mix":
        audio, flags = open_file(os.fsencode(order.path))
        return {"mix": audio}, flags
    return _stems(order, out, open_file), ()


def _stems(order: WorkOrder, out: OutputFolder, open_file: Open) -> Mapping[str, Audio]:
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
        # Without the gain: the model's own values.
        audio, _ = open_file(os.fsencode(folder / file.name), gain=gain)
        stems[os.path.splitext(file.name)[0]] = audio
    return stems
