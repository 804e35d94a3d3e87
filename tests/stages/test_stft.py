from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.crossings import Crossings
from stages.frame_shapes import BANDS_HZ, Measurer, Shapes
from stages.pitches import Pitches
from stages.stft import BINS, Stft, frame_count

RATE_HZ = 22_050


def _music(samples: int) -> NDArray[np.float32]:
    """Tones on noise, a quiet passage, then silence."""
    random = np.random.default_rng(samples)
    music = 0.3 * np.sin(np.arange(samples) * 0.08) + 0.05 * random.standard_normal(samples)
    music[samples // 2 : samples * 3 // 4] *= 1e-4
    music[samples * 7 // 8 :] = 0.0
    cast: NDArray[np.float32] = music.astype(np.float32)
    return cast


def _magnitudes(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    stft = Stft()
    for block in blocks:
        yield from stft.add(block)
    yield from stft.end()


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

    found = np.concatenate([*_magnitudes(_cut(music, parts))])

    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert frame_count(samples) == len(found)


@dataclass(frozen=True)
class _Found:
    shapes: Shapes
    mel: NDArray[np.float32]
    strong_hz: NDArray[np.float32]
    crossings: NDArray[np.float64]


def _measured(samples: NDArray[np.float32], parts: int) -> _Found:
    measurer, pitches, crossings = Measurer(RATE_HZ), Pitches(RATE_HZ, (12, 36)), Crossings()
    mel = []
    for block in _cut(samples, parts):
        crossings.add(block)
    for magnitudes in _magnitudes(_cut(samples, parts)):
        mel.append(measurer.measure(magnitudes))
        pitches.add(magnitudes)
    return _Found(measurer.shapes(), np.concatenate(mel), pitches._strong_hz(), crossings.shares())


@pytest.mark.parametrize("parts", [2, 7])
def test_the_measures_of_a_source_do_not_depend_on_how_it_is_cut(parts: int) -> None:
    music = _music(150_016)
    whole, cut = _measured(music, 1), _measured(music, parts)

    for name in ("lines", "peaks", "valleys"):
        assert np.array_equal(getattr(whole.shapes, name), getattr(cut.shapes, name)), name
    for name in ("mel", "strong_hz", "crossings"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name)), name


def test_the_measures_are_librosa_s() -> None:
    music = _music(150_016)
    spectra = np.abs(librosa.stft(music))
    pitches, strengths = librosa.piptrack(S=spectra, sr=RATE_HZ)
    found = _measured(music, 3)
    shapes = found.shapes

    expected = {
        "highest": spectra.max(axis=0),
        "centroid_hz": librosa.feature.spectral_centroid(S=spectra, sr=RATE_HZ)[0],
        "bandwidth_hz": librosa.feature.spectral_bandwidth(S=spectra, sr=RATE_HZ)[0],
        "flatness": librosa.feature.spectral_flatness(S=spectra)[0],
    }
    for name, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(shapes.line(name), values, rtol=1e-4, atol=1e-6 * scale)
    mel = librosa.feature.melspectrogram(S=spectra**2, sr=RATE_HZ).T
    np.testing.assert_allclose(found.mel, mel, rtol=1e-4, atol=1e-6 * mel.max())
    rolloff = librosa.feature.spectral_rolloff(S=spectra, sr=RATE_HZ)[0]
    assert np.array_equal(shapes.line("rolloff_hz"), rolloff)
    heard = pitches.T > 0
    strong = strengths.T[heard] >= np.median(strengths.T[heard])
    np.testing.assert_allclose(found.strong_hz, pitches.T[heard][strong], rtol=1e-5)
    contrast = librosa.feature.spectral_contrast(S=spectra, sr=RATE_HZ, linear=True)
    np.testing.assert_allclose((shapes.peaks - shapes.valleys).T, contrast, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("samples", [1, 511, 512, 2_047, 2_048, 50_001, 150_016])
@pytest.mark.parametrize("parts", [1, 7])
def test_the_zero_crossings_are_librosa_s(samples: int, parts: int) -> None:
    music = _music(samples)
    expected = librosa.feature.zero_crossing_rate(music)[0]
    crossings = Crossings()

    for block in _cut(music, parts):
        crossings.add(block)

    assert np.array_equal(crossings.shares(), expected)


def test_skewness_and_kurtosis_are_those_of_the_magnitudes_as_a_distribution() -> None:
    music = _music(40_000)
    spectra = np.abs(librosa.stft(music)).astype(np.float64)[:, 1:-1]
    frequencies = librosa.fft_frequencies(sr=RATE_HZ)
    shapes = _measured(music, 1).shapes

    for frame, magnitudes in enumerate(spectra.T, start=1):
        if magnitudes.any():
            mean = np.average(frequencies, weights=magnitudes)
            away = frequencies - mean
            second, third, fourth = (np.average(away**n, weights=magnitudes) for n in (2, 3, 4))
            assert shapes.line("skewness")[frame] == pytest.approx(third / second**1.5, rel=1e-6)
            assert shapes.line("kurtosis")[frame] == pytest.approx(fourth / second**2, rel=1e-6)


def test_a_tone_is_in_its_band_with_its_power() -> None:
    for band, hz in (("bass", 80.0), ("body", 300.0), ("mid", 1_500.0), ("air", 5_000.0)):
        tone = 0.5 * np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ)
        shapes = _measured(tone.astype(np.float32), 1).shapes

        for other in BANDS_HZ:
            power = shapes.line(f"{other}_power")[5:-5].mean()
            assert power == pytest.approx(0.125 if other == band else 0.0, abs=1e-3), (band, other)


@pytest.mark.parametrize("sound", ["silence", "a click"])
def test_nothing_gives_finite_measures(sound: str) -> None:
    samples = np.zeros(20_000, dtype=np.float32)
    samples[10_000] = 0.0 if sound == "silence" else 1.0

    found = _measured(samples, 2)

    shapes = found.shapes
    for values in (shapes.lines, shapes.peaks, shapes.valleys, found.mel, found.crossings):
        assert np.isfinite(values).all()
    assert found.mel.shape == (frame_count(len(samples)), 128)
    assert shapes.peaks.shape[1] == shapes.valleys.shape[1] == 7


def test_there_are_as_many_bins_as_half_a_frame_has() -> None:
    (spectra,) = _magnitudes([np.zeros(600, dtype=np.float32)])

    assert spectra.shape == (2, BINS)
