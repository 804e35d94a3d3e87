"""How a stage writes its numbers: scalars to `features.json`, series to `frames.npz`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from zipfile import ZipFile

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


class FramesFile:
    """`frames.npz`: float32 arrays under `<source>.<name>`, without pickles; written as they come.

    What comes in float16 stays so.

    The same arrays give the same bytes at any time: every member is stamped with 1980-01-01.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / FRAMES_FILE
        self._archive = ZipFile(self._path, "w")

    def __enter__(self) -> FramesFile:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._archive.close()
        if error is not None:
            self._path.unlink()

    def add(self, source: str, series: Mapping[str, NDArray[np.floating]]) -> None:
        """Write the series of one source.

        Raises:
            ValueError: a value is NaN or infinite in what it is written as, or no number.
        """
        for name, values in series.items():
            key = f"{source}.{name}"
            # The cast is also what keeps object arrays, and so pickles, out.
            kind = np.float16 if np.asarray(values).dtype == np.float16 else np.float32
            with np.errstate(over="ignore"):
                array = np.asarray(values, dtype=kind)
            if not np.isfinite(array).all():
                raise ValueError(f"{key} holds values that are not finite")
            # A length that is not known beforehand may be beyond 4 GiB: NumPy does so, too.
            with self._archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def write_frames(out: Path, series: Mapping[str, Mapping[str, NDArray[np.floating]]]) -> None:
    """Write `frames.npz` of series that are all there: source, then name, then values.

    Raises:
        ValueError: as `FramesFile.add`.
    """
    with FramesFile(out) as frames:
        for source, members in series.items():
            frames.add(source, members)
