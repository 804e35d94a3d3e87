"""Stems to 24-bit FLAC: exact to half a step, never clipped."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

_FULL_SCALE = 2.0**23
_BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True)
class WrittenStems:
    """`gain`: the factor all stems were multiplied by. `peak`: of each stem, before that."""

    gain: float
    peak: dict[str, float]


def write_stems(
    stems: Mapping[str, NDArray[np.float32]], folder: Path, *, sample_rate_hz: int
) -> WrittenStems:
    """Write `<stem>.flac` for every stem: finite, shape `(channels, samples)`, one sample at least.

    One gain for all stems of a track, a power of two, so that they still add up: 1 unless a sample
    would leave the 24 bits. Divide what is read back by it to get the stems' values.

    Raises:
        OSError: the files cannot be written.
    """
    gain = common_gain(stems.values())
    for name, stem in stems.items():
        # libsndfile tells nobody of a full disk when it closes a file; writing bytes does.
        (folder / f"{name}.flac").write_bytes(_flac(stem, gain, sample_rate_hz=sample_rate_hz))
    return WrittenStems(gain, {name: _peak(stem) for name, stem in stems.items()})


def common_gain(stems: Iterable[NDArray[np.float32]]) -> float:
    """Return the largest power of two, at most 1, at which no stem leaves 24 bits."""
    extremes = [(float(stem.min()), float(stem.max())) for stem in stems]
    lowest, highest = min(low for low, _ in extremes), max(high for _, high in extremes)
    gain = 1.0
    while (
        np.rint(highest * gain * _FULL_SCALE) > _FULL_SCALE - 1
        or np.rint(lowest * gain * _FULL_SCALE) < -_FULL_SCALE
    ):
        gain /= 2
    return gain


def _peak(stem: NDArray[np.float32]) -> float:
    return max(float(stem.max()), -float(stem.min()))


def _flac(stem: NDArray[np.float32], gain: float, *, sample_rate_hz: int) -> bytes:
    encoded = io.BytesIO()
    with soundfile.SoundFile(
        encoded, "w", sample_rate_hz, stem.shape[0], subtype="PCM_24", format="FLAC"
    ) as file:
        for start in range(0, stem.shape[1], _BLOCK_SAMPLES):
            block = stem[:, start : start + _BLOCK_SAMPLES]
            # Rounded here: libsndfile drops the low byte of an int32 and clips floats in silence.
            # Scaling by a power of two is exact.
            steps = np.rint(block * np.float32(gain * _FULL_SCALE)).astype(np.int32)
            file.write(np.ascontiguousarray(steps.T << 8))
    return encoded.getvalue()
