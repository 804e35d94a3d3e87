from __future__ import annotations

import essentia.standard as es
import numpy as np
import pytest

from pipeline.music.compose import compose
from stages import essentia_rhythm
from stages.essentia_rhythm import NO_BEATS, Beats, rhythm, tempo_of, track_beats
from stages.outputs import Missing
from tests.stages.sounds import RATE_HZ, clicks, song, tone
from tests.stages.test_essentia import measured


def _told(share: float) -> None:
    pass


def test_clicks_give_their_tempo_with_confidence() -> None:
    found = measured(clicks([0.5 * number for number in range(1, 40)], seconds=20.0)).features

    assert found["tempo_bpm"] == pytest.approx(120.0, rel=0.01)
    assert found["bpm_histogram_first_peak_bpm"] == 120.0
    assert float(str(found["tempo_confidence"])) > 1.5


@pytest.mark.parametrize("seed", [1, 4])
def test_beats_are_within_70_ms_of_the_true_ones(seed: int) -> None:
    true_s = np.array(compose(seed).beats_s())

    found_s = measured(song(seed, seconds=16.0)).series["beat_times_s"]

    found_s = found_s[found_s < true_s[-1] + 0.07]  # it goes on where the music has ended
    distances_s = np.abs(found_s[:, np.newaxis] - true_s).min(axis=1)
    assert np.mean(distances_s < 0.07) > 0.9


def test_the_tempo_of_beats_is_that_of_essentia() -> None:
    mono = song(seconds=16.0).mono(RATE_HZ)

    tempo_bpm, _, _, _, intervals_s = es.RhythmExtractor2013(method="multifeature")(mono)

    assert tempo_of(intervals_s) == pytest.approx(tempo_bpm, rel=1e-4)


def test_the_tempo_is_that_of_most_intervals_not_their_mean() -> None:
    assert tempo_of(np.array([0.5] * 9 + [1.0] * 4, np.float32)) == pytest.approx(120.0)


def test_two_tempi_are_the_two_peaks_with_their_shares() -> None:
    beats = Beats(
        np.arange(1, 12, dtype=np.float32), np.array([0.5] * 6 + [0.75] * 4, np.float32), 120.0, 1.0
    )

    found = rhythm(song().mono(RATE_HZ), beats)

    assert [found[f"bpm_histogram_{peak}_peak_bpm"] for peak in ("first", "second")] == [120, 80]
    assert found["bpm_histogram_first_peak_weight"] == pytest.approx(0.6)
    assert found["bpm_histogram_second_peak_weight"] == pytest.approx(0.4)


def test_even_beats_have_no_second_tempo() -> None:
    beats = Beats(np.arange(1, 7, dtype=np.float32), np.full(5, 1.0, np.float32), 60.0, 1.0)

    found = rhythm(song().mono(RATE_HZ), beats)

    assert found["bpm_histogram_first_peak_weight"] == 1.0
    assert found["bpm_histogram_second_peak_bpm"] == Missing("there is one tempo only")


def test_beats_of_a_low_and_of_a_high_tone_have_their_energy_in_those_bands() -> None:
    times = np.arange(4 * RATE_HZ) / RATE_HZ
    beats = Beats(np.array([1.0, 2.0, 3.0], np.float32), np.ones(2, np.float32), 60.0, 1.0)

    for band, hz in enumerate((60.0, 250.0, 1_000.0, 5_000.0, 12_000.0)):
        mono = (0.4 * np.sin(2 * np.pi * hz * times)).astype(np.float32)
        found = rhythm(mono, beats)
        shares = [found[f"beats_loudness_band_ratio_{one}_mean"] for one in range(5)]
        assert shares[band] == max(map(float, map(str, shares)))
        assert shares[band] == pytest.approx(1.0, abs=0.1)


def test_beats_in_silence_have_no_share_and_a_beat_that_is_cut_off_none_either() -> None:
    mono = song(seconds=2.0).mono(RATE_HZ)
    silence = np.zeros(2 * RATE_HZ, np.float32)
    late = np.array([1.99, 2.0], np.float32)

    for times_s, samples in ((np.array([0.5, 1.0], np.float32), silence), (late, mono)):
        found = rhythm(samples, Beats(times_s, np.full(1, 0.5, np.float32), 120.0, 1.0))
        assert isinstance(found["beats_loudness_mean"], Missing)
        assert isinstance(found["beats_loudness_band_ratio_0_mean"], Missing)


def test_a_source_of_two_pieces_has_the_beats_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    mono = song(seconds=14.0).mono(RATE_HZ)
    first, second = np.array_split(mono, 2)
    shares: list[float] = []
    monkeypatch.setattr(essentia_rhythm, "_LONGEST_S", 13)

    found = track_beats(mono, shares.append)

    one, other = (es.RhythmExtractor2013()(piece) for piece in (first, second))
    expected_s = np.concatenate([one[1], other[1] + np.float32(7.0)])
    kept = found.times_s.size
    assert expected_s.size - 1 <= kept <= expected_s.size  # where they meet, one may be too near
    assert np.isin(found.times_s, expected_s).all()
    assert np.diff(found.times_s).min() > 60 / 208
    assert found.confidence == pytest.approx((one[2] + other[2]) / 2)
    assert found.tempo_bpm == pytest.approx(one[0], rel=0.02)
    assert found.intervals_s.size == one[1].size + other[1].size - 2
    assert shares == [0.5, 1.0]


def test_a_piece_of_silence_adds_no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    music = song(seconds=12.0).mono(RATE_HZ)
    silence = np.zeros_like(music)
    alone = track_beats(music, _told)
    monkeypatch.setattr(essentia_rhythm, "_LONGEST_S", 12)

    before = track_beats(np.concatenate([silence, music]), _told)
    after = track_beats(np.concatenate([music, silence]), _told)

    assert before.times_s == pytest.approx(alone.times_s + 12.0)
    assert after.times_s == pytest.approx(alone.times_s)
    assert track_beats(np.concatenate([silence, silence]), _told) is NO_BEATS
    assert before.confidence == after.confidence == alone.confidence


def test_where_pieces_meet_no_two_beats_are_nearer_than_the_fastest_tempo() -> None:
    def found(*times_s: float) -> Beats:
        return Beats(np.array(times_s, np.float32), np.full(2, 0.5, np.float32), 120.0, 1.0)

    joined = essentia_rhythm._joined([found(8.9, 9.4, 9.9), found(10.1, 10.6, 11.1)])

    assert joined.times_s.tolist() == pytest.approx([8.9, 9.4, 9.9, 10.6, 11.1])


def test_what_is_too_short_for_a_beat_has_none() -> None:
    mono = tone(440.0, seconds=0.15).mono(RATE_HZ)

    assert track_beats(mono, _told) is NO_BEATS
    assert rhythm(mono, NO_BEATS)["beat_count"] == 0
