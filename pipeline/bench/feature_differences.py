"""How far the features of a run are from those of a script, by the files that both wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import NotMeasured

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """How far a feature of ours is from that of a script.

    `largest`: of series, the largest difference over the largest value; of scalars the difference
    itself, in their unit. Infinite where there are not as many values.
    """

    file: str
    name: str
    largest: float


def differences_between(run: Path, script: Path, names: Sequence[str]) -> Iterator[Difference]:
    """Give every feature that the script wrote of these files.

    Args:
        run: output folder of `pipeline run`.
        script: where the script wrote.

    Raises:
        NotMeasured: ours lacks one.
    """
    for name in names:
        ours = _written(run / "tracks" / name)
        with np.load(script / f"{name}.npz") as theirs:
            for feature in theirs.files:
                if feature not in ours:
                    raise NotMeasured("ours", "it did not do all", f"no {feature} of {name}")
                yield Difference(name, feature, far(ours[feature], theirs[feature]))


def _written(track: Path) -> dict[str, NDArray[np.floating] | float]:
    """Return what a run wrote of a track: series, and scalars that are no null."""
    found: dict[str, NDArray[np.floating] | float] = {}
    for file in track.glob("*/features.json"):
        features = json.loads(file.read_text())["mix"]
        found |= {name: value for name, value in features.items() if value is not None}
        with np.load(file.with_name("frames.npz")) as series:
            found |= {name.removeprefix("mix."): series[name] for name in series.files}
    return found


def far(ours: NDArray[np.floating] | float, theirs: NDArray[np.floating]) -> float:
    """Return how far a feature is from the other; see `Difference`."""
    if np.ndim(theirs) == 0:
        return abs(float(ours) - float(theirs))
    if np.shape(ours) != np.shape(theirs):
        return math.inf
    largest = float(np.abs(theirs).max(initial=0.0)) or 1.0
    return float(np.abs(ours - theirs).max(initial=0.0)) / largest
