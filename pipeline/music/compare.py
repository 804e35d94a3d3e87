"""How near the stems of the demo come to the true ones, which are known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline import manifest
from pipeline.artifacts import TRACKS
from pipeline.manifest import Manifest
from pipeline.music import synth
from pipeline.music.bundle import BUNDLED, FOLDER
from pipeline.music.measures import sdr_db
from pipeline.music.render import mastered, render
from pipeline.music.score import STEMS, Piece


@dataclass(frozen=True)
class Nearness:
    """SDR of a stem, and what the mix itself would get in its place; None where the true one is silent."""

    sdr_db: float | None
    mix_sdr_db: float | None


def compare(out: Path) -> dict[str, dict[str, Nearness]]:
    """Return how near each stem is, by the name of the piece's file, then of the stem."""
    found = {}
    for piece, given in separated(out):
        stems = mastered(render(piece))
        mix: NDArray[np.float32] = np.stack(list(stems.values())).sum(axis=0)
        found[piece.file_name] = {
            name: Nearness(sdr_db(stems[name], samples), sdr_db(stems[name], mix))
            for name, samples in given.items()
        }
    return found


def separated(out: Path) -> Iterator[tuple[Piece, Mapping[str, NDArray[np.float32]]]]:
    """Give the bundled pieces with the stems that lie in an output folder, as the model gave them.

    Left out: what is not separated, a file of the same name that is another one, and stems that
    can not be held against the true ones sample by sample (a lossy format, another rate).
    """
    for piece in BUNDLED:
        folder = out / TRACKS / piece.file_name / "separation"
        whole = manifest.read(folder)
        if whole is not None and _is_bundled(piece, whole[0]) and _is_exact(whole[0]):
            yield piece, _stems(folder, whole[0])


def _is_bundled(piece: Piece, made: Manifest) -> bool:
    shipped = (FOLDER / piece.file_name).read_bytes()
    return made.source["sha256"] == hashlib.sha256(shipped).hexdigest()


def _is_exact(made: Manifest) -> bool:
    return bool(made.facts["lossless"]) and made.facts["sample_rate_hz"] == synth.RATE_HZ


def _stems(folder: Path, made: Manifest) -> dict[str, NDArray[np.float32]]:
    gain = np.float32(cast("float", made.facts["gain"]))
    files = {Path(file.name).stem: folder / file.name for file in made.files}
    return {name: _read(files[name]) / gain for name in STEMS if name in files}


def _read(file: Path) -> NDArray[np.float32]:
    samples, _ = soundfile.read(file, dtype="float32", always_2d=True)
    return np.ascontiguousarray(samples.T)
