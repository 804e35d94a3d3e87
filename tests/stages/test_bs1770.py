"""Loudness against pyloudnorm, against EBU Tech 3341 and 3342, and against itself."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import soundfile
from numpy.typing import NDArray

from stages import bs1770
from stages.audio import Audio
from stages.bs1770 import GATING_HOP_STEPS, MOMENTARY_STEPS, SILENCE_DB
from stages.level_meter import LevelMeter, Levels
from stages.loudness import features, series
from stages.true_peak import oversampling_at

RATE_HZ = 48_000
RECORDINGS = Path(__file__).parents[3] / "shared" / "audio"

Samples = NDArray[np.float32]


def test_the_filter_at_48_khz_is_the_one_printed_in_bs1770() -> None:
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285]
    shelf += [1.0, -1.69065929318241, 0.73248077421585]
    high_pass = [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621]

    assert bs1770.k_weighting(48_000) == pytest.approx(np.array([shelf, high_pass]), abs=1e-9)


def test_a_sine_of_997_hz_in_one_channel_reads_minus_3_01() -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(10 * RATE_HZ) / RATE_HZ)

    assert integrated(mono(sine)) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_integrated_loudness_is_that_of_pyloudnorm(rate_hz: int, channels: int) -> None:
    noise = changing_noise(channels, rate_hz, seconds=6)

    assert integrated(noise, rate_hz) == pytest.approx(reference(noise, rate_hz), abs=1e-6)


@pytest.mark.parametrize("frequency_hz", [25.0, 60.0, 440.0, 997.0, 3500.0])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 192_000])
def test_tones_of_all_heights_read_as_in_pyloudnorm(rate_hz: int, frequency_hz: float) -> None:
    tone = mono(0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(3 * rate_hz) / rate_hz))

    assert integrated(tone, rate_hz) == pytest.approx(reference(tone, rate_hz), abs=1e-6)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the shared recordings are not here")
@pytest.mark.parametrize(
    "name",
    [
        "mixture-20s.mp3",
        "minuet.mp3",
        "piandolin.mp3",
        "flamenco-14s.flac",
        "singing-6s-mono.flac",
        "snare-accelerate.ogg",
        "stereo-4s.flac",
        "trumpet-loop-5s.flac",
    ],
)
def test_recordings_read_as_in_pyloudnorm(name: str) -> None:
    frames, rate_hz = soundfile.read(RECORDINGS / name, dtype="float32", always_2d=True)
    # Whole tenths of a second: pyloudnorm counts a begun last block, BS.1770 does not.
    whole = min(len(frames), 20 * rate_hz) * 10 // rate_hz * rate_hz // 10
    samples = np.ascontiguousarray(frames[:whole].T)

    assert integrated(samples, rate_hz) == pytest.approx(reference(samples, rate_hz), abs=0.01)


@pytest.mark.parametrize("level_db", [-23, -33], ids=["case 1", "case 2"])
def test_a_steady_tone_reads_its_level_in_all_windows_of_ebu_tech_3341(level_db: float) -> None:
    found = measure(stereo_tone([(level_db, 20)]))

    assert number(features(found)["integrated_lufs"]) == pytest.approx(level_db, abs=0.1)
    for name in ("momentary_lufs", "short_term_lufs"):
        assert series(found, hop=1)[name] == pytest.approx(level_db, abs=0.1)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(-36, 10), (-23, 60), (-36, 10)], -23, id="case 3"),
        pytest.param([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23, id="case 4"),
        pytest.param([(-26, 20), (-20, 20.1), (-26, 20)], -23, id="case 5"),
    ],
)
def test_integrated_loudness_passes_ebu_tech_3341(
    steps: list[tuple[float, float]], expected: float
) -> None:
    assert integrated(stereo_tone(steps)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("lfe", [False, True])
def test_five_channels_pass_case_6_of_ebu_tech_3341(lfe: bool) -> None:
    tone = stereo_tone([(0, 20)])[0]
    gains_db = [-28.0, -28.0, -24.0, -30.0, -30.0]
    surround = np.stack([tone * 10 ** (gain_db / 20) for gain_db in gains_db])
    if lfe:
        surround = np.insert(surround, 3, tone, axis=0)

    assert integrated(surround) == pytest.approx(-23, abs=0.1)


def test_short_term_loudness_stays_where_case_9_of_ebu_tech_3341_says() -> None:
    found = measure(stereo_tone([(-20, 1.34), (-30, 1.66)] * 5))

    assert series(found, hop=1)["short_term_lufs"] == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("number", range(20))
def test_a_burst_of_three_seconds_is_found_wherever_it_starts(number: int) -> None:
    """Case 10 of EBU Tech 3341."""
    burst = stereo_tone([(-math.inf, 0.15 * number), (-23, 3), (-math.inf, 1)])

    assert feature(burst, "short_term_max_lufs") == pytest.approx(-23, abs=0.1)


def test_momentary_loudness_stays_where_case_12_of_ebu_tech_3341_says() -> None:
    found = measure(stereo_tone([(-20, 0.18), (-30, 0.22)] * 25))

    lufs, times_s = (series(found, hop=1)[f"momentary_{name}"] for name in ("lufs", "times_s"))
    assert lufs[times_s >= 1.0] == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("number", range(20))
def test_a_burst_of_400_ms_is_found_wherever_it_starts(number: int) -> None:
    """Case 13 of EBU Tech 3341."""
    burst = stereo_tone([(-math.inf, 0.02 * number), (-23, 0.4), (-math.inf, 1)])

    assert feature(burst, "momentary_max_lufs") == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize(
    ("window", "burst_s", "later_s"),
    [
        pytest.param("short_term", 3.0, 0.15, id="case 11"),
        pytest.param("momentary", 0.4, 0.02, id="case 14"),
    ],
)
def test_the_highest_loudness_so_far_follows_ebu_tech_3341(
    window: str, burst_s: float, later_s: float
) -> None:
    """20 segments with a burst each, 1 dB louder and so much later than in the segment before."""
    steps: list[tuple[float, float]] = []
    for number in range(20):
        before_s = number * later_s
        steps += [(-math.inf, before_s), (-38 + number, burst_s), (-math.inf, burst_s - before_s)]

    found = series(measure(stereo_tone(steps)), hop=1)

    ends_s = 2 * burst_s * np.arange(1, 21)
    reached = np.searchsorted(found[f"{window}_times_s"], ends_s)
    highest = [found[f"{window}_lufs"][:end].max() for end in reached]
    assert highest == pytest.approx(np.arange(-38, -18), abs=0.1)


@pytest.mark.parametrize(
    ("part_of_rate", "amplitude", "phase_deg", "expected_dbtp"),
    [
        pytest.param(4, 0.50, 0.0, -6.0, id="case 15"),
        pytest.param(4, 0.50, 45.0, -6.0, id="case 16"),
        pytest.param(6, 0.50, 60.0, -6.0, id="case 17"),
        pytest.param(8, 0.50, 67.5, -6.0, id="case 18"),
        pytest.param(4, 1.41, 45.0, +3.0, id="case 19"),
    ],
)
@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("factor", [4, 8])
def test_true_peak_passes_ebu_tech_3341(
    part_of_rate: int,
    amplitude: float,
    phase_deg: float,
    expected_dbtp: float,
    rate_hz: int,
    factor: int,
) -> None:
    phase = 2 * np.pi * np.arange(rate_hz) / part_of_rate + np.radians(phase_deg)
    sine = faded(amplitude * np.sin(phase), rate_hz)

    peak_dbtp = true_peak_dbtp(np.stack([sine, sine]), rate_hz, factor=factor)

    assert expected_dbtp - 0.4 <= peak_dbtp <= expected_dbtp + 0.2


@pytest.mark.parametrize("offset", range(4), ids=["case 20", "case 21", "case 22", "case 23"])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 88_200])
@pytest.mark.parametrize("factor", [4, 8])
def test_a_single_high_period_passes_ebu_tech_3341(offset: int, rate_hz: int, factor: int) -> None:
    """Cases 20 to 23, made at four times the rate and thinned out from another sample each."""
    steady = 0.5 * np.sin(2 * np.pi * np.arange(rate_hz // 60 * 24) / 24)
    period = np.sin(2 * np.pi * np.arange(16) / 16)
    signal = faded(np.concatenate([steady, period, steady]), 4 * rate_hz)
    low_pass = scipy.signal.firwin(129, 0.5, fs=4)

    sine = np.convolve(signal, low_pass, mode="same")[offset::4]

    peak_dbtp = true_peak_dbtp(np.stack([sine, sine]), rate_hz, factor=factor)
    assert -0.4 <= peak_dbtp <= 0.2


@pytest.mark.parametrize("rate_hz", [8_000, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.75])
def test_the_top_of_a_pulse_is_found_between_the_samples(rate_hz: int, offset: float) -> None:
    width = 1.5 * max(1, rate_hz / 48_000)  # what can be heard, at every rate
    pulse = np.exp(-0.5 * ((np.arange(rate_hz) - rate_hz // 2 - offset) / width) ** 2)

    assert -0.4 <= true_peak_dbtp(mono(pulse), rate_hz) <= 0.2


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 88_200])
@pytest.mark.parametrize("factor", [4, 8])
def test_true_peak_is_that_of_the_band_limited_signal(rate_hz: int, factor: int) -> None:
    """Against SciPy's transform of the whole, up to 0.43 of the rate."""
    low_pass = scipy.signal.firwin(1001, 0.43, fs=1)
    noise = scipy.signal.fftconvolve(changing_noise(1, rate_hz, seconds=3)[0], low_pass)

    ideal = np.abs(scipy.signal.resample(np.pad(noise, 500), factor * (len(noise) + 1000))).max()

    found_dbtp = true_peak_dbtp(mono(noise), rate_hz, factor=factor)
    assert found_dbtp == pytest.approx(20 * math.log10(ideal), abs=0.02)
    assert found_dbtp > 20 * math.log10(np.abs(noise).max()) + 0.1


def test_a_peak_across_the_border_of_two_blocks_is_found() -> None:
    pulse = np.exp(-0.5 * ((np.arange(3 * RATE_HZ) - RATE_HZ + 0.5) / 1.0) ** 2)

    assert true_peak_dbtp(mono(pulse), RATE_HZ) == pytest.approx(0.0, abs=0.1)


def test_a_peak_within_the_last_milliseconds_is_found() -> None:
    sine = np.sin(2 * np.pi * np.arange(480) / 4 + np.pi / 4) * np.arange(480) / 480

    assert true_peak_dbtp(mono(sine), RATE_HZ) > 20 * math.log10(np.abs(sine).max()) + 2


@pytest.mark.parametrize(
    ("rate_hz", "factor", "expected"),
    [
        (8_000, 4, 4),
        (48_000, 4, 4),
        (88_200, 8, 8),
        (96_000, 4, 2),
        (176_400, 8, 4),
        (192_000, 4, 1),
        (384_000, 8, 1),
    ],
)
def test_higher_rates_are_oversampled_less(rate_hz: int, factor: int, expected: int) -> None:
    assert oversampling_at(rate_hz, factor=factor) == expected


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 96_000, 192_000])
def test_true_peak_is_never_below_the_sample_peak(rate_hz: int) -> None:
    noise = changing_noise(2, rate_hz, seconds=2)
    noise[:, rate_hz:] *= 0.1

    found = levels(noise, rate_hz)

    assert found.sample_peak == pytest.approx(float(np.abs(noise).max()), abs=0)
    assert found.true_peak >= found.sample_peak


@pytest.mark.parametrize(
    ("levels_db", "expected_lu"),
    [
        pytest.param([-20, -30], 10, id="case 1"),
        pytest.param([-20, -15], 5, id="case 2"),
        pytest.param([-40, -20], 20, id="case 3"),
        pytest.param([-50, -35, -20, -35, -50], 15, id="case 4"),
    ],
)
def test_loudness_range_passes_ebu_tech_3342(levels_db: list[float], expected_lu: float) -> None:
    found = features(measure(stereo_tone([(level_db, 20) for level_db in levels_db])))

    range_lu, low, high = (
        number(found[f"loudness_range_{end}"]) for end in ("lu", "low_lufs", "high_lufs")
    )
    assert range_lu == pytest.approx(expected_lu, abs=1)
    assert high - low == pytest.approx(range_lu)
    assert high == pytest.approx(max(levels_db), abs=0.1)


def test_twice_the_amplitude_is_6_02_db_more_in_every_level_but_no_distance() -> None:
    noise = changing_noise(2, 44_100, seconds=6)

    before = features(levels(noise, 44_100))
    after = features(levels(2 * noise, 44_100))

    assert np.abs(2 * noise).max() > 1.0  # floats beyond full scale count as they are
    for name in before:
        distance = name in ("loudness_range_lu", "crest_factor_db")
        gain_db = 0.0 if distance else 20 * math.log10(2)
        assert after[name] == pytest.approx(number(before[name]) + gain_db, abs=1e-4), name


def test_silence_before_the_music_does_not_change_its_loudness() -> None:
    tone = stereo_tone([(-20, 20)])
    late = np.pad(tone, ((0, 0), (RATE_HZ, 0)))
    later = np.pad(tone, ((0, 0), (30 * RATE_HZ, 0)))

    # Not the same to the last digit: three more blocks hold its first tenths of a second.
    assert integrated(late) == pytest.approx(integrated(tone), abs=0.05)
    assert integrated(later) == integrated(late)


@pytest.mark.parametrize("channels", [6, 8])
def test_what_the_lfe_plays_does_not_change_the_loudness(channels: int) -> None:
    surround = changing_noise(channels, RATE_HZ, seconds=2)
    louder = surround.copy()
    louder[3] *= 20

    assert integrated(louder) == integrated(surround)
    assert measure(louder).sample_peak > measure(surround).sample_peak


@pytest.mark.parametrize(
    ("channels", "order"),
    [
        (2, [1, 0]),
        (3, [1, 0, 2]),
        (4, [1, 0, 3, 2]),
        (6, [1, 0, 2, 3, 5, 4]),
        (8, [1, 0, 2, 3, 5, 4, 7, 6]),
    ],
)
def test_left_and_right_may_be_swapped(channels: int, order: list[int]) -> None:
    surround = changing_noise(channels, RATE_HZ, seconds=4)

    before, after = features(measure(surround)), features(measure(surround[order]))

    assert after == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize(
    ("channels", "side"), [(4, 2), (4, 3), (5, 3), (5, 4), (6, 4), (6, 5), (8, 6), (8, 7)]
)
def test_a_channel_at_the_side_counts_1_41_times(channels: int, side: int) -> None:
    sound = changing_noise(1, RATE_HZ, seconds=2)
    surround = np.zeros((channels, sound.shape[1]), dtype=np.float32)
    surround[side] = sound

    louder_lu = integrated(surround) - integrated(sound)

    assert louder_lu == pytest.approx(10 * math.log10(1.41), abs=1e-6)


def test_the_backs_of_eight_channels_and_unknown_layouts_count_once() -> None:
    assert bs1770.channel_weights(8) == (1, 1, 1, 0, 1, 1, 1.41, 1.41)
    assert [bs1770.channel_weights(count) for count in (1, 2, 3, 7, 16)] == [
        (1.0,) * count for count in (1, 2, 3, 7, 16)
    ]


def test_sixteen_channels_are_measured() -> None:
    sound = changing_noise(1, RATE_HZ, seconds=2)

    louder_lu = integrated(np.repeat(sound, 16, axis=0)) - integrated(sound)

    assert louder_lu == pytest.approx(10 * math.log10(16), abs=1e-6)


def test_a_constant_has_a_level_but_hardly_a_loudness() -> None:
    found = measure(np.full((1, 5 * RATE_HZ), 0.5, dtype=np.float32))

    momentary = bs1770.loudness_lufs(means(found, steps=MOMENTARY_STEPS, hop=1))

    assert found.mean_square == 0.25
    assert momentary[-1] == SILENCE_DB


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 192_000])
@pytest.mark.parametrize("samples", [0, 1, 79, 80, 81, 7_999, 8_000, 12_345])
def test_steps_are_the_whole_hundredths_of_a_second(rate_hz: int, samples: int) -> None:
    steps = levels(np.ones((1, samples), np.float32), rate_hz).plain

    edges = [step * rate_hz // 100 for step in range(len(steps) + 2)]
    assert edges[-2] <= samples < edges[-1]
    assert steps.tolist() == np.diff(edges[:-1]).tolist()


def test_the_silence_after_a_loud_passage_is_silence() -> None:
    noise = 10_000 * changing_noise(2, RATE_HZ, seconds=2)
    found = measure(np.pad(noise, ((0, 0), (0, 5 * RATE_HZ))))

    momentary = bs1770.loudness_lufs(means(found, steps=MOMENTARY_STEPS, hop=1))

    assert momentary[-1] == SILENCE_DB


def test_what_came_before_a_window_leaves_nothing_in_it() -> None:
    quiet = np.full(MOMENTARY_STEPS, 1e-6)
    loud_then_quiet = np.concatenate([np.full(MOMENTARY_STEPS, 1e12), quiet])

    alone = bs1770.window_means(quiet, RATE_HZ, steps=MOMENTARY_STEPS, hop=1)
    after = bs1770.window_means(loud_then_quiet, RATE_HZ, steps=MOMENTARY_STEPS, hop=1)

    assert after[-1] == alone[-1]


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("parts", [2, 7, 100])
def test_the_levels_do_not_depend_on_how_the_samples_are_cut(channels: int, parts: int) -> None:
    noise = changing_noise(channels, 44_100, seconds=2).T
    places = np.sort(np.random.default_rng(parts).integers(0, len(noise) + 1, parts - 1))
    meter = LevelMeter()

    meter.begin(sample_rate_hz=44_100, channels=channels, expected_frames=None)
    for block in np.split(noise, places):
        meter.add(block)
    meter.end()

    whole = levels(noise.T, 44_100)
    np.testing.assert_allclose(meter.levels.weighted, whole.weighted, rtol=1e-12)
    np.testing.assert_allclose(meter.levels.plain, whole.plain, rtol=1e-12)
    assert meter.levels.true_peak == whole.true_peak > whole.sample_peak
    assert meter.levels.mean_square == pytest.approx(whole.mean_square, rel=1e-12)


def changing_noise(channels: int, rate_hz: int, *, seconds: int) -> Samples:
    """White noise whose level moves over 30 dB, so that both gates have work to do."""
    random = np.random.default_rng(1770)
    noise = random.standard_normal((channels, seconds * rate_hz), dtype=np.float32)
    envelope_db = -15 + 15 * np.cos(2 * np.pi * np.arange(noise.shape[1]) / (2 * rate_hz))
    return np.asarray(0.2 * noise * 10 ** (envelope_db / 20), dtype=np.float32)


def stereo_tone(steps: list[tuple[float, float]]) -> Samples:
    """1 kHz in both channels, as (peak level in dBFS, seconds) one after another."""
    gains = [np.full(round(seconds * RATE_HZ), 10 ** (level / 20)) for level, seconds in steps]
    gain = np.concatenate(gains)
    tone = gain * np.sin(2 * np.pi * 1000 * np.arange(len(gain)) / RATE_HZ)
    return np.repeat(mono(tone), 2, axis=0)


def faded(signal: NDArray[np.float64], rate_hz: int) -> Samples:
    """Fades of 10 ms, as Tech 3341 asks: a sine that begins at once really does peak higher."""
    ramp = np.minimum(np.arange(len(signal)) / (0.01 * rate_hz), 1.0)
    return np.asarray(signal * ramp * ramp[::-1], dtype=np.float32)


def mono(signal: NDArray[np.float64]) -> Samples:
    return np.asarray(signal[np.newaxis], dtype=np.float32)


def levels(samples: Samples, rate_hz: int, *, factor: int = 4) -> Levels:
    return Audio(samples, rate_hz).heard(LevelMeter.of(factor)).levels


def measure(samples: Samples) -> Levels:
    return levels(samples, RATE_HZ)


def means(found: Levels, *, steps: int, hop: int) -> NDArray[np.float64]:
    return bs1770.window_means(found.weighted, found.sample_rate_hz, steps=steps, hop=hop)


def integrated(samples: Samples, rate_hz: int = RATE_HZ) -> float:
    found = levels(samples, rate_hz)
    value = bs1770.integrated_lufs(means(found, steps=MOMENTARY_STEPS, hop=GATING_HOP_STEPS))
    return number(value)


def feature(samples: Samples, name: str) -> float:
    return number(features(measure(samples))[name])


def true_peak_dbtp(samples: Samples, rate_hz: int, *, factor: int = 4) -> float:
    found = levels(samples, rate_hz, factor=factor)
    return 20 * math.log10(found.true_peak)


def reference(samples: Samples, rate_hz: int) -> float:
    meter = pyloudnorm.Meter(rate_hz, filter_class="DeMan")
    return float(meter.integrated_loudness(samples.T.astype(np.float64)))


def number(value: object) -> float:
    assert isinstance(value, float)
    return value
