from __future__ import annotations

import essentia.standard as es
import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.analysis import RATE_HZ
from stages.audio import Audio
from stages.base import no_tick
from stages.frame_shapes import BANDS_HZ
from stages.measure import Measured
from stages.outputs import Missing
from stages.settings import SpectralSettings
from stages.spectral import Spectral
from tests.stages.sounds import noise, scaled, song, stereo, tone


def _measured(audio: Audio, **settings: int) -> Measured:
    return Spectral(SpectralSettings(**settings)).measure(audio, no_tick)


def _sines(*parts: tuple[float, float], seconds: float = 3.0) -> Audio:
    """Sines at the rate of the analysis, as (Hz, peak level)."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    waves = [level * np.sin(2 * np.pi * hz * times) for hz, level in parts]
    return stereo(np.sum(waves, axis=0), rate_hz=RATE_HZ)


def _number(found: Measured, name: str) -> float:
    value = found.features[name]
    assert isinstance(value, float), name
    return value


@pytest.mark.parametrize("make", [song, noise], ids=["song", "noise"])
def test_every_series_is_that_of_librosa_on_the_same_samples(make: object) -> None:
    audio: Audio = make()  # type: ignore[operator]
    y = audio.mono(RATE_HZ)
    expected: dict[str, NDArray[np.floating]] = {
        "centroid_hz": librosa.feature.spectral_centroid(y=y, sr=RATE_HZ)[0],
        "bandwidth_hz": librosa.feature.spectral_bandwidth(y=y, sr=RATE_HZ)[0],
        "rolloff_hz": librosa.feature.spectral_rolloff(y=y, sr=RATE_HZ)[0],
        "flatness": librosa.feature.spectral_flatness(y=y)[0],
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(y)[0],
        "contrast_db": librosa.feature.spectral_contrast(y=y, sr=RATE_HZ),
        "mfcc": librosa.feature.mfcc(y=y, sr=RATE_HZ),
    }

    found = _measured(audio)

    for name, values in expected.items():
        tolerance = 1e-4 * np.abs(values).max()
        np.testing.assert_allclose(found.series[name], values, rtol=1e-4, atol=tolerance)
        row = np.atleast_2d(values)[0]
        unit = next((unit for unit in ("_hz", "_db") if name.endswith(unit)), "")
        stem = name.removesuffix(unit) + ("" if values.ndim == 1 else "_0")
        single = {"mean": row.mean(), "std": row.std()}
        if values.ndim == 1:
            single |= {f"p{percent}": np.percentile(row, percent) for percent in (10, 50, 90)}
        for kind, value in single.items():
            assert found.features[f"{stem}_{kind}{unit}"] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("make", [song, noise], ids=["song", "noise"])
def test_the_deltas_are_those_of_librosa_and_follow_from_what_is_written(make: object) -> None:
    audio: Audio = make()  # type: ignore[operator]
    y = audio.mono(RATE_HZ)

    found = _measured(audio)

    written = found.series["mfcc"].astype(np.float32)
    for of in (librosa.feature.mfcc(y=y, sr=RATE_HZ), written):
        deltas = librosa.feature.delta(of)
        for row, values in enumerate(deltas):
            mean, std = (_number(found, f"mfcc_delta_{row}_{kind}") for kind in ("mean", "std"))
            assert mean == pytest.approx(values.mean(), rel=1e-4, abs=1e-4 * float(values.std()))
            assert std == pytest.approx(values.std(), rel=1e-4)


@pytest.mark.parametrize("make", [song, noise], ids=["song", "noise"])
def test_skewness_and_kurtosis_are_those_of_essentia(make: object) -> None:
    audio: Audio = make()  # type: ignore[operator]
    spectra = np.abs(librosa.stft(audio.mono(RATE_HZ)))
    moments, shape = es.CentralMoments(range=RATE_HZ / 2), es.DistributionShape()

    expected = np.array([shape(moments(np.ascontiguousarray(one))) for one in spectra.T])

    found = _measured(audio).series
    np.testing.assert_allclose(found["skewness"], expected[:, 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["kurtosis"], expected[:, 2] + 3, rtol=1e-4)  # theirs less 3


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
    # On paper: powers are exponentially distributed, and the mean of their logarithm is Euler's number.
    assert found["flatness_mean"] == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)
    assert found["skewness_mean"] == pytest.approx(0.0, abs=0.02)
    assert found["kurtosis_mean"] == pytest.approx(9 / 5, abs=0.02)  # of a rectangle
    assert found["zero_crossing_rate_p50"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("low_level", [0.1, 0.2, 0.3])
def test_two_tones_have_the_moments_of_a_coin(low_level: float) -> None:
    low_hz, high_hz = (bins * RATE_HZ / 2048 for bins in (200, 400))
    high_level = 0.4 - low_level
    p, q = high_level / 0.4, low_level / 0.4

    found = _measured(_sines((low_hz, low_level), (high_hz, high_level)))

    assert _number(found, "centroid_p50_hz") == pytest.approx(q * low_hz + p * high_hz, rel=1e-3)
    assert _number(found, "bandwidth_p50_hz") == pytest.approx(
        (high_hz - low_hz) * np.sqrt(p * q), rel=1e-3
    )
    skewness = (q - p) / np.sqrt(p * q)
    assert _number(found, "skewness_p50") == pytest.approx(skewness, abs=1e-3)
    assert _number(found, "kurtosis_p50") == pytest.approx(1 + skewness**2, abs=1e-3)


@pytest.mark.parametrize("hz", [100.0, 440.0, 3000.0, 9000.0])
def test_a_tone_crosses_zero_twice_a_period(hz: float) -> None:
    found = _measured(_sines((hz, 0.4)))

    assert _number(found, "zero_crossing_rate_p50") == pytest.approx(2 * hz / RATE_HZ, abs=1 / 2048)


def test_a_tone_that_rises_evenly_has_the_percentiles_of_a_ramp() -> None:
    hz = np.linspace(1000, 9000, 10 * RATE_HZ)
    rising = stereo(0.4 * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ), rate_hz=RATE_HZ)

    found = _measured(rising)

    expected = {"p10": 1800, "p50": 5000, "p90": 8200, "mean": 5000, "std": 8000 / np.sqrt(12)}
    for kind, value in expected.items():
        assert _number(found, f"centroid_{kind}_hz") == pytest.approx(value, rel=0.01), kind
    for percent in (10, 50, 90):
        crossings = _number(found, f"zero_crossing_rate_p{percent}")
        assert crossings == pytest.approx(2 * expected[f"p{percent}"] / RATE_HZ, rel=0.01)


@pytest.mark.parametrize(
    ("band", "hz"),
    [
        *(("bass", 45.0), ("bass", 90.0), ("body", 150.0), ("body", 560.0)),
        *(("mid", 650.0), ("mid", 2_450.0), ("air", 2_550.0), ("air", 10_900.0)),
    ],
)
def test_a_tone_has_its_level_in_its_band_and_hardly_any_in_the_others(
    band: str, hz: float
) -> None:
    found = _measured(_sines((hz, 0.4)))

    level_dbfs = 10 * np.log10(0.4**2 / 2)
    for row, other in enumerate(BANDS_HZ):
        apart = _number(found, f"rms_{other}_dbfs") - level_dbfs
        in_the_middle = found.series["band_rms_dbfs"][row, 40] - level_dbfs
        if other == band:
            assert (apart, in_the_middle) == pytest.approx((0.0, 0.0), abs=0.05)
        else:
            assert max(apart, in_the_middle) < -30


def test_white_noise_is_as_loud_in_a_band_as_the_band_is_wide() -> None:
    white = np.random.default_rng(0).uniform(-0.4, 0.4, 20 * RATE_HZ)

    found = _measured(stereo(white, rate_hz=RATE_HZ))

    for band, (low_hz, high_hz) in BANDS_HZ.items():
        share = (min(high_hz, RATE_HZ / 2) - low_hz) / (RATE_HZ / 2)
        expected = 10 * np.log10(0.4**2 / 3 * share)
        # A bin is 11 Hz wide: of the 100 of the bass that may be one too many.
        assert _number(found, f"rms_{band}_dbfs") == pytest.approx(expected, abs=0.5)


def test_the_four_bands_add_up_to_the_level_of_all_samples() -> None:
    audio = song()
    mono = audio.mono(RATE_HZ).astype(np.float64)

    found = _measured(audio)

    powers = [10 ** (_number(found, f"rms_{band}_dbfs") / 10) for band in BANDS_HZ]
    assert 10 * np.log10(sum(powers) / np.mean(mono**2)) == pytest.approx(0.0, abs=0.05)


def test_a_band_with_nothing_in_it_has_no_level_and_says_why() -> None:
    found = _measured(_sines((60.0, 1e-5)))

    assert _number(found, "rms_bass_dbfs") == pytest.approx(-103.01, abs=0.05)
    assert found.features["rms_air_dbfs"] == Missing("nothing above -120 dB in this band")
    assert found.series["band_rms_dbfs"][3, 40] == -120.0


@pytest.mark.parametrize(("samples", "frames"), [(2_048, 5), (4_095, 8), (4_096, 9)])
def test_deltas_need_nine_frames(samples: int, frames: int) -> None:
    short = _sines((440.0, 0.4)).samples[:, :samples]

    found = _measured(Audio(short, RATE_HZ))

    assert found.series["mfcc"].shape == (20, frames)
    assert isinstance(found.features["mfcc_19_std"], float)
    missing = found.features["mfcc_delta_0_mean"] == Missing("shorter than 9 frames")
    assert missing == (frames < 9)


def test_a_gain_changes_levels_and_the_first_cepstral_coefficient_and_nothing_else() -> None:
    audio = song()

    loud, soft = _measured(audio), _measured(scaled(audio, 0.5))

    for name in loud.features:
        higher = 0.0
        if name.startswith("rms_"):
            higher = 20 * np.log10(2)
        elif name == "mfcc_0_mean":
            # 6.02 dB in each of 128 bands.
            higher = 20 * np.log10(2) * np.sqrt(128)
        # Powers below 1e-10 count as that, in librosa as here, so a flatness knows the level.
        within = 2e-2 if name.startswith("flatness") else 1e-3
        expected = _number(soft, name) + higher
        assert _number(loud, name) == pytest.approx(expected, rel=within), name
    np.testing.assert_allclose(
        loud.series["band_rms_dbfs"] - soft.series["band_rms_dbfs"], 20 * np.log10(2), atol=1e-3
    )


def test_silent_frames_do_not_count() -> None:
    mono = tone(1000.0).samples[0]
    half = stereo(np.concatenate([mono, np.zeros_like(mono)]))

    found = _measured(half).features

    assert found["centroid_mean_hz"] == pytest.approx(1000.0, rel=0.02)
    assert found["centroid_p10_hz"] == pytest.approx(1000.0, rel=0.02)
    assert found["zero_crossing_rate_p10"] == pytest.approx(2000 / RATE_HZ, rel=0.02)


def test_the_levels_are_of_all_samples_silent_ones_included() -> None:
    mono = tone(1000.0).samples[0]
    half = stereo(np.concatenate([mono, np.zeros_like(mono)]))

    level_dbfs = _number(_measured(half), "rms_mid_dbfs")

    assert level_dbfs == pytest.approx(10 * np.log10(0.4**2 / 2 / 2), abs=0.05)


def test_as_many_cepstral_coefficients_as_asked_for() -> None:
    found = _measured(tone(440.0, seconds=0.5), mfcc_count=13)

    assert found.series["mfcc"].shape[0] == 13
    assert "mfcc_12_std" in found.features
    assert "mfcc_13_std" not in found.features
    assert "mfcc_delta_12_std" in found.features
    assert "mfcc_delta_13_std" not in found.features
