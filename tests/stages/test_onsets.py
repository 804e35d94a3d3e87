from __future__ import annotations

import librosa
import numpy as np
import pytest

from pipeline.music.compose import compose
from stages import rhythm
from stages.analysis import RATE_HZ
from stages.audio import Audio
from stages.base import no_tick
from stages.measure import Measured
from stages.onsets import Onsets
from stages.settings import OnsetsSettings
from stages.stft import HOP_SAMPLES
from tests.stages.sounds import clicks, scaled, song, stereo, tone


def _measured(audio: Audio) -> Measured:
    return Onsets(OnsetsSettings()).measure(audio, no_tick)


def test_envelope_onsets_tempo_and_beats_are_those_of_librosa_on_the_same_samples() -> None:
    audio = song()
    y = audio.mono(RATE_HZ)

    found = _measured(audio)

    tempo, beats_s = librosa.beat.beat_track(y=y, sr=RATE_HZ, units="time")
    envelope = librosa.onset.onset_strength(y=y, sr=RATE_HZ)
    np.testing.assert_allclose(found.series["onset_envelope_db"], envelope, rtol=1e-5, atol=1e-5)
    onsets_s = librosa.onset.onset_detect(y=y, sr=RATE_HZ, units="time")
    np.testing.assert_array_equal(found.series["onset_times_s"], onsets_s)
    np.testing.assert_array_equal(found.series["beat_times_s"], beats_s)
    assert found.features["tempo_bpm"] == pytest.approx(float(np.squeeze(tempo)))
    assert found.features["onset_count"] == len(onsets_s) > 10
    assert found.features["beat_count"] == len(beats_s) > 4


def test_clicks_are_found_where_they_are_and_give_their_tempo() -> None:
    times_s = [0.5 * number for number in range(1, 20)]

    found = _measured(clicks(times_s, seconds=10.0))

    # A frame is 23 ms.
    np.testing.assert_allclose(found.series["onset_times_s"], times_s, atol=0.03)
    np.testing.assert_allclose(np.diff(found.series["beat_times_s"]), 0.5, atol=0.03)
    assert found.features["tempo_bpm"] == pytest.approx(120.0, rel=0.03)
    assert found.features["onsets_per_s"] == pytest.approx(1.9)


def test_clicks_on_the_beat_have_its_interval_and_no_syncopation() -> None:
    times_s = [0.5 * number for number in range(1, 20)]

    found = _measured(clicks(times_s, seconds=10.0)).features

    assert found["beat_interval_mean_s"] == pytest.approx(0.5, abs=0.003)
    assert found["onset_interval_mean_s"] == pytest.approx(0.5, abs=0.003)
    # A frame is 23 ms, so intervals differ by one.
    assert found["onset_interval_p10_s"] == pytest.approx(0.5, abs=0.03)
    assert found["onset_interval_p90_s"] == pytest.approx(0.5, abs=0.03)
    assert found["beat_regularity"] == pytest.approx(1.0, abs=0.05)
    assert found["onsets_on_beat_share"] == 1.0
    assert found["syncopation"] == 0.0
    assert found["evenness"] == 1.0


@pytest.mark.parametrize("seed", [1, 9])
def test_the_rhythm_of_a_song_is_near_that_of_its_score(seed: int) -> None:
    piece = compose(seed)
    ends_s = 8.0
    beats_s = [time_s for time_s in piece.beats_s() if time_s < ends_s]
    onsets_s = [time_s for time_s in piece.all_onsets_s() if time_s < ends_s]
    true = rhythm.features(np.array(onsets_s), np.array(beats_s))

    found = _measured(song(seed, seconds=ends_s)).features

    within = {
        "beat_interval_mean_s": 0.01, "beat_regularity": 0.05, "onset_interval_p50_s": 0.03,
        "onsets_on_beat_share": 0.1, "syncopation": 0.1, "evenness": 0.05,
    }  # fmt: skip
    for name, apart in within.items():
        assert found[name] == pytest.approx(true[name], abs=apart), name


def test_a_shift_by_whole_frames_moves_every_onset_by_as_much() -> None:
    mono = song().mono(RATE_HZ)
    frames = (5, 18)

    found = [
        _measured(
            stereo(np.concatenate([np.zeros(n * HOP_SAMPLES, np.float32), mono]), rate_hz=RATE_HZ)
        )
        for n in frames
    ]

    early_s, late_s = (one.series["onset_times_s"] for one in found)
    by_s = (frames[1] - frames[0]) * HOP_SAMPLES / RATE_HZ
    np.testing.assert_allclose(early_s + by_s, late_s, atol=1e-6)


def test_a_gain_moves_no_onset() -> None:
    audio = song()

    loud, soft = _measured(audio), _measured(scaled(audio, 0.5))

    np.testing.assert_array_equal(loud.series["onset_times_s"], soft.series["onset_times_s"])
    assert loud.features["tempo_bpm"] == soft.features["tempo_bpm"]


def test_a_steady_tone_begins_once_and_has_no_beat() -> None:
    found = _measured(tone(440.0, seconds=6.0))

    assert len(found.series["onset_times_s"]) <= 2  # its beginning and its end
    assert found.features["onset_count"] == len(found.series["onset_times_s"])
    assert float(str(found.features["beat_count"])) <= 2
