"""How like two separations are: the signal-to-error ratio of each stem, in blocks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline import manifest as manifests
from pipeline.artifacts import TRACKS
from pipeline.errors import NotMeasured

_BLOCK_FRAMES = 1 << 18


@dataclass(frozen=True)
class Likeness:
    """How near one stem is to the reference. Infinite when no sample differs."""

    file: str
    stem: str
    sdr_db: float


def likenesses(ours: Path, reference: Path, names: Sequence[str]) -> list[Likeness]:
    """Compare every stem of the tracks `names`.

    Args:
        ours: the output folder of a run.
        reference: holds a folder for each track, in it `<stem>.wav`.

    Raises:
        NotMeasured: a stem is missing on one side, or has another length or rate.
    """
    found = []
    for name in names:
        stems, gain = _published(ours / TRACKS / name / "separation", name)
        expected = {path.stem: path for path in (reference / name).glob("*.wav")}
        if stems.keys() != expected.keys():
            detail = f"it has {_listed(stems)}, the reference {_listed(expected)}"
            raise NotMeasured(f"the output for {name}", "its stems are others", detail)
        found += [
            Likeness(name, stem, sdr_db(expected[stem], stems[stem], gain=gain))
            for stem in sorted(stems)
        ]
    return found


def lowest(found: Sequence[Likeness]) -> Likeness | None:
    """Return the least like of all stems; None where nothing was compared."""
    return min(found, key=lambda one: one.sdr_db, default=None)


def sdr_db(reference: Path, ours: Path, *, gain: float = 1.0) -> float:
    """Return the energy of the reference over that of the difference, in dB, in float64.

    Infinite when no sample differs, minus infinity when the reference alone is silent.

    Args:
        gain: what `ours` was multiplied by; it is divided by it again.

    Raises:
        NotMeasured: they have not the same shape and rate, or cannot be read.
    """
    signal = error = 0.0
    for expected, found in _blocks(reference, ours):
        difference = (expected - found / gain).ravel()
        signal += float(np.dot(expected.ravel(), expected.ravel()))
        error += float(np.dot(difference, difference))
    if error == 0.0:
        return math.inf
    # A sample that is no number must not pass for likeness: comparisons with NaN are all false.
    if signal == 0.0 or not math.isfinite(error):
        return -math.inf
    return 10 * math.log10(signal / error)


def _published(folder: Path, name: str) -> tuple[dict[str, Path], float]:
    """Return the stems that a manifest lists, and the gain they have."""
    try:
        manifest = manifests.from_bytes((folder / manifests.FILE_NAME).read_bytes())
    except (OSError, ValueError) as error:
        raise NotMeasured(f"the output for {name}", "it has no manifest", str(error)) from error
    gain, names = manifest.facts["gain"], manifest.facts["sources"]
    assert isinstance(gain, int | float)
    assert isinstance(names, list)
    files = {Path(file.name).stem: folder / file.name for file in manifest.files}
    return {str(name): files[str(name)] for name in names if str(name) in files}, float(gain)


def _blocks(
    reference: Path, ours: Path
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Give both files in blocks of equal length, each of shape `(frames, channels)`."""
    try:
        _check_shapes(reference, ours)
        yield from zip(_read(reference), _read(ours), strict=True)
    except soundfile.LibsndfileError as error:
        raise NotMeasured(ours.name, "it cannot be compared", str(error)) from error


def _read(path: Path) -> Iterator[NDArray[np.float64]]:
    yield from soundfile.blocks(
        os.fspath(path), blocksize=_BLOCK_FRAMES, dtype="float64", always_2d=True
    )


def _check_shapes(reference: Path, ours: Path) -> None:
    infos = [soundfile.info(os.fspath(path)) for path in (reference, ours)]
    shapes = [(info.frames, info.channels, info.samplerate) for info in infos]
    if shapes[0] != shapes[1]:
        said = [f"{frames} frames of {ch} channels at {hz} Hz" for frames, ch, hz in shapes]
        detail = f"it has {said[1]}, the reference {said[0]}"
        raise NotMeasured(ours.name, "its shape is another", detail)


def _listed(stems: dict[str, Path]) -> str:
    return ", ".join(sorted(stems)) or "none"
