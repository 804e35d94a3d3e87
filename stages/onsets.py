"""The `onsets` stage: when notes begin, how strongly, and the beat that they give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages import rhythm
from stages.analysis import RATE_HZ, Analysis, frame_times_s, nothing_there
from stages.audio import Audio
from stages.base import Tick
from stages.beats import tempo_and_beats
from stages.measure import Measured, Measuring
from stages.onset_envelopes import envelopes
from stages.outputs import Missing, Scalar
from stages.peaks import onset_frames
from stages.settings import OnsetsSettings
from stages.stft import HOP_SAMPLES

_NO_ONSET = Missing("no onset was found")
_NO_BEAT = Missing("no beat was found")
_NONE = np.zeros(0)


class Onsets(Measuring[OnsetsSettings]):
    """Onsets by spectral flux, tempo and beats by dynamic programming, as librosa finds them.

    Onset strength: Böck and Widmer, "Maximum filter vibrato suppression for onset detection",
    DAFx 2013 (without the filter). Beats: Ellis, "Beat tracking by dynamic programming", 2007.
    """

    hears = (Analysis,)

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        missing = nothing_there(audio)
        if missing is not None:
            return Measured(_nothing(missing), _no_series())
        found = envelopes(audio, tick)
        strength_db, onsets = found.mean, onset_frames(found.mean)
        tempo_bpm, beats = tempo_and_beats(found.median, RATE_HZ / HOP_SAMPLES)
        times_s = frame_times_s(audio)
        features: dict[str, Scalar] = {
            "onset_count": len(onsets),
            "onsets_per_s": len(onsets) / audio.duration_s,
            "onset_strength_mean_db": float(strength_db[onsets].mean())
            if len(onsets)
            else _NO_ONSET,
            "onset_strength_max_db": float(strength_db[onsets].max()) if len(onsets) else _NO_ONSET,
            "tempo_bpm": tempo_bpm if len(beats) else _NO_BEAT,
            "beat_count": len(beats),
            **rhythm.features(times_s[onsets], times_s[beats]),
        }
        tick(audio.duration_s)
        return Measured(
            features,
            {
                "onset_times_s": times_s[onsets],
                "onset_strengths_db": strength_db[onsets],
                "beat_times_s": times_s[beats],
                "onset_envelope_db": strength_db,
                "times_s": times_s,
            },
        )


def _nothing(missing: Missing) -> dict[str, Scalar]:
    return {
        "onset_count": 0,
        "onsets_per_s": 0.0,
        "onset_strength_mean_db": missing,
        "onset_strength_max_db": missing,
        "tempo_bpm": missing,
        "beat_count": 0,
        **dict.fromkeys(rhythm.features(_NONE, _NONE), missing),
    }


def _no_series() -> dict[str, NDArray[np.float64]]:
    names = (
        "onset_times_s", "onset_strengths_db", "beat_times_s", "onset_envelope_db", "times_s",
    )  # fmt: skip
    return dict.fromkeys(names, _NONE)
