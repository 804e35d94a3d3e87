from __future__ import annotations

import essentia.standard as es
import numpy as np
import pytest

from stages import essentia as stage
from stages.audio import Audio
from stages.base import no_tick
from stages.essentia import Essentia
from stages.measure import Measured
from stages.outputs import Missing
from stages.settings import EssentiaSettings
from tests.stages.sounds import clicks, scaled, song, stereo, tone


def measured(audio: Audio) -> Measured:
    made = Essentia(EssentiaSettings())
    made.load()
    return made.measure(audio, no_tick)


def test_the_descriptors_are_those_of_essentia_on_the_same_samples() -> None:
    audio = song()
    mono = audio.mono(44_100)

    found = measured(audio)

    bpm, beats, confidence, *_ = es.RhythmExtractor2013(method="multifeature")(mono)
    key, scale, strength = es.KeyExtractor()(mono)
    complexity_db, loudness_db = es.DynamicComplexity()(mono)
    expected = {
        "danceability": pytest.approx(es.Danceability()(mono)[0]),
        "key": {"Ab": "G#", "Bb": "A#", "Eb": "D#"}.get(key, key),
        "scale": scale,
        "key_strength": pytest.approx(strength),
        "tempo_bpm": pytest.approx(bpm),
        "tempo_confidence": pytest.approx(confidence),
        "beat_count": len(beats),
        "dynamic_complexity_db": pytest.approx(complexity_db),
        "loudness_db": pytest.approx(loudness_db),
    }
    assert {name: found.features[name] for name in expected} == expected
    assert found.series["beat_times_s"] == pytest.approx(beats)


def test_a_gain_moves_the_loudness_by_as_much_and_nothing_that_is_no_level() -> None:
    audio = song()

    loud, soft = measured(audio).features, measured(scaled(audio, 0.5)).features

    assert loud["loudness_db"] == pytest.approx(float(str(soft["loudness_db"])) + 6.02, abs=0.1)
    assert loud["beats_loudness_mean"] == pytest.approx(4 * float(str(soft["beats_loudness_mean"])))
    levels = ("loudness_db", "beats_loudness", "spectral_complexity", "hpcp", "chords_strength")
    for name, value in loud.items():
        if not name.startswith(levels):
            same = value if isinstance(value, str) else pytest.approx(value, rel=0.01)
            assert soft[name] == same, name


def test_values_are_plain_numbers_and_words() -> None:
    for value in measured(song(seconds=4.0)).features.values():
        assert type(value) in (int, float, str, Missing)


def test_what_cannot_be_is_null_with_its_own_reason() -> None:
    short = measured(tone(440.0, seconds=0.15)).features
    faint = measured(tone(440.0, level=4e-6)).features

    assert short["loudness_db"] == Missing("shorter than 0.2 s")
    assert short["tempo_bpm"] == Missing("no beat was found")
    assert faint["loudness_db"] == Missing("nothing above -100 dB")
    assert faint["key"] == faint["chords_key"] == Missing("no spectral peak is strong enough")


def test_a_number_that_essentia_does_not_give_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = ((("one", "other"), lambda mono: {"one": float("nan"), "other": float("inf")}),)
    monkeypatch.setattr(stage, "_GROUPS", groups)

    found = measured(song(seconds=4.0)).features

    assert found["one"] == found["other"] == Missing("Essentia gives no number for it")


def test_silence_has_the_features_of_music_all_null_but_the_count_of_beats() -> None:
    found = measured(stereo(np.zeros(44_100)))

    assert list(found.features) == list(measured(song(seconds=4.0)).features)
    known = {name for name, value in found.features.items() if not isinstance(value, Missing)}
    assert known == {"beat_count"}
    assert found.features["beat_count"] == found.series["beat_times_s"].size == 0


def test_progress_is_told_after_each_group_and_goes_to_the_end() -> None:
    ticks: list[float] = []

    Essentia(EssentiaSettings()).measure(clicks([0.5, 1.0], seconds=4.0), ticks.append)

    assert len(ticks) >= 6
    assert ticks == sorted(ticks)
    assert ticks[-1] == 4.0
