"""When there is nothing to measure in a source, and why."""

from __future__ import annotations

from stages.mono import PEAK_OF_SILENCE, MonoSink
from stages.outputs import Missing

SILENCE = Missing("silence: nothing above -120 dB")
CANCELLED = Missing("left and right cancel: their mean is silent")


def silence_of(mono: MonoSink) -> Missing | None:
    """Say why what was heard as one channel is silent, None where it is not."""
    if mono.peak > PEAK_OF_SILENCE:
        return None
    # Above half the rate there may be something too, but nothing that one would call music.
    loud = mono.channels > 1 and mono.peak_of_all > 100 * PEAK_OF_SILENCE
    return CANCELLED if loud else SILENCE
