from __future__ import annotations

from collections.abc import Sequence

import essentia.standard as es
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.essentia_tonal import harmony, keys, pitch_class_profiles
from stages.outputs import Missing
from tests.stages.sounds import RATE_HZ, chord, noise, song

C, F, G, A_MINOR = (60, 64, 67), (60, 65, 69), (59, 62, 67), (57, 60, 64)


def _progression(*chords: Sequence[int], seconds: float = 4.0) -> NDArray[np.float32]:
    sounds = [chord(pitches, seconds=seconds) for pitches in chords]
    return np.concatenate(sounds).astype(np.float32)


def _tuned(a4_hz: float) -> NDArray[np.float32]:
    """A chord of C major at another A4: the same samples at another speed."""
    steps = np.arange(2 * RATE_HZ) / RATE_HZ * a4_hz / 440.0
    pitches_hz = [440 * 2 ** ((pitch - 69) / 12) for pitch in C]
    waves = [0.1 * np.sin(2 * np.pi * hz * steps) for hz in pitches_hz]
    summed: NDArray[np.float32] = np.sum(waves, axis=0).astype(np.float32)
    return summed


@pytest.mark.parametrize("profile", ["edma", "krumhansl", "temperley"])
def test_a_key_by_another_profile_is_that_of_essentia(profile: str) -> None:
    mono = song().mono(RATE_HZ)

    found = keys(mono)

    tonic, scale, strength = es.KeyExtractor(profileType=profile)(mono)
    assert found[f"key_{profile}"] == {"Ab": "G#", "Bb": "A#", "Eb": "D#"}.get(tonic, tonic)
    assert found[f"scale_{profile}"] == scale
    assert found[f"key_strength_{profile}"] == pytest.approx(strength)


def test_a_cadence_has_its_key_by_all_profiles() -> None:
    found = keys(_progression(C, F, G, C))

    assert {value for name, value in found.items() if name.startswith("key") and
            not name.startswith("key_strength")} == {"C"}  # fmt: skip
    assert {value for name, value in found.items() if name.startswith("scale")} == {"major"}


def test_a_flat_tonic_is_named_with_a_sharp() -> None:
    up = 10

    found = keys(_progression(*([pitch + up for pitch in one] for one in (C, F, G, C))))

    assert found["key"] == found["key_krumhansl"] == "A#"


@pytest.mark.parametrize("a4_hz", [432.0, 440.0, 445.0, 452.0])
def test_the_tuning_is_found_within_five_cents(a4_hz: float) -> None:
    found_hz = float(str(harmony(_tuned(a4_hz))["tuning_frequency_hz"]))

    assert 1200 * np.log2(found_hz / a4_hz) == pytest.approx(0.0, abs=5.0)


def test_a_chord_between_two_tunings_has_the_same_profile_once_its_tuning_is_known() -> None:
    off, tuned = (
        pitch_class_profiles(_tuned(hz), tuning_hz=hz).mean(axis=0) for hz in (452.0, 440.0)
    )

    untuned = pitch_class_profiles(_tuned(452.0), tuning_hz=440.0).mean(axis=0)
    assert off == pytest.approx(tuned, abs=0.1)
    assert np.abs(untuned - tuned).max() > 0.5


def test_the_chords_of_a_progression_are_counted_with_their_changes() -> None:
    mono = _progression(C, F, G, A_MINOR, C)

    found = harmony(mono)

    assert (found["chords_key"], found["chords_scale"]) == ("C", "major")
    assert found["chords_count"] == 4
    changes = float(str(found["chords_changes_per_s"])) * len(mono) / RATE_HZ
    assert 4 <= round(changes) <= 6  # around a change there may be a third chord
    assert float(str(found["chords_strength_mean"])) > 0.5


def test_a_held_chord_does_not_change() -> None:
    found = harmony(_progression(A_MINOR))

    assert (found["chords_key"], found["chords_scale"]) == ("A", "minor")
    assert (found["chords_count"], found["chords_changes_per_s"]) == (1, 0.0)


def test_silence_around_music_is_no_chord() -> None:
    music = _progression(C, F)
    silence = np.zeros(10 * 2_048 * 20, np.float32)  # whole frames, so that the music has the same

    inside = harmony(np.concatenate([silence, music, silence]))

    alone = harmony(music)
    for name in ("chords_key", "chords_scale", "chords_count"):
        assert inside[name] == alone[name]
    assert inside["chords_changes_per_s"] == pytest.approx(alone["chords_changes_per_s"], rel=0.05)
    assert inside["hpcp_entropy_mean"] == pytest.approx(alone["hpcp_entropy_mean"], rel=0.05)


def test_chords_and_entropy_are_those_of_essentia_on_the_same_profiles() -> None:
    mono = song().mono(RATE_HZ)

    found = harmony(mono)

    profiles = pitch_class_profiles(mono, tuning_hz=float(str(found["tuning_frequency_hz"])))
    named, strengths = es.ChordsDetection()(profiles)
    _, _, changes, key, scale = es.ChordsDescriptors()(named, "C", "major")
    entropies = [es.Entropy()(profile) for profile in profiles]
    assert (found["chords_key"], found["chords_scale"]) == (key, scale)
    assert found["chords_changes_per_s"] == pytest.approx(changes * RATE_HZ / 2_048)
    assert found["chords_strength_mean"] == pytest.approx(strengths.mean(), rel=1e-5)
    assert found["chords_strength_std"] == pytest.approx(strengths.std(), rel=1e-4)
    assert found["hpcp_entropy_mean"] == pytest.approx(np.mean(entropies), rel=1e-5)
    assert found["hpcp_entropy_std"] == pytest.approx(np.std(entropies), rel=1e-4)
    assert found["tuning_frequency_hz"] == pytest.approx(es.TuningFrequencyExtractor()(mono)[-1])


def test_one_tone_has_fewer_pitch_classes_than_noise() -> None:
    one, all_of_them = (
        float(str(harmony(mono)["hpcp_entropy_mean"]))
        for mono in (_progression([69]), noise().mono(RATE_HZ))
    )

    assert one < 2.0 < 3.5 < all_of_them < 5.17


def test_where_no_peak_is_there_is_no_harmony() -> None:
    nothing = np.zeros(RATE_HZ, np.float32)

    assert set(harmony(nothing).values()) == set(keys(nothing).values()) == {
        Missing("no spectral peak is strong enough")
    }  # fmt: skip
