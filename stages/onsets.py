"""The `onsets` stage: when notes begin, how strongly, and the beat that they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

from stages.analysis import RATE_HZ, frame_times_s, mel_db, nothing_there
from stages.audio import Audio
from stages.base import Tick
from stages.measure import Measured, Measuring
from stages.outputs import Missing, Scalar
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

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        missing = nothing_there(audio)
        if missing is not None:
            return Measured(_nothing(missing), _no_series())
        strength_db = onset_strength_db(audio, np.mean)
        tick(audio.duration_s / 2)
        onsets = onset_frames(strength_db)
        tempo_bpm, beats = tempo_and_beats(audio)
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


def onset_strength_db(audio: Audio, over_bands: Callable[..., Any]) -> NDArray[np.float32]:
    """Return how much louder the mel bands got since the frame before, in dB, shape `(frames,)`.

    Args:
        over_bands: `np.mean` for onsets; `np.median`, less easily led by one band, for beats.
    """

    def make() -> NDArray[np.float32]:
        envelope: NDArray[np.float32] = librosa.onset.onset_strength(
            S=mel_db(audio), sr=RATE_HZ, hop_length=HOP_SAMPLES, aggregate=over_bands
        )
        return envelope

    return audio.once(("onset_strength_db", over_bands), make)


def onset_frames(strength_db: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the frames in which a note begins, ascending."""
    frames: NDArray[np.intp] = librosa.onset.onset_detect(
        onset_envelope=strength_db, sr=RATE_HZ, hop_length=HOP_SAMPLES
    )
    return frames


def tempo_and_beats(audio: Audio) -> tuple[float, NDArray[np.intp]]:
    """Return beats per minute and the frames of the beats, ascending; 0 and none without onsets."""
    tempo, frames = librosa.beat.beat_track(
        onset_envelope=onset_strength_db(audio, np.median), sr=RATE_HZ, hop_length=HOP_SAMPLES
    )
    return float(np.squeeze(tempo)), frames


def _nothing(missing: Missing) -> dict[str, Scalar]:
    return {
        "onset_count": 0,
        "onsets_per_s": 0.0,
        "onset_strength_mean_db": missing,
        "onset_strength_max_db": missing,
        "tempo_bpm": missing,
        "beat_count": 0,
    }


def _no_series() -> dict[str, NDArray[np.float64]]:
    names = (
        "onset_times_s", "onset_strengths_db", "beat_times_s", "onset_envelope_db", "times_s",
    )  # fmt: skip
    return dict.fromkeys(names, _NONE)
