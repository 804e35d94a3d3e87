from __future__ import annotations

from collections.abc import Sequence

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
from tests.stages.sounds import RATE_HZ as SOUND_RATE_HZ
from tests.stages.sounds import chord, noise, scaled, song, stereo, tone

C_MAJOR = (48, 60, 64, 67, 65, 69, 72, 67, 71, 62)  # C F G, as one
C_CHORD = (60, 64, 67)
F_SHARP_CHORD = (54, 58, 61)


def _measured(audio: Audio) -> Measured:
    return Chroma(ChromaSettings()).measure(audio, no_tick)


def _means(found: Measured) -> NDArray[np.float64]:
    return _values(found, "chroma_", "_mean")


def _values(found: Measured, start: str, end: str) -> NDArray[np.float64]:
    named = found.features.items()
    taken = [value for name, value in named if name.startswith(start) and name.endswith(end)]
    return np.array(taken, dtype=np.float64)


def _number(found: Measured, name: str) -> float:
    value = found.features[name]
    assert isinstance(value, float)
    return value


def _chords(*chords: Sequence[int], seconds: float = 2.0) -> NDArray[np.float64]:
    """One chord after the other; silence where there are no notes."""
    silence = np.zeros(round(seconds * SOUND_RATE_HZ))
    return np.concatenate([chord(notes, seconds=seconds) if notes else silence for notes in chords])


@pytest.mark.parametrize("make", [song, noise, lambda: tone(447.0)], ids=["song", "noise", "tone"])
def test_the_chroma_is_that_of_librosa_on_the_same_samples(make: object) -> None:
    audio: Audio = make()  # type: ignore[operator]

    found = _measured(audio)

    expected = librosa.feature.chroma_cqt(y=audio.mono(RATE_HZ), sr=RATE_HZ)
    np.testing.assert_allclose(found.series["chroma"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(_means(found), expected.mean(axis=1), rtol=1e-3)
    tuning = librosa.estimate_tuning(y=audio.mono(RATE_HZ), sr=RATE_HZ)
    assert found.features["tuning_cents"] == pytest.approx(100 * tuning)


@pytest.mark.parametrize("make", [song, noise, lambda: tone(447.0)], ids=["song", "noise", "tone"])
def test_the_chroma_of_the_stft_is_that_of_librosa_on_the_same_samples(make: object) -> None:
    audio: Audio = make()  # type: ignore[operator]

    found = _measured(audio).series["chroma_stft"]

    expected = librosa.feature.chroma_stft(y=audio.mono(RATE_HZ), sr=RATE_HZ)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [song, noise], ids=["song", "noise"])
def test_cens_and_tonnetz_are_those_of_librosa_on_the_same_samples(make: object) -> None:
    audio: Audio = make()  # type: ignore[operator]
    y = audio.mono(RATE_HZ)

    found = _measured(audio)

    cens = librosa.feature.chroma_cens(y=y, sr=RATE_HZ)
    np.testing.assert_allclose(found.series["chroma_cens"], cens, rtol=1e-4)
    tonnetz = librosa.feature.tonnetz(y=y, sr=RATE_HZ)
    np.testing.assert_allclose(found.series["tonnetz"], tonnetz, rtol=0, atol=1e-5)
    np.testing.assert_allclose(_values(found, "tonnetz_", "_mean"), tonnetz.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(_values(found, "tonnetz_", "_std"), tonnetz.std(axis=1), atol=1e-5)
    far = np.linalg.norm(tonnetz - tonnetz.mean(axis=1, keepdims=True), axis=0)
    assert found.features["harmonic_variance"] == pytest.approx(np.mean(far**2), rel=1e-4)
    chroma = librosa.feature.chroma_cqt(y=y, sr=RATE_HZ)
    np.testing.assert_allclose(_values(found, "chroma_", "_std"), chroma.std(axis=1), rtol=1e-3)


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
    found = _measured(tone(hz))

    assert int(np.argmax(_means(found))) == at
    if hz > 200:  # a bin of the STFT is 11 Hz wide, two semitones at 92.5 Hz
        assert int(np.argmax(found.series["chroma_stft"].mean(axis=1))) == at


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
    quick = [one.series["chroma_stft"].mean(axis=1) for one in (here, there)]
    assert np.corrcoef(np.roll(quick[0], semitones), quick[1])[0, 1] > 0.9


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


def test_a_held_chord_changes_less_than_a_change_of_chord_whose_peak_is_at_its_time() -> None:
    held = _measured(stereo(chord(C_CHORD, seconds=4.0)))
    changed = _measured(stereo(_chords(C_CHORD, F_SHARP_CHORD)))

    change, times_s = changed.series["harmonic_change"], changed.series["times_s"]
    assert times_s[np.argmax(change)] == pytest.approx(2.0, abs=0.05)
    assert change.max() > 0.2
    middle = (times_s > 0.5) & (times_s < 3.5)  # a sound begins and ends with a jump
    assert held.series["harmonic_change"][middle].max() < 0.01
    assert _number(held, "harmonic_change_mean") < 0.5 * _number(changed, "harmonic_change_mean")
    assert _number(held, "harmonic_variance") < 0.05 * _number(changed, "harmonic_variance")


def test_a_rest_between_the_same_chords_is_no_change_of_harmony() -> None:
    rested = _measured(stereo(_chords(C_CHORD, (), C_CHORD)))
    changed = _measured(stereo(_chords(C_CHORD, (), F_SHARP_CHORD)))

    silent = (rested.series["times_s"] > 2.2) & (rested.series["times_s"] < 3.8)
    assert not rested.series["harmonic_change"][silent].any()
    rest, change = (_number(one, "harmonic_change_mean") for one in (rested, changed))
    assert rest < 0.75 * change  # what there is of it comes from the jumps
    assert all(np.isfinite(values).all() for values in rested.series.values())


def test_a_gain_changes_nothing_of_the_harmony() -> None:
    audio = song()

    loud, soft = _measured(audio), _measured(scaled(audio, 0.5))

    for name, values in loud.series.items():
        np.testing.assert_allclose(soft.series[name], values, atol=1e-4)


def test_a_shift_by_some_hops_shifts_every_series() -> None:
    music = song(seconds=4.0).mono(RATE_HZ)
    around = 100 * 512
    first = np.concatenate([np.zeros(around), music, np.zeros(2 * around)])

    here = _measured(stereo(first, rate_hz=RATE_HZ)).series
    there = _measured(stereo(np.roll(first, around), rate_hz=RATE_HZ)).series

    sounds = slice(100, 100 + len(music) // 512)
    later = slice(200, 200 + len(music) // 512)
    for name in ("chroma", "chroma_stft", "chroma_cens", "tonnetz", "harmonic_change"):
        np.testing.assert_allclose(there[name][..., later], here[name][..., sounds], atol=1e-4)


def test_a_single_frame_that_sounds_has_no_change_and_says_why() -> None:
    click = np.zeros((1, RATE_HZ), np.float32)
    click[0, 0] = 7e-4  # above -120 dB in the middle of the window, not on its slopes

    found = _measured(Audio(click, RATE_HZ)).features

    for name in ("harmonic_change_mean", "harmonic_change_std"):
        value = found[name]
        assert isinstance(value, Missing)
        assert value.reason.startswith("a single frame")
    assert found["harmonic_variance"] == 0.0
