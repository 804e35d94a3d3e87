"""Key, tuning and chords, by Essentia's algorithms."""

from __future__ import annotations

import essentia.standard as es
import numpy as np
from numpy.typing import NDArray

from stages.outputs import Missing, Scalar

_RATE_HZ = 44_100
_DEFAULT_PROFILE, _OTHER_PROFILES = "bgate", ("edma", "krumhansl", "temperley")
_KEY = ("key", "scale", "key_strength")
KEYS = (*_KEY, *(f"{name}_{profile}" for name in _KEY for profile in _OTHER_PROFILES))
HARMONY = (
    "tuning_frequency_hz", "hpcp_entropy_mean", "hpcp_entropy_std", "chords_key", "chords_scale",
    "chords_count", "chords_changes_per_s", "chords_strength_mean", "chords_strength_std",
)  # fmt: skip

# Those of Essentia's music extractor.
_FRAME_SAMPLES, _HOP_SAMPLES = 4_096, 2_048
_PROFILE_BINS = 36
_CHORD_PERCENT = 1.0  # what ChordsDescriptors counts a chord from

_NO_PEAK = Missing("no spectral peak is strong enough")


def keys(mono: NDArray[np.float32]) -> dict[str, Scalar]:
    """Key by the profiles of electronic music that are Essentia's default, then by three others."""
    found = dict(zip(_KEY, _key(mono, profile=_DEFAULT_PROFILE), strict=True))
    for profile in _OTHER_PROFILES:
        names = (f"{name}_{profile}" for name in _KEY)
        found |= zip(names, _key(mono, profile=profile), strict=True)
    return {name: found[name] for name in KEYS}


def _key(mono: NDArray[np.float32], *, profile: str) -> tuple[Scalar, Scalar, Scalar]:
    """Return tonic, scale and strength."""
    tonic, scale, strength = es.KeyExtractor(sampleRate=_RATE_HZ, profileType=profile)(mono)
    if strength <= 0:  # without a single peak it says A minor, with a strength of 0
        return _NO_PEAK, _NO_PEAK, _NO_PEAK
    return _sharp(tonic), scale, float(strength)


def harmony(mono: NDArray[np.float32]) -> dict[str, Scalar]:
    """Tuning, and what the chords are like; over the frames in which there is a spectral peak."""
    tuning_hz = float(es.TuningFrequencyExtractor()(mono)[-1])  # of all frames, the last says
    profiles = pitch_class_profiles(mono, tuning_hz=tuning_hz)
    sounding: NDArray[np.bool_] = np.any(profiles, axis=1)
    if not sounding.any():
        return dict.fromkeys(HARMONY, _NO_PEAK)
    entropy = es.Entropy()
    entropies = np.array([entropy(profile) for profile in profiles[sounding]])
    return {
        "tuning_frequency_hz": tuning_hz,
        "hpcp_entropy_mean": float(entropies.mean()),
        "hpcp_entropy_std": float(entropies.std()),
        **_chords(profiles, sounding),
    }


def pitch_class_profiles(mono: NDArray[np.float32], *, tuning_hz: float) -> NDArray[np.float32]:
    """Return the profile of every whole frame, shape `(frames, 36)`, zeros where there is no peak.

    With the parameters that Essentia's music extractor has for chords. `mono` holds a frame.
    """
    window = es.Windowing(type="blackmanharris62", zeroPadding=0, size=_FRAME_SAMPLES)
    magnitudes = es.Spectrum(size=_FRAME_SAMPLES)
    peaks = es.SpectralPeaks(
        maxPeaks=60, magnitudeThreshold=1e-5, minFrequency=20, maxFrequency=3_500,
        orderBy="magnitude", sampleRate=_RATE_HZ,
    )  # fmt: skip
    profile = es.HPCP(
        size=_PROFILE_BINS, referenceFrequency=tuning_hz, harmonics=8, bandPreset=True,
        minFrequency=20, maxFrequency=3_500, bandSplitFrequency=500, weightType="cosine",
        nonLinear=True, windowSize=0.5, sampleRate=_RATE_HZ,
    )  # fmt: skip
    starts = range(0, len(mono) - _FRAME_SAMPLES + 1, _HOP_SAMPLES)
    profiles = np.empty((len(starts), _PROFILE_BINS), dtype=np.float32)
    for row, start in enumerate(starts):
        frame = mono[start : start + _FRAME_SAMPLES]
        profiles[row] = profile(*peaks(magnitudes(window(frame))))
    return profiles


def _chords(profiles: NDArray[np.float32], sounding: NDArray[np.bool_]) -> dict[str, Scalar]:
    """Describe the chords of the frames that sound, each found in the 2 s around it."""
    named, strengths = es.ChordsDetection(hopSize=_HOP_SAMPLES, sampleRate=_RATE_HZ)(profiles)
    taken = [chord for chord, sounds in zip(named, sounding, strict=True) if sounds]
    # Its key only turns the histogram.
    shares, _, changes, key, scale = es.ChordsDescriptors()(taken, "C", "major")
    return {
        "chords_key": _sharp(key),
        "chords_scale": scale,
        "chords_count": int((shares > _CHORD_PERCENT).sum()),
        "chords_changes_per_s": float(changes) * _RATE_HZ / _HOP_SAMPLES,
        "chords_strength_mean": float(strengths[sounding].astype(np.float64).mean()),
        "chords_strength_std": float(strengths[sounding].astype(np.float64).std()),
    }


def _sharp(tonic: str) -> str:
    """Return a tonic under the name that the stage `chroma` gives it."""
    return {"Ab": "G#", "Bb": "A#", "Eb": "D#"}.get(tonic, tonic)
