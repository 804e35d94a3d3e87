"""Calls of librosa, as a script makes them, on samples in memory."""

from __future__ import annotations

from functools import partial

import librosa

from pipeline.bench.librosa_calls import MUSIC, RATE_HZ
from pipeline.threading_analysis.brief import Brief
from pipeline.threading_analysis.work import Work

# By the names that our stages give to what comes out.
_CALLS = {
    "librosa.onset.onset_strength": "onset_envelope_db",
    "librosa.onset.onset_detect": "onset_times_s",
    "librosa.beat.beat_track": "beat_times_s",
    "librosa.feature.chroma_cqt": "chroma",
    "librosa.feature.chroma_stft": "chroma_stft",
    "librosa.estimate_tuning": "tuning_cents",
    "librosa.feature.spectral_centroid": "centroid_hz",
    "librosa.feature.spectral_rolloff": "rolloff_hz",
    "librosa.feature.spectral_flatness": "flatness",
    "librosa.feature.spectral_contrast": "contrast_db",
    "librosa.feature.mfcc": "mfcc",
    "librosa.feature.zero_crossing_rate": "zero_crossing_rate",
}


def work(brief: Brief) -> Work:
    """Load the music, at librosa's rate."""
    y, _ = librosa.load(brief.song, sr=RATE_HZ)
    return Work(partial(MUSIC[_CALLS[brief.name]], y))
