"""Roughness, tonality and richness of the spectrum, frame by frame, by Essentia's algorithms."""

from __future__ import annotations

from collections.abc import Callable

import essentia.standard as es
import numpy as np
from numpy.typing import NDArray

from stages.mono import PEAK_OF_SILENCE
from stages.outputs import Missing, Scalar

_RATE_HZ = 44_100
# Frame and window are those of Essentia's music extractor. Its hop is 1,024: without an overlap the
# frames cost half, and a mean over a source is the same but for the last digits.
_FRAME_SAMPLES = 2_048
_QUIET_POWER = 1e-6  # an RMS of -60 dB of full scale

_LINES = ("dissonance", "spectral_entropy", "spectral_complexity", "pitch_salience")
_MOMENTS = tuple(f"{line}_{kind}" for line in _LINES for kind in ("mean", "std"))
SPECTRUM = (*_MOMENTS, "silence_rate_60db")

_NO_FRAME = Missing("no frame above -120 dB")


def spectrum(mono: NDArray[np.float32]) -> dict[str, Scalar]:
    """Means and standard deviations over the frames that are not silent; how many are quiet.

    Only whole frames: `mono` holds at least one.
    """
    frames = mono[: len(mono) // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
    # It goes on where it was: the numbers of one call for all samples, without that call's copies.
    equal_loudness = es.EqualLoudness(sampleRate=_RATE_HZ)
    measure = _frame_measure()
    found, quiet = [], 0
    for frame in frames:
        as_heard = equal_loudness(frame)
        if max(frame.max(), -frame.min()) > PEAK_OF_SILENCE:
            found.append(measure(frame, as_heard))
        quiet += float(frame @ frame) / _FRAME_SAMPLES < _QUIET_POWER
    return {**_moments(found), "silence_rate_60db": quiet / len(frames)}


def _moments(found: list[tuple[float, ...]]) -> dict[str, Scalar]:
    if not found:
        return dict.fromkeys(_MOMENTS, _NO_FRAME)
    lines = np.array(found, dtype=np.float64).T
    values = [float(one) for line in lines for one in (line.mean(), line.std())]
    return dict(zip(_MOMENTS, values, strict=True))


def _frame_measure() -> Callable[[NDArray[np.float32], NDArray[np.float32]], tuple[float, ...]]:
    """Return what gives the values of `_LINES` of a frame: as it is, and as it is heard."""
    window = es.Windowing(type="blackmanharris62", zeroPadding=0, size=_FRAME_SAMPLES)
    magnitudes = es.Spectrum(size=_FRAME_SAMPLES)
    peaks = es.SpectralPeaks(orderBy="frequency", sampleRate=_RATE_HZ)
    dissonance, entropy = es.Dissonance(), es.Entropy()
    complexity = es.SpectralComplexity(sampleRate=_RATE_HZ)
    salience = es.PitchSalience(sampleRate=_RATE_HZ)

    def measure(frame: NDArray[np.float32], as_heard: NDArray[np.float32]) -> tuple[float, ...]:
        plain, heard = magnitudes(window(frame)), magnitudes(window(as_heard))
        return dissonance(*peaks(heard)), entropy(heard), complexity(plain), salience(plain)

    return measure
