from __future__ import annotations

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.analysis import RATE_HZ
from stages.audio import Audio
from stages.base import no_tick
from stages.chroma import Chroma
from stages.keys import PITCH_CLASSES, find_key
from stages.measure import Measured
from stages.outputs import Missing
from stages.settings import ChromaSettings
from tests.stages.sounds import chord, noise, song, stereo, tone

C_MAJOR = (48, 60, 64, 67, 65, 69, 72, 67, 71, 62)  # C F G, as one


def _measured(audio: Audio) -> Measured:
    return Chroma(ChromaSettings()).measure(audio, no_tick)


def _means(found: Measured) -> NDArray[np.float64]:
    means = [value for name, value in found.features.items() if name.startswith("chroma_")]
    return np.array(means, dtype=np.float64)


@pytest.mark.parametrize("make", [song, noise, lambda: tone(447.0)], ids=["song", "noise", "tone"])
def test_the_chroma_is_that_of_librosa_on_the_same_samples(make: object) -> None:
    audio: Audio = make()  # type: ignore[operator]

    found = _measured(audio)

    expected = librosa.feature.chroma_cqt(y=audio.mono(RATE_HZ), sr=RATE_HZ)
    np.testing.assert_allclose(found.series["chroma"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(_means(found), expected.mean(axis=1), rtol=1e-3)
    tuning = librosa.estimate_tuning(y=audio.mono(RATE_HZ), sr=RATE_HZ)
    assert found.features["tuning_cents"] == pytest.approx(100 * tuning)


def test_a_short_source_is_seen_as_one_with_zeros_after_it() -> None:
    short = song(seconds=1.0).mono(RATE_HZ)
    long = np.concatenate([short, np.zeros(3 * RATE_HZ, np.float32)])

    chroma = _measured(stereo(short, rate_hz=RATE_HZ)).series["chroma"]

    tuning = librosa.estimate_tuning(y=short, sr=RATE_HZ, bins_per_octave=36)
    expected = librosa.feature.chroma_cqt(y=long, sr=RATE_HZ, tuning=tuning)[:, : chroma.shape[1]]
    assert chroma.shape[1] == 1 + len(short) // 512
    np.testing.assert_allclose(chroma, expected, atol=1e-3)


@pytest.mark.parametrize(("hz", "at"), [(440.0, 9), (261.63, 0), (92.5, 6), (1244.5, 3)])
def test_a_tone_is_its_pitch_class(hz: float, at: int) -> None:
    assert int(np.argmax(_means(_measured(tone(hz))))) == at


@pytest.mark.parametrize("cents", [-30.0, 0.0, 20.0])
def test_a_tone_that_is_off_is_off_by_so_many_cents(cents: float) -> None:
    found = _measured(tone(440.0 * 2 ** (cents / 1200)))

    assert found.features["tuning_cents"] == pytest.approx(cents, abs=4.0)


def test_a_bass_alone_has_no_tuning_and_says_why() -> None:
    found = _measured(tone(92.5))

    assert isinstance(found.features["tuning_cents"], Missing)
    assert found.features["key"] == "F#"


@pytest.mark.parametrize("semitones", [1, 5, 7])
def test_a_transposition_rolls_the_chroma_and_moves_the_key(semitones: int) -> None:
    here = _measured(stereo(chord(C_MAJOR)))
    there = _measured(stereo(chord([pitch + semitones for pitch in C_MAJOR])))

    assert (here.features["key"], here.features["scale"]) == ("C", "major")
    assert there.features["key"] == PITCH_CLASSES[semitones]
    assert there.features["scale"] == "major"
    np.testing.assert_allclose(np.roll(_means(here), semitones), _means(there), atol=0.12)


def test_a_key_is_found_by_its_own_profile_whatever_its_tonic() -> None:
    minor = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])

    for step, tonic in enumerate(PITCH_CLASSES):
        key = find_key(np.roll(minor, step))
        assert key is not None
        assert (key.tonic, key.scale) == (tonic, "minor")
        assert key.strength == pytest.approx(1.0)


def test_twelve_equal_pitch_classes_have_no_key() -> None:
    assert find_key(np.full(12, 0.7)) is None
    assert find_key(np.zeros(12)) is None
