"""Mel-frequency cepstral coefficients and how fast they change, as librosa computes them."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from stages.analysis import hear_mel_db
from stages.audio import Audio
from stages.base import Tick
from stages.growing import Growing

DELTA_FRAMES = 9
_SIDE = DELTA_FRAMES // 2


def mfcc(audio: Audio, count: int, tick: Tick) -> NDArray[np.float32]:
    """Return the first coefficients of each frame, shape `(count, frames)`.

    The orthonormal DCT-II of the mel bands in dB: `librosa.feature.mfcc`.
    """
    rows = Growing((count,), np.float32)

    def take(mel_db: NDArray[np.float32]) -> None:
        rows.add(scipy.fft.dct(mel_db, axis=1, type=2, norm="ortho")[:, :count])

    hear_mel_db(audio, take, tick)
    return rows.joined().T


def delta(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the slope of a straight line through each value and four to either side, per frame.

    `librosa.feature.delta`: the first and the last four have the slope of their neighbour. Furui,
    "Speaker-independent isolated word recognition using dynamic features", IEEE TASSP 34 (1986).

    Args:
        values: shape `(frames,)`, at least 9 of them.
    """
    inner = len(values) - 2 * _SIDE
    slopes = np.zeros(inner)
    for away in range(1, _SIDE + 1):
        later, earlier = values[_SIDE + away :][:inner], values[_SIDE - away :][:inner]
        slopes += away * (later.astype(np.float64) - earlier)
    slopes /= 2 * sum(away * away for away in range(1, _SIDE + 1))
    return np.pad(slopes, _SIDE, mode="edge")
