"""Separations that need no training: what a model must beat to be worth its bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from librosa.decompose import hpss
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT, get_window

from training.music.songs import SAMPLE_RATE_HZ, STEMS

Sound = NDArray[np.float32]
"""Shape `(2, samples)`."""

_WINDOW = 4096
_HOP = 1024
_BASS_HZ = 200.0  # about where a bass ends and most voices have begun
_VOICE_HZ = 8000.0


def the_mix(mix: Sound) -> Mapping[str, Sound]:
    """Return the mix as every stem: the floor that everybody quotes."""
    return dict.fromkeys(STEMS, mix)


def split(mix: Sound) -> Mapping[str, Sound]:
    """Return what medians and bands give, without looking at a true stem.

    Drums are what is percussive (Fitzgerald, "Harmonic/percussive separation using median
    filtering", DAFx 2010; librosa's, with soft masks); bass what is harmonic below 200 Hz; vocals
    what is harmonic above, up to 8 kHz, and in the middle; other is the rest. They add up to the mix.
    """
    stft = ShortTimeFFT(
        get_window("hann", _WINDOW), _HOP, SAMPLE_RATE_HZ, scale_to=None, fft_mode="onesided"
    )
    spectra = stft.stft(mix)
    harmonic, drums = hpss(spectra)
    hz = stft.f[:, np.newaxis]
    bass = harmonic * (hz < _BASS_HZ)
    middle = harmonic.mean(axis=0, keepdims=True) * ((hz >= _BASS_HZ) & (hz < _VOICE_HZ))
    vocals = np.repeat(middle, 2, axis=0)
    given = {"drums": drums, "bass": bass, "vocals": vocals}
    given["other"] = spectra - sum(given.values())
    return {name: stft.istft(given[name], k1=mix.shape[1]).astype(np.float32) for name in STEMS}
