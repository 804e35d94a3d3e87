from __future__ import annotations

import essentia.standard as es
import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.analysis import RATE_HZ
from stages.audio import Audio
from stages.base import no_tick
from stages.measure import Measured
from stages.settings import SpectralSettings
from stages.spectral import Spectral
from tests.stages.sounds import noise, scaled, song, stereo, tone


def _measured(audio: Audio, **settings: int) -> Measured:
    return Spectral(SpectralSettings(**settings)).measure(audio, no_tick)


@pytest.mark.parametrize("make", [song, noise], ids=["song", "noise"])
def test_every_series_is_that_of_librosa_on_the_same_samples(make: object) -> None:
    audio: Audio = make()  # type: ignore[operator]
    y = audio.mono(RATE_HZ)
    expected: dict[str, NDArray[np.floating]] = {
        "centroid_hz": librosa.feature.spectral_centroid(y=y, sr=RATE_HZ)[0],
        "bandwidth_hz": librosa.feature.spectral_bandwidth(y=y, sr=RATE_HZ)[0],
        "rolloff_hz": librosa.feature.spectral_rolloff(y=y, sr=RATE_HZ)[0],
        "flatness": librosa.feature.spectral_flatness(y=y)[0],
        "contrast_db": librosa.feature.spectral_contrast(y=y, sr=RATE_HZ),
        "mfcc": librosa.feature.mfcc(y=y, sr=RATE_HZ),
    }

    found = _measured(audio)

    for name, values in expected.items():
        tolerance = 1e-4 * np.abs(values).max()
        np.testing.assert_allclose(found.series[name], values, rtol=1e-4, atol=tolerance)
        row = np.atleast_2d(values)[0].mean()
        stem, _, unit = name.partition("_")
        number = "" if values.ndim == 1 else "_0"
        key = f"{stem}{number}_mean{'_' + unit if unit else ''}"
        assert found.features[key] == pytest.approx(row, rel=1e-4)


def test_flux_is_that_of_essentia_on_spectra_of_unit_energy() -> None:
    audio = song()
    spectra = np.abs(librosa.stft(audio.mono(RATE_HZ)))
    spectra = spectra / np.maximum(np.linalg.norm(spectra, axis=0), 1e-30)
    flux = es.Flux()

    expected = [flux(np.ascontiguousarray(one, dtype=np.float32)) for one in spectra.T]

    found = _measured(audio).series["flux"]
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-3, atol=1e-4)


def test_a_tone_has_its_centroid_at_its_frequency_no_flux_and_no_flatness() -> None:
    found = _measured(tone(1000.0)).features

    assert found["centroid_mean_hz"] == pytest.approx(1000.0, rel=0.02)
    assert found["rolloff_mean_hz"] == pytest.approx(1000.0, rel=0.05)
    assert float(str(found["flux_mean"])) < 0.02
    assert float(str(found["flatness_mean"])) < 1e-3


def test_white_noise_is_flat_and_its_centroid_in_the_middle() -> None:
    white = np.random.default_rng(0).uniform(-0.4, 0.4, 3 * RATE_HZ)

    found = _measured(stereo(white, rate_hz=RATE_HZ)).features

    assert found["centroid_mean_hz"] == pytest.approx(RATE_HZ / 4, rel=0.02)
    assert float(str(found["flatness_mean"])) > 0.5


def test_a_gain_changes_nothing_but_the_first_cepstral_coefficient() -> None:
    audio = song()

    loud, soft = _measured(audio), _measured(scaled(audio, 0.5))

    for name in ("centroid_mean_hz", "rolloff_mean_hz", "flux_mean", "contrast_3_mean_db"):
        assert loud.features[name] == pytest.approx(soft.features[name], rel=1e-3)
    assert float(str(loud.features["mfcc_0_mean"])) > float(str(soft.features["mfcc_0_mean"])) + 50


def test_silent_frames_do_not_count() -> None:
    mono = tone(1000.0).samples[0]
    half = stereo(np.concatenate([mono, np.zeros_like(mono)]))

    found = _measured(half).features

    assert found["centroid_mean_hz"] == pytest.approx(1000.0, rel=0.02)


def test_as_many_cepstral_coefficients_as_asked_for() -> None:
    found = _measured(tone(440.0, seconds=0.5), mfcc_count=13)

    assert found.series["mfcc"].shape[0] == 13
    assert "mfcc_12_std" in found.features
    assert "mfcc_13_std" not in found.features
