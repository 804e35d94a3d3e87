from __future__ import annotations

import cmath
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from pipeline.music.compose import compose
from stages.outputs import Missing
from stages.rhythm import evenness, features, on_grid, onsets_on_beat_share, syncopation

BEAT_S = 0.5
BEAT_TIMES_S = np.linspace(0.0, 8 * BEAT_S, 9)


def _found(onsets_s: ArrayLike, beats_s: ArrayLike) -> dict[str, float]:
    """All features of times of which none may be missing."""
    found = features(np.asarray(onsets_s, np.float64), np.asarray(beats_s, np.float64))
    assert not [name for name, value in found.items() if isinstance(value, Missing)]
    return {name: float(str(value)) for name, value in found.items()}


def _in_every_beat(*steps: float) -> NDArray[np.float64]:
    """Onsets at these quarters of every beat, after the last one too."""
    return np.concatenate([BEAT_TIMES_S + BEAT_S * step / 4 for step in steps])


def _reasons(onsets_s: ArrayLike, beats_s: ArrayLike) -> dict[str, str]:
    found = features(np.asarray(onsets_s, np.float64), np.asarray(beats_s, np.float64))
    return {name: value.reason for name, value in found.items() if isinstance(value, Missing)}


# ---- known on paper

# Each second onset of a pair is a sixteenth of the cycle from where it would be even.
_PAIRS = math.cos(math.pi / 16)

PATTERNS = {
    "on the beat": ((0,), 1.0, 0.0, 1.0),
    "eighths off the beat": ((2,), 0.0, 1.0, 1.0),
    "eighths": ((0, 2), 0.5, 0.0, 1.0),
    "a quarter late": ((1,), 0.0, 2.0, 1.0),
    "a quarter early": ((3,), 0.0, 2.0, 1.0),
    "around the beat": ((1, 3), 0.0, 3.0, 1.0),
    "sixteenths": ((0, 1, 2, 3), 0.25, 0.0, 1.0),
    "long and short": ((0, 3), 0.5, 0.0, _PAIRS),
    "swing": ((0, 8 / 3), 0.5, 0.0, _PAIRS),
    "short and long": ((0, 1), 0.5, 1.0, _PAIRS),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_has_the_place_the_syncopation_and_the_evenness_that_paper_gives(
    pattern: str,
) -> None:
    steps, *expected = PATTERNS[pattern]

    found = _found(_in_every_beat(*steps), BEAT_TIMES_S)

    names = ("onsets_on_beat_share", "syncopation", "evenness")
    assert [found[name] for name in names] == pytest.approx(expected)


def test_the_son_clave_is_syncopated_twice() -> None:
    cycle_s = BEAT_S / 4 * np.array([0, 3, 6, 10, 12])
    onsets_s = [*cycle_s, *(cycle_s + 4 * BEAT_S), 8 * BEAT_S]

    # Step 3 by 2, for the silent beat after it, step 6 by 1; four beats each.
    assert _found(onsets_s, BEAT_TIMES_S)["syncopation"] == 3 / 4


def test_an_even_beat_has_its_interval_and_full_regularity() -> None:
    found = _found(_in_every_beat(0, 2), BEAT_TIMES_S)

    assert found["beat_interval_mean_s"] == BEAT_S
    assert found["beat_interval_std_s"] == 0.0
    assert found["beat_regularity"] == 1.0
    assert found["onset_interval_mean_s"] == pytest.approx(BEAT_S / 2)
    assert found["onset_interval_std_s"] == pytest.approx(0.0, abs=1e-12)


def test_regularity_falls_by_the_coefficient_of_variation_down_to_0() -> None:
    limping_s = np.cumsum([0.0, 0.4, 0.6, 0.4, 0.6])
    broken_s = np.cumsum([0.0, *[0.1] * 9, 9.1])  # mean 1, standard deviation 2.7

    assert _found(limping_s, limping_s)["beat_regularity"] == pytest.approx(0.8)
    assert _found(broken_s, broken_s)["beat_regularity"] == 0.0


def test_an_onset_is_on_a_beat_up_to_70_ms_before_and_after_it() -> None:
    onsets_s = [1.0 - 0.071, 1.0 - 0.069, 2.0 + 0.069, 2.0 + 0.071]

    assert onsets_on_beat_share(np.array(onsets_s), BEAT_TIMES_S) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_the_true_times_of_a_song_have_its_tempo_and_no_irregular_beat(seed: int) -> None:
    piece = compose(seed)

    found = _found(piece.all_onsets_s(), piece.beats_s())

    assert found["beat_interval_mean_s"] == pytest.approx(60 / piece.tempo_bpm)
    assert found["beat_regularity"] == pytest.approx(1.0)
    # Its strokes are on halves and quarters of the beat, swung at most.
    assert found["onset_interval_mean_s"] < 60 / piece.tempo_bpm
    assert found["onsets_on_beat_share"] > 0.2
    assert found["evenness"] > 0.9


# ---- against other ways to reckon it


@pytest.mark.parametrize("seed", range(5))
def test_intervals_have_the_statistics_of_the_standard_library(seed: int) -> None:
    onsets_s = np.sort(np.random.default_rng(seed).uniform(0, 4, 30))
    intervals_s = np.diff(onsets_s).tolist()

    found = _found(onsets_s, BEAT_TIMES_S)

    tenths = statistics.quantiles(intervals_s, n=10, method="inclusive")
    assert found["onset_interval_mean_s"] == pytest.approx(statistics.fmean(intervals_s))
    assert found["onset_interval_std_s"] == pytest.approx(statistics.pstdev(intervals_s))
    assert found["onset_interval_p10_s"] == pytest.approx(tenths[0])
    assert found["onset_interval_p50_s"] == pytest.approx(statistics.median(intervals_s))
    assert found["onset_interval_p90_s"] == pytest.approx(tenths[8])


def _rhythms() -> list[NDArray[np.bool_]]:
    chance = np.random.default_rng(0)
    return [
        chance.uniform(size=4 * beats + 1) < density
        for beats in (4, 9, 31)
        for density in (0.15, 0.4, 0.8)
    ]


@pytest.mark.parametrize("rhythm", _rhythms(), ids=len)
def test_syncopation_is_what_its_definition_gives_step_by_step(rhythm: NDArray[np.bool_]) -> None:
    weights = [(0, -2, -1, -2)[step % 4] for step in range(len(rhythm))]
    total = 0
    for step in np.flatnonzero(rhythm):
        silent = []
        for later in range(step + 1, len(rhythm)):
            if rhythm[later]:
                break
            silent.append(weights[later])
        total += max([0, *(rest - weights[step] for rest in silent)])

    assert syncopation(rhythm) == pytest.approx(total / ((len(rhythm) - 1) / 4))


@pytest.mark.parametrize("rhythm", _rhythms(), ids=len)
def test_evenness_is_the_mean_of_the_sum_written_out(rhythm: NDArray[np.bool_]) -> None:
    found = []
    for first in range(0, len(rhythm) - 16, 16):
        steps = [step for step in range(16) if rhythm[first + step]]
        count = len(steps)
        if count > 1:
            turned = [
                cmath.exp(2j * cmath.pi * (step / 16 - k / count)) for k, step in enumerate(steps)
            ]
            found.append(abs(sum(turned)) / count)

    assert evenness(rhythm) == pytest.approx(statistics.fmean(found))


# ---- the grid


def test_onsets_go_to_the_nearest_quarter_of_their_own_beat() -> None:
    beats_s = np.array([1.0, 2.0, 2.4])  # quarters of 250, then of 100 ms

    grid = on_grid(np.array([0.9, 1.24, 1.27, 1.6, 2.04, 2.06, 2.43]), beats_s)

    assert np.flatnonzero(grid).tolist() == [0, 1, 2, 4, 5, 8]
    assert grid.shape == (9,)


def test_onsets_more_than_half_a_step_outside_the_beats_are_on_no_grid() -> None:
    beats_s = np.array([1.0, 2.0, 3.0])

    assert not on_grid(np.array([0.0, 0.87, 3.13, 9.0]), beats_s).any()
    assert on_grid(np.array([0.88, 3.12]), beats_s)[[0, -1]].all()


def test_onsets_a_frame_early_or_late_are_the_same_rhythm() -> None:
    onsets_s = _in_every_beat(0, 3)
    late_s = np.random.default_rng(0).choice([-0.023, 0.0, 0.023], len(onsets_s))

    exact, found = (_found(times_s, BEAT_TIMES_S) for times_s in (onsets_s, onsets_s + late_s))

    assert found["syncopation"] == exact["syncopation"] == 0.0
    assert found["evenness"] == exact["evenness"]


def test_a_cycle_of_one_onset_says_nothing_of_evenness() -> None:
    one, pairs = np.zeros(16, np.bool_), np.zeros(16, np.bool_)
    one[5] = True
    pairs[[0, 3, 4, 7, 8, 11, 12, 15]] = True

    assert evenness(np.concatenate([one, pairs, [True]])) == pytest.approx(_PAIRS)


# ---- relations


def _played(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Onsets on quarters of an unsteady beat, some of them a little off."""
    chance = np.random.default_rng(seed)
    beats_s = np.cumsum(chance.uniform(0.4, 0.6, 22))
    steps = np.flatnonzero(chance.uniform(size=84) < 0.4)
    onsets_s = np.interp(steps / 4, np.arange(22), beats_s) + chance.normal(0, 0.01, len(steps))
    return onsets_s, beats_s


@pytest.mark.parametrize("seed", range(5))
def test_a_later_start_changes_nothing(seed: int) -> None:
    onsets_s, beats_s = _played(seed)

    assert _found(onsets_s + 7.3, beats_s + 7.3) == pytest.approx(_found(onsets_s, beats_s))


@pytest.mark.parametrize("seed", range(5))
def test_twice_the_tempo_halves_what_is_in_seconds_and_keeps_the_rhythm(seed: int) -> None:
    onsets_s, beats_s = _played(seed)

    slow, fast = _found(onsets_s, beats_s), _found(onsets_s / 2, beats_s / 2)

    in_seconds = [name for name in slow if name.endswith("_s")]
    assert len(in_seconds) == 7
    assert [fast[name] for name in in_seconds] == pytest.approx(
        [slow[name] / 2 for name in in_seconds]
    )
    for name in ("beat_regularity", "syncopation", "evenness"):
        assert fast[name] == pytest.approx(slow[name])


@pytest.mark.parametrize("seed", range(5))
def test_a_rhythm_that_begins_a_beat_later_in_the_cycle_is_as_even(seed: int) -> None:
    cycle = np.random.default_rng(seed).uniform(size=16) < 0.4
    rhythm = np.tile(cycle, 4)

    turned = np.roll(rhythm, 4)

    assert evenness(np.append(turned, True)) == pytest.approx(evenness(np.append(rhythm, True)))


@pytest.mark.parametrize("seed", range(5))
def test_order_and_repetitions_do_not_count(seed: int) -> None:
    onsets_s, beats_s = _played(seed)

    mixed = _found([*onsets_s[::-1], *onsets_s[:3]], [*beats_s[::-1], beats_s[0]])

    assert mixed == _found(onsets_s, beats_s)


# ---- what cannot be

OF_BEATS = ("beat_interval_mean_s", "beat_interval_std_s", "beat_regularity")
OF_ONSETS = (
    "onset_interval_mean_s", "onset_interval_std_s", "onset_interval_p10_s",
    "onset_interval_p50_s", "onset_interval_p90_s",
)  # fmt: skip


def test_no_onset_leaves_the_beat_alone() -> None:
    assert _reasons([], BEAT_TIMES_S) == {
        **dict.fromkeys(OF_ONSETS, "fewer than two onsets"),
        "onset_interval_std_s": "fewer than three onsets",
        "onsets_on_beat_share": "no onset was found",
        "syncopation": "no onset between two beats",
        "evenness": "no four beats with two onsets",
    }


def test_no_beat_leaves_the_intervals_of_onsets() -> None:
    assert _reasons([1.0, 2.0, 3.5], []) == {
        **dict.fromkeys(OF_BEATS, "fewer than three beats"),
        "beat_interval_mean_s": "fewer than two beats",
        "onsets_on_beat_share": "no beat was found",
        "syncopation": "fewer than two beats",
        "evenness": "fewer than five beats",
    }


@pytest.mark.parametrize(
    ("onsets", "beats", "missing"),
    [
        (1, 1, {*OF_BEATS, *OF_ONSETS, "syncopation", "evenness"}),
        (2, 2, {"beat_interval_std_s", "beat_regularity", "onset_interval_std_s", "evenness"}),
        (3, 4, {"evenness"}),
        (1, 5, {*OF_ONSETS, "evenness"}),
        (2, 5, {"onset_interval_std_s"}),
        (3, 5, set()),
    ],
)
def test_few_onsets_and_beats_give_what_they_can(
    onsets: int, beats: int, missing: set[str]
) -> None:
    assert set(_reasons(BEAT_TIMES_S[:onsets], BEAT_TIMES_S[:beats])) == missing


_TIMES = st.lists(
    st.one_of(st.floats(0, 14_400), st.integers(0, 40).map(lambda frame: frame * 512 / 22_050)),
    max_size=40,
)


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(onsets_s=_TIMES, beats_s=_TIMES)
def test_any_times_give_numbers_in_their_range_or_a_reason(
    onsets_s: list[float], beats_s: list[float]
) -> None:
    highest = {"beat_regularity": 1, "onsets_on_beat_share": 1, "syncopation": 3, "evenness": 1}

    found = features(np.asarray(onsets_s, np.float64), np.asarray(beats_s, np.float64))

    for name, value in found.items():
        if isinstance(value, Missing):
            assert value.reason
        else:
            assert isinstance(value, float)
            assert 0 <= value <= highest.get(name, 14_400), name


@pytest.mark.parametrize("onsets", [2, 4, 8, 16])
def test_rounding_makes_nothing_more_than_even(onsets: int) -> None:
    even = np.zeros(16, np.bool_)
    even[:: 16 // onsets] = True

    for turned in range(16 // onsets):
        found = evenness(np.append(np.roll(even, turned), True))
        assert 1 - 1e-12 < float(str(found)) <= 1.0
