"""What a script asks of librosa for each of our features, by the names that our stages give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import librosa
import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.floating]
Values: TypeAlias = "NDArray[np.floating] | float"

RATE_HZ = 22_050


def _flux(y: Samples) -> Values:
    spectra = np.abs(librosa.stft(y))
    unit = spectra / np.maximum(np.linalg.norm(spectra, axis=0), np.finfo(np.float32).tiny)
    return np.concatenate([[0.0], np.linalg.norm(np.diff(unit, axis=1), axis=0)])


MUSIC: dict[str, Callable[[Samples], Values]] = {
    "onset_envelope_db": lambda y: librosa.onset.onset_strength(y=y, sr=RATE_HZ),
    "onset_times_s": lambda y: librosa.onset.onset_detect(y=y, sr=RATE_HZ, units="time"),
    "beat_times_s": lambda y: librosa.beat.beat_track(y=y, sr=RATE_HZ, units="time")[1],
    "chroma": lambda y: librosa.feature.chroma_cqt(y=y, sr=RATE_HZ),
    "chroma_stft": lambda y: librosa.feature.chroma_stft(y=y, sr=RATE_HZ),
    # Each of these two makes a constant-Q transform of its own, unless it is given one.
    "chroma_cens": lambda y: librosa.feature.chroma_cens(y=y, sr=RATE_HZ),
    "tonnetz": lambda y: librosa.feature.tonnetz(y=y, sr=RATE_HZ),
    "tuning_cents": lambda y: 100 * librosa.estimate_tuning(y=y, sr=RATE_HZ),
    "centroid_hz": lambda y: librosa.feature.spectral_centroid(y=y, sr=RATE_HZ)[0],
    "bandwidth_hz": lambda y: librosa.feature.spectral_bandwidth(y=y, sr=RATE_HZ)[0],
    "rolloff_hz": lambda y: librosa.feature.spectral_rolloff(y=y, sr=RATE_HZ)[0],
    "flatness": lambda y: librosa.feature.spectral_flatness(y=y)[0],
    "contrast_db": lambda y: librosa.feature.spectral_contrast(y=y, sr=RATE_HZ),
    "mfcc": lambda y: librosa.feature.mfcc(y=y, sr=RATE_HZ),
    "zero_crossing_rate": lambda y: librosa.feature.zero_crossing_rate(y)[0],
    "flux": _flux,
}
