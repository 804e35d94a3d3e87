from __future__ import annotations

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.frame_shapes import Measurer, Shapes, joined
from stages.stft import BINS, frame_count, magnitudes

RATE_HZ = 22_050


def _music(samples: int) -> NDArray[np.float32]:
    """Tones on noise, a quiet passage, then silence."""
    random = np.random.default_rng(samples)
    music = 0.3 * np.sin(np.arange(samples) * 0.08) + 0.05 * random.standard_normal(samples)
    music[samples // 2 : samples * 3 // 4] *= 1e-4
    music[samples * 7 // 8 :] = 0.0
    cast: NDArray[np.float32] = music.astype(np.float32)
    return cast


def _cut(samples: NDArray[np.float32], parts: int) -> list[NDArray[np.float32]]:
    """Cut at places that are no multiples of a hop."""
    places = np.sort(np.random.default_rng(parts).integers(0, len(samples) + 1, parts - 1))
    return np.split(samples, places)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("parts", [1, 2, 7])
@pytest.mark.parametrize("samples", [1, 511, 512, 2_047, 2_048, 50_001, 150_016])
def test_the_magnitudes_are_librosa_s_to_the_last_bit_however_they_are_cut(
    samples: int, parts: int
) -> None:
    music = _music(samples)
    expected = np.abs(librosa.stft(music, n_fft=2048, hop_length=512)).T

    found = np.concatenate([*magnitudes(_cut(music, parts))])

    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert frame_count(samples) == len(found)


def _measured(samples: NDArray[np.float32], parts: int) -> Shapes:
    measurer = Measurer(RATE_HZ)
    return joined([measurer.measure(one) for one in magnitudes(_cut(samples, parts))])


@pytest.mark.parametrize("parts", [2, 7])
def test_the_measures_of_a_source_do_not_depend_on_how_it_is_cut(parts: int) -> None:
    music = _music(150_016)
    whole, cut = _measured(music, 1), _measured(music, parts)

    for name in Shapes.__match_args__:
        assert np.array_equal(getattr(whole, name), getattr(cut, name)), name


def test_the_measures_are_librosa_s() -> None:
    music = _music(150_016)
    spectra = np.abs(librosa.stft(music))
    pitches, strengths = librosa.piptrack(S=spectra, sr=RATE_HZ)
    found = _measured(music, 3)

    expected = {
        "highest": spectra.max(axis=0),
        "centroid_hz": librosa.feature.spectral_centroid(S=spectra, sr=RATE_HZ)[0],
        "bandwidth_hz": librosa.feature.spectral_bandwidth(S=spectra, sr=RATE_HZ)[0],
        "flatness": librosa.feature.spectral_flatness(S=spectra)[0],
        "mel": librosa.feature.melspectrogram(S=spectra**2, sr=RATE_HZ).T,
    }
    for name, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-4, atol=1e-6 * scale)
    rolloff = librosa.feature.spectral_rolloff(S=spectra, sr=RATE_HZ)[0]
    assert np.array_equal(found.rolloff_hz, rolloff)
    for ours, theirs in ((found.pitches_hz, pitches), (found.strengths, strengths)):
        heard = theirs.T[pitches.T > 0]
        np.testing.assert_allclose(ours, heard, rtol=1e-5)
    contrast = librosa.feature.spectral_contrast(S=spectra, sr=RATE_HZ, linear=True)
    np.testing.assert_allclose((found.peaks - found.valleys).T, contrast, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sound", ["silence", "a click"])
def test_nothing_gives_finite_measures(sound: str) -> None:
    samples = np.zeros(20_000, dtype=np.float32)
    samples[10_000] = 0.0 if sound == "silence" else 1.0

    found = _measured(samples, 2)

    for name in Shapes.__match_args__:
        assert np.isfinite(getattr(found, name)).all(), name
    assert found.mel.shape == (frame_count(len(samples)), 128)
    assert found.peaks.shape[1] == found.valleys.shape[1] == 7


def test_there_are_as_many_bins_as_half_a_frame_has() -> None:
    (spectra,) = magnitudes([np.zeros(600, dtype=np.float32)])

    assert spectra.shape == (2, BINS)
