"""Stems of noise, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from stages.encoders import Encoders
from stages.stem_formats import StemFormat
from stages.stem_writer import StemWriter, WrittenStems

RATE_HZ = 44_100
NAMES = ("drums", "vocals")


def noise(samples: int, *, peak: float, seed: int = 0) -> NDArray[np.float32]:
    """Return white noise of this peak: shape `(2, samples)`."""
    white = np.random.default_rng(seed).uniform(-1, 1, (2, samples))
    return np.asarray(white / np.abs(white).max() * peak, dtype=np.float32)


def stems_of_noise(frames: int, loud: dict[int, float] | None = None) -> NDArray[np.float32]:
    """Return two stems of noise; the loud samples stand in the second."""
    stems = np.stack([noise(frames, peak=0.4), noise(frames, peak=0.7, seed=1)])
    for frame, value in (loud or {}).items():
        stems[1, frame % 2, frame] = value
    return stems


def write(
    folder: Path,
    stems: NDArray[np.float32],
    *,
    block: int | None = None,
    encoders: Encoders | None = None,
    format: StemFormat = "flac24",
) -> WrittenStems:
    """Write stems in blocks of this many frames, else in one."""
    folder.mkdir(exist_ok=True)
    names = NAMES[: len(stems)]
    writer = StemWriter(folder, names, sample_rate_hz=RATE_HZ, encoders=encoders, format=format)
    frames = stems.shape[2]
    for start in range(0, frames, block or frames):
        writer.write(stems[:, :, start : start + (block or frames)].copy())
    return writer.finish()


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_back(path: Path) -> NDArray[np.float64]:
    """Return the samples of a file: shape `(2, samples)`."""
    samples, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
    assert rate_hz == RATE_HZ
    return np.asarray(samples.T)
