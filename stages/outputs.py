"""How a stage writes its numbers: scalars to `features.json`, series to `frames.npz`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FEATURES_FILE = "features.json"
FRAMES_FILE = "frames.npz"
NULL_REASONS = "null_reasons"


@dataclass(frozen=True)
class Missing:
    """A feature that has no value here, and why. The only way to a null."""

    reason: str


Scalar: TypeAlias = float | int | str | bool | Missing


def write_features(out: Path, features: Mapping[str, Mapping[str, Scalar]]) -> None:
    """Write `features.json`: source, then feature, then value, in the order given.

    A `Missing` becomes null, its reason goes under `null_reasons`; that key is there only when
    something is missing.

    Raises:
        ValueError: a value is NaN or infinite; a source is called `null_reasons`.
    """
    if NULL_REASONS in features:
        raise ValueError(f"a source cannot be called {NULL_REASONS!r}: the reasons stand there")
    document: dict[str, object] = {
        source: {
            name: None if isinstance(value, Missing) else value for name, value in values.items()
        }
        for source, values in features.items()
    }
    reasons = {
        source: {name: value.reason for name, value in values.items() if isinstance(value, Missing)}
        for source, values in features.items()
    }
    if any(reasons.values()):
        document[NULL_REASONS] = {source: why for source, why in reasons.items() if why}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    (out / FEATURES_FILE).write_text(text + "\n", encoding="utf-8", newline="\n")


def write_frames(out: Path, series: Mapping[str, Mapping[str, NDArray[np.floating]]]) -> None:
    """Write `frames.npz`: float32 arrays under `<source>.<name>`, without pickles.

    The same arrays give the same bytes at any time: NumPy stamps every member with 1980-01-01.

    Raises:
        ValueError: a value is NaN or infinite in float32, or no number.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    for source, members in series.items():
        for name, values in members.items():
            key = f"{source}.{name}"
            # The cast is also what keeps object arrays, and so pickles, out.
            with np.errstate(over="ignore"):
                arrays[key] = np.asarray(values, dtype=np.float32)
            if not np.isfinite(arrays[key]).all():
                raise ValueError(f"{key} holds values that are not finite")
    with (out / FRAMES_FILE).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its `allow_pickle` is not one of ours
