"""When there is nothing to measure in a source, and why."""

from __future__ import annotations

import numpy as np

from stages.audio import Audio
from stages.outputs import Missing

SILENCE = Missing("silence: nothing above -120 dB")
CANCELLED = Missing("left and right cancel: their mean is silent")

_PEAK = 1e-6  # -120 dBFS


def silence_of(audio: Audio, *, sample_rate_hz: int) -> Missing | None:
    """Say why one channel of a source at a rate is silent, None where it is not."""
    mono = audio.mono(sample_rate_hz)
    if mono.size and np.abs(mono).max() > _PEAK:
        return None
    # Above half the rate there may be something too, but nothing that one would call music.
    return (
        CANCELLED if audio.channels > 1 and np.abs(audio.samples).max() > 100 * _PEAK else SILENCE
    )
