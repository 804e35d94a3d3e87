"""Which parts of a night can be measured here, and with which weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.night_ways import Part
from pipeline.bench.subjects import FEATURES, tagging
from pipeline.errors import Unfit
from pipeline.installed import missing_of
from stages import STAGES
from stages.base import StageBlocked
from stages.settings import TaggingSettings
from stages.tagging_models import tagging_weights
from stages.weights import find_model


@dataclass(frozen=True)
class Fitness:
    """The parts that can be measured, why the others cannot, and the weights by name and SHA-256.

    `told`: distributions whose versions matter.
    """

    parts: tuple[Part, ...]
    left_out: Mapping[Part, str]
    weights: Mapping[Part, Mapping[str, str]]
    told: tuple[str, ...]


def fitness(parts: Sequence[Part], *, model: str, families: tuple[str, ...]) -> Fitness:
    """Return which of the parts can be measured.

    Raises:
        Unfit: none; or separation's model, which is there for all or was asked for, cannot be found.
    """
    left_out: dict[Part, str] = {}
    weights: dict[Part, Mapping[str, str]] = {}
    for part in parts:
        missing = missing_of(_NEEDED[part])
        if missing:
            names = " ".join(missing)
            left_out[part] = f"{', '.join(missing)} not installed; pip install {names}"
            continue
        try:
            weights[part] = _hashes(_weights(part, model=model, families=families))
        except StageBlocked as error:
            if part is Part.SEPARATION:
                raise Unfit(str(error)) from error
            left_out[part] = " ".join(str(error).split())
    found = tuple(part for part in parts if part in weights)
    if not found:
        reasons = "\n".join(f"{part}: {reason}" for part, reason in left_out.items())
        raise Unfit(f"There is nothing here that could be measured.\n{reasons}")
    told = dict.fromkeys(name for part in found for name in _TOLD[part])
    return Fitness(found, left_out, {part: weights[part] for part in found}, tuple(told))


_TAGGING = tagging(())
_NEEDED = {
    Part.SEPARATION: STAGES["separation"].libraries,
    Part.TAGGING: _TAGGING.needed,
    Part.FEATURES: FEATURES.needed,
}
_TOLD = {
    Part.SEPARATION: ("torch", "demucs"),
    Part.TAGGING: _TAGGING.told,
    Part.FEATURES: FEATURES.told,
}


def _weights(part: Part, *, model: str, families: tuple[str, ...]) -> tuple[Path, ...]:
    if part is Part.SEPARATION:
        return tuple(file.path for file in find_model(model).files)
    if part is Part.TAGGING:
        return tagging_weights(TaggingSettings.model_validate({"families": families}))
    return ()


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    found = {}
    for file in files:
        with file.open("rb") as stream:
            found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
