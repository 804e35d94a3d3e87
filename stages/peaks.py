"""Onsets as peaks of an envelope: `librosa.onset.onset_detect`, which takes long to import.

Böck, Krebs and Schedl, "Evaluating the online capabilities of onset detection methods", ISMIR 2012.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

# librosa's, found by a search over annotated music: in seconds, cut down to frames of 23 ms.
_BEFORE, _AFTER = 1, 1  # a peak is the largest of these, itself among those after
_MEAN_BEFORE, _MEAN_AFTER = 4, 5
_ABOVE_MEAN = np.float32(0.07)  # of the range of the envelope
_PAUSE = 1


def onset_frames(envelope: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the frames in which a note begins, ascending.

    Args:
        envelope: onset strength at 22,050 / 512 frames per second, shape `(frames,)`.
    """
    scaled = envelope - envelope.min()
    scaled /= scaled.max() + np.finfo(np.float32).tiny
    frames: NDArray[np.intp] = (
        np.flatnonzero(_peaks(scaled)) if scaled.any() else np.zeros(0, np.intp)
    )
    return frames


@numba.njit(cache=True, nogil=True)
def _peaks(values: NDArray[np.float32]) -> NDArray[np.bool_]:  # pragma: no cover
    count = len(values)
    peaks = np.zeros(count, dtype=np.bool_)
    at = 0
    while at < count:
        around = values[max(0, at - _BEFORE) : min(at + _AFTER, count)]
        if values[at] == around.max():
            wider = values[max(0, at - _MEAN_BEFORE) : min(at + _MEAN_AFTER, count)]
            if values[at] >= wider.mean() + _ABOVE_MEAN:
                peaks[at] = True
                at += _PAUSE
        at += 1
    return peaks
