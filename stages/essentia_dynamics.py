"""How the level of a source moves: Essentia's danceability and dynamic complexity."""

from __future__ import annotations

import math

import essentia.standard as es
import numpy as np
from numpy.typing import NDArray

from stages.outputs import Missing, Scalar

DANCEABILITY = ("danceability",)
DYNAMICS = ("dynamic_complexity_db", "loudness_db")

_RATE_HZ = 44_100
_LEVEL_FRAME_SAMPLES = 8_820  # 0.2 s: DynamicComplexity's
_LOWEST_DB = -100.0  # what DynamicComplexity says where it finds nothing

_TOO_SHORT_TO_DANCE = Missing("too short, or too even, for a danceability")
_NO_LEVEL_FRAME = Missing("shorter than 0.2 s")
_NO_LEVEL = Missing("nothing above -100 dB")


def danceability(mono: NDArray[np.float32]) -> dict[str, Scalar]:
    """Detrended fluctuation analysis, Streich and Herrera 2005: about 0 to 3, more is more."""
    value = float(es.Danceability(sampleRate=_RATE_HZ)(mono)[0])
    return {"danceability": value if 0 < value < math.inf else _TOO_SHORT_TO_DANCE}


def dynamics(mono: NDArray[np.float32]) -> dict[str, Scalar]:
    """Mean distance from the overall loudness, Streich 2006, and that loudness."""
    if len(mono) < _LEVEL_FRAME_SAMPLES:
        return dict.fromkeys(DYNAMICS, _NO_LEVEL_FRAME)
    complexity_db, loudness_db = map(float, es.DynamicComplexity(sampleRate=_RATE_HZ)(mono))
    if loudness_db <= _LOWEST_DB:
        return dict.fromkeys(DYNAMICS, _NO_LEVEL)
    return {"dynamic_complexity_db": complexity_db, "loudness_db": loudness_db}
