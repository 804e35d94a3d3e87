"""The `chroma` stage: which pitch classes sound, the key they speak for, and the tuning."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

from stages.analysis import (
    FRAME_SAMPLES,
    HOP_SAMPLES,
    RATE_HZ,
    frame_times_s,
    magnitude,
    nothing_there,
    sounding,
)
from stages.audio import Audio
from stages.base import Tick
from stages.keys import PITCH_CLASSES, find_key
from stages.measure import Measured, Measuring
from stages.outputs import Missing, Scalar
from stages.settings import ChromaSettings

_NO_KEY = Missing("all pitch classes alike: no key fits better than another")
_NO_PITCH = Missing("no peak between 150 and 4,000 Hz")
_SLUGS = tuple(name.lower().replace("#", "_sharp") for name in PITCH_CLASSES)
_BINS_PER_OCTAVE = 36  # of librosa's chroma_cqt
_LONGEST_FILTER_SAMPLES = 1024 * 64  # 1,024 in the lowest of seven octaves, each at half the rate


class Chroma(Measuring[ChromaSettings]):
    """Chroma from a constant-Q transform over seven octaves from C1, as librosa computes it.

    Every frame is scaled to a maximum of 1. The transform is tuned to the source first.
    """

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        missing = nothing_there(audio)
        if missing is not None:
            none = {"chroma": np.zeros((12, 0)), "times_s": np.zeros(0)}
            return Measured(_nothing(missing), none)
        chroma = chroma_cqt(audio)
        tick(audio.duration_s)
        means = chroma[:, sounding(audio)].mean(axis=1)
        key, semitones = find_key(means), tuning(audio, bins_per_octave=12)
        features: dict[str, Scalar] = {
            "key": key.tonic if key else _NO_KEY,
            "scale": key.scale if key else _NO_KEY,
            "key_strength": key.strength if key else _NO_KEY,
            "tuning_cents": _NO_PITCH if semitones is None else 100.0 * semitones,
            **{f"chroma_{name}_mean": float(m) for name, m in zip(_SLUGS, means, strict=True)},
        }
        return Measured(features, {"chroma": chroma, "times_s": frame_times_s(audio)})


def chroma_cqt(audio: Audio) -> NDArray[np.float32]:
    """Return the chroma from C upwards, in [0, 1], shape `(12, frames)`."""

    def make() -> NDArray[np.float32]:
        mono = audio.mono(RATE_HZ)
        chroma: NDArray[np.float32] = librosa.feature.chroma_cqt(
            # With zeros after its end, as the transform would see them anyway: librosa warns of a
            # source that is shorter than the filters of the lowest octave.
            y=np.pad(mono, (0, max(0, _LONGEST_FILTER_SAMPLES - len(mono)))),
            sr=RATE_HZ,
            hop_length=HOP_SAMPLES,
            tuning=tuning(audio, bins_per_octave=_BINS_PER_OCTAVE) or 0.0,
        )
        return chroma[:, : magnitude(audio).shape[1]]

    return audio.once("chroma_cqt", make)


def tuning(audio: Audio, *, bins_per_octave: int) -> float | None:
    """Return how far the source is off A4 = 440 Hz, in fractions of a bin, in [-0.5, 0.5).

    As `librosa.estimate_tuning`, from the pitches that are as strong as the median or stronger.
    None where there is no peak between 150 and 4,000 Hz.
    """
    pitches_hz = audio.once("strong_pitches_hz", lambda: _strong_pitches_hz(audio))
    if pitches_hz.size == 0:
        return None
    return float(librosa.pitch_tuning(pitches_hz, bins_per_octave=bins_per_octave))


def _strong_pitches_hz(audio: Audio) -> NDArray[np.float32]:
    pitches_hz, strengths = librosa.piptrack(S=magnitude(audio), sr=RATE_HZ, n_fft=FRAME_SAMPLES)
    heard = pitches_hz > 0
    if not heard.any():
        return np.zeros(0, np.float32)
    strong: NDArray[np.float32] = pitches_hz[heard & (strengths >= np.median(strengths[heard]))]
    return strong


def _nothing(missing: Missing) -> dict[str, Scalar]:
    names = ("key", "scale", "key_strength", "tuning_cents")
    return dict.fromkeys((*names, *(f"chroma_{name}_mean" for name in _SLUGS)), missing)
