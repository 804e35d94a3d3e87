"""Which key a distribution of pitch classes speaks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

# How well each pitch class fits a key of C, by listeners: Krumhansl and Kessler, "Tracing the dynamic
# changes in perceived tonal organization", Psychological Review 89 (1982), as in Krumhansl's
# "Cognitive Foundations of Musical Pitch" (1990), table 2.1.
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


@dataclass(frozen=True)
class Key:
    """A key. `strength` is the correlation with its profile, in [0, 1].

    The correlations with all twelve rotations of a profile add up to 0, so the best is never below.
    """

    tonic: str
    scale: str
    strength: float


def find_key(chroma: NDArray[np.floating]) -> Key | None:
    """Return the key whose profile correlates best, after Krumhansl and Schmuckler.

    Args:
        chroma: how much of each pitch class there is, from C upwards, shape `(12,)`.

    Returns:
        None where all twelve are alike, or no numbers: then no key fits better than another.
    """
    if not np.isfinite(chroma).all() or np.ptp(chroma) <= 1e-6 * np.abs(chroma).max():
        return None
    return max(
        (
            Key(tonic, scale, float(np.corrcoef(chroma, np.roll(profile, step))[0, 1]))
            for scale, profile in _PROFILES.items()
            for step, tonic in enumerate(PITCH_CLASSES)
        ),
        key=lambda key: key.strength,
    )
