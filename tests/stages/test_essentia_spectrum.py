from __future__ import annotations

from collections.abc import Mapping

import essentia.standard as es
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.essentia_spectrum import spectrum
from stages.outputs import Missing, Scalar
from tests.stages.sounds import RATE_HZ, noise, song, tone

FRAME = 2_048


def _number(found: Mapping[str, Scalar], name: str) -> float:
    value = found[name]
    assert isinstance(value, float)
    return value


def _tones(*hz: float) -> NDArray[np.float32]:
    summed: NDArray[np.float32] = np.sum([tone(one, level=0.2).samples[0] for one in hz], axis=0)
    return summed


def test_the_numbers_are_those_of_essentia_frame_by_frame() -> None:
    mono = song(seconds=4.0).mono(RATE_HZ)

    found = spectrum(mono)

    window, magnitudes = es.Windowing(type="blackmanharris62", zeroPadding=0), es.Spectrum()
    lines: dict[str, list[float]] = {name.removesuffix("_mean"): [] for name in found
                                     if name.endswith("_mean")}  # fmt: skip
    heard = es.EqualLoudness()(mono)  # of all at once
    silent = []
    for start in range(0, len(mono) - FRAME + 1, FRAME):
        plain = magnitudes(window(mono[start : start + FRAME]))
        loud = magnitudes(window(heard[start : start + FRAME]))
        lines["dissonance"].append(es.Dissonance()(*es.SpectralPeaks()(loud)))
        lines["spectral_entropy"].append(es.Entropy()(loud))
        lines["spectral_complexity"].append(es.SpectralComplexity()(plain))
        lines["pitch_salience"].append(es.PitchSalience()(plain))
        silent.append(es.SilenceRate(thresholds=[1e-6])(mono[start : start + FRAME]))
    for name, values in lines.items():
        assert found[f"{name}_mean"] == pytest.approx(np.mean(values), rel=1e-5), name
        assert found[f"{name}_std"] == pytest.approx(np.std(values), rel=1e-4), name
    assert found["silence_rate_60db"] == pytest.approx(np.mean(silent))


def test_a_semitone_is_rougher_than_a_fifth_and_noise_is_rougher_than_both() -> None:
    fifth, semitone, rough = (
        _number(spectrum(mono), "dissonance_mean")
        for mono in (_tones(440.0, 660.0), _tones(440.0, 466.16), noise().mono(RATE_HZ))
    )

    assert fifth < 0.06 < 0.15 < semitone < rough
    assert rough == pytest.approx(0.5, abs=0.01)


def test_partials_that_are_no_harmonics_are_rougher_and_less_salient() -> None:
    harmonic = spectrum(_tones(*(220.0 * order for order in range(1, 9))))
    shifted = spectrum(_tones(*(220.0 * (order + 0.2 * (order % 3)) for order in range(1, 9))))

    assert _number(harmonic, "dissonance_mean") < _number(shifted, "dissonance_mean")
    assert _number(harmonic, "pitch_salience_mean") > 1.3 * _number(shifted, "pitch_salience_mean")


def test_a_sine_has_one_peak_no_salience_and_less_entropy_than_noise() -> None:
    sine, rough = spectrum(_tones(1_000.0)), spectrum(noise().mono(RATE_HZ))

    assert sine["spectral_complexity_mean"] == 1.0
    assert _number(sine, "pitch_salience_mean") < 0.01
    assert _number(sine, "spectral_entropy_mean") < 3.0 < 8.0
    assert 8.0 < _number(rough, "spectral_entropy_mean") < np.log2(1_025)


def test_complexity_counts_peaks_and_falls_with_the_level_as_documented() -> None:
    mono = _tones(300.0, 700.0, 1_300.0, 2_900.0)

    assert spectrum(mono)["spectral_complexity_mean"] == 4.0
    assert spectrum(0.01 * mono)["spectral_complexity_mean"] == 0.0


def test_silent_frames_count_for_the_silence_and_nothing_else() -> None:
    music = song(seconds=4.0).mono(RATE_HZ)[: 80 * FRAME]
    silence = np.zeros(20 * FRAME, np.float32)

    found, alone = spectrum(np.concatenate([music, silence])), spectrum(music)

    assert {**found, "silence_rate_60db": 0.0} == alone
    assert found["silence_rate_60db"] == pytest.approx(0.2)


@pytest.mark.parametrize(("level_db", "quiet"), [(-59.5, 0.0), (-60.5, 1.0)])
def test_quiet_is_an_rms_below_minus_60_db(level_db: float, quiet: float) -> None:
    level = 10 ** (level_db / 20) * np.sqrt(2)

    mono = tone(1_000.0, level=level).mono(RATE_HZ)

    assert spectrum(mono)["silence_rate_60db"] == quiet


def test_a_source_whose_whole_frames_are_silent_has_no_spectrum() -> None:
    mono = np.zeros(2 * FRAME + 100, np.float32)
    mono[-50:] = 0.5

    found = spectrum(mono)

    assert found["dissonance_mean"] == Missing("no frame above -120 dB")
    assert found["silence_rate_60db"] == 1.0
