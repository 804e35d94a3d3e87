"""The `chroma` stage: which pitch classes sound, the key they speak for, and the tuning."""

from __future__ import annotations

import itertools

import librosa
import numpy as np
from numpy.typing import NDArray

from stages.analysis import RATE_HZ, frame_times_s, mono_blocks, nothing_there, shapes, sounding
from stages.audio import Audio
from stages.base import Tick
from stages.constant_q import BINS_PER_OCTAVE, chroma_of
from stages.keys import PITCH_CLASSES, find_key
from stages.measure import Measured, Measuring
from stages.outputs import Missing, Scalar
from stages.settings import ChromaSettings
from stages.stft import frame_count

_NO_KEY = Missing("all pitch classes alike: no key fits better than another")
_NO_PITCH = Missing("no peak between 150 and 4,000 Hz")
_LONGEST_FILTER_SAMPLES = 1024 * 64  # 1,024 in the lowest of seven octaves, each at half the rate
_SLUGS = tuple(name.lower().replace("#", "_sharp") for name in PITCH_CLASSES)


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
        tuned = tuning(audio, bins_per_octave=BINS_PER_OCTAVE) or 0.0
        samples = len(audio.mono(RATE_HZ))
        # With zeros after its end a short source keeps what its lower octaves ring on.
        zeros = np.zeros(max(0, _LONGEST_FILTER_SAMPLES - samples), dtype=np.float32)
        blocks = itertools.chain(mono_blocks(audio), [zeros])
        chroma = chroma_of(blocks, samples + len(zeros), RATE_HZ, tuning=tuned)
        return chroma[:, : frame_count(samples)]

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
    found = shapes(audio)
    if not found.strengths.size:
        return found.pitches_hz
    return found.pitches_hz[found.strengths >= np.median(found.strengths)]


def _nothing(missing: Missing) -> dict[str, Scalar]:
    names = ("key", "scale", "key_strength", "tuning_cents")
    return dict.fromkeys((*names, *(f"chroma_{name}_mean" for name in _SLUGS)), missing)
