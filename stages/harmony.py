"""Harmony from chroma: CENS, tonal centroids, and how far these move from frame to frame.

A chroma may have any scale, another in each frame: only shares of pitch classes count.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

CENTROID_ROWS = 6

_PITCH_CLASSES = 12
_TINY = float(np.finfo(np.float32).tiny)  # a frame of less is left as it is, as by librosa

# float32, as librosa compares: a share of exactly 0.2 is not above 0.2.
_CENS_STEPS = np.array([0.05, 0.1, 0.2, 0.4], dtype=np.float32)
_CENS_WINDOW = np.hanning(41 + 2)[1:-1]  # librosa's: 41 frames, 0.95 s

# The smoothing of the authors' own code (Tonal Change of the QM Vamp plugins, as it comes):
# 11 / 4.71 of its frames, which are 46.4 ms, two of ours.
_SIGMA_FRAMES = 2 * 11 / (2 * 2.3548)
_REACH_FRAMES = 14  # three sigma


def cens(chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return chroma energy normalised statistics, in [0, 1], shape `(12, frames)`.

    Each pitch class's share of its frame counts 0 to 4 by thresholds; these are smoothed over
    0.95 s, then each frame scaled to a Euclidean length of 1. As `librosa.feature.chroma_cens`
    (Müller and Ewert, "Chroma Toolbox", ISMIR 2011). A frame with nothing around it stays 0.
    """
    sums = _divisors(chroma.sum(axis=0, dtype=np.float64))
    smoothed = np.empty(chroma.shape, dtype=np.float32)
    for pitch_class, row in zip(chroma, smoothed, strict=True):
        shares = (pitch_class / sums).astype(np.float32)
        steps = np.sum([shares > step for step in _CENS_STEPS], axis=0, dtype=np.float32)
        scipy.ndimage.convolve1d(steps, _CENS_WINDOW, mode="constant", output=row)
    smoothed /= _divisors(np.sqrt(np.einsum("pf,pf->f", smoothed, smoothed)))
    return smoothed


def tonnetz(chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the tonal centroid of each frame, shape `(6, frames)`; 0 where there is no chroma.

    Two rows each, x and y, of the circles of fifths, minor thirds (both in [-1, 1]) and major
    thirds (in [-0.5, 0.5]). As `librosa.feature.tonnetz` (Harte, Sandler and Gasser, "Detecting
    harmonic change in musical audio", AMCMM 2006).
    """
    centroids: NDArray[np.float32] = _circles() @ chroma
    centroids /= _divisors(chroma.sum(axis=0, dtype=np.float64))
    return centroids


def harmonic_change(
    centroids: NDArray[np.float32], sounding: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return how far the smoothed tonal centroid moves around each frame, shape `(frames,)`.

    The harmonic change detection function of Harte, Sandler and Gasser (2006): the distance
    between the centroids of the frames before and after, smoothed by a Gaussian of 0.108 s.
    Beyond both ends the first and the last frame go on.

    Args:
        centroids: of each frame, shape `(6, frames)`.
        sounding: which frames count, one at least. Those that sound follow one another, as if
            nothing were between them: a rest is no change of harmony. The others get 0.
    """
    squares = np.zeros(np.count_nonzero(sounding))
    for row in centroids:
        squares += scipy.ndimage.convolve1d(row[sounding], _slope(), mode="nearest") ** 2
    change = np.zeros(len(sounding), dtype=np.float32)
    change[sounding] = np.sqrt(squares)
    return change


def _circles() -> NDArray[np.float32]:
    """Return where each pitch class from C upwards stands, shape `(6, 12)`."""
    turns = np.array([7 / 12, 3 / 4, 1 / 3])  # that a semitone makes around each circle
    radii = np.array([1.0, 1.0, 0.5])
    angles = 2 * np.pi * np.outer(turns, np.arange(_PITCH_CLASSES))
    places = radii[:, np.newaxis, np.newaxis] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    circles: NDArray[np.float32] = places.reshape(CENTROID_ROWS, -1).astype(np.float32)
    return circles


def _slope() -> NDArray[np.float64]:
    """Return the filter that smooths and then takes the frame before from the one after."""
    frames = np.arange(-_REACH_FRAMES, _REACH_FRAMES + 1)
    gaussian = np.exp(-0.5 * (frames / _SIGMA_FRAMES) ** 2)
    slope: NDArray[np.float64] = np.convolve(gaussian / gaussian.sum(), [1.0, 0.0, -1.0])
    return slope


def _divisors(lengths: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return what to divide frames by: 1 where there is nothing, which so stays nothing."""
    return np.where(lengths < _TINY, 1.0, lengths)
