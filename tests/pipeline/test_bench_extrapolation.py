"""What many files would take, from numbers that were worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from pipeline.bench.extrapolation import Cost, Observation, fit

SIZES = ((1, 5.0), (10, 50.0), (10, 200.0), (100, 2100.0))


def observed(cost: Cost, *sizes: tuple[int, float]) -> list[Observation]:
    return [Observation(files, audio_s, cost.of(files, audio_s)) for files, audio_s in sizes]


def numbers(cost: Cost) -> list[float]:
    return [cost.start_s, cost.per_file_s, cost.per_audio_s]


def near(cost: Cost) -> object:
    """Return what equals the numbers of a cost that differs by rounding alone."""
    return pytest.approx(numbers(cost), abs=1e-6)


def test_a_cost_is_a_start_and_a_share_of_each_file_and_second() -> None:
    cost = Cost(start_s=3.0, per_file_s=0.5, per_audio_s=0.02)

    assert cost.of(10, 300.0) == 3.0 + 5.0 + 6.0


def test_three_runs_tell_start_files_and_seconds_apart() -> None:
    found = fit(
        [
            Observation(1, 4.0, 2.9),  # 2 + 1 x 0.5 + 4 x 0.1
            Observation(4, 16.0, 5.6),  # 2 + 4 x 0.5 + 16 x 0.1
            Observation(4, 64.0, 10.4),  # 2 + 4 x 0.5 + 64 x 0.1
        ],
        has_start=True,
    )

    assert numbers(found) == near(Cost(2.0, 0.5, 0.1))


def test_a_process_for_each_file_has_no_start_beside_it() -> None:
    found = fit([Observation(1, 10.0, 6.0), Observation(1, 40.0, 9.0)], has_start=False)

    assert numbers(found) == near(Cost(0.0, 5.0, 0.1))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("has_start", [True, False])
def test_a_cost_is_found_from_what_it_gives(seed: int, has_start: bool) -> None:
    lot = Random(seed)
    start_s, per_file_s, per_audio_s = (
        lot.choice((0.0, lot.uniform(0.1, size))) for size in (9.0, 5.0, 0.9)
    )
    cost = Cost(start_s if has_start else 0.0, per_file_s + 0.01, per_audio_s)

    assert numbers(fit(observed(cost, *SIZES), has_start=has_start)) == near(cost)


@pytest.mark.parametrize("seed", range(30))
def test_timings_that_are_off_by_some_percent_foretell_what_is_off_by_as_much(seed: int) -> None:
    """None of the numbers is ever negative. Of as many files as were seen, the bound can be proved:
    costs are a convex cone, and what is nearest in one moves no further than the four timings did,
    by 8.7 % of themselves each, root of the sum of squares 17.4 %, of one that is 8 % too long 18.8 %.
    """
    lot = Random(seed)
    cost = Cost(lot.uniform(0, 5), lot.uniform(0, 2), lot.uniform(0.01, 1))
    off = [
        replace(one, wall_s=one.wall_s * lot.uniform(0.92, 1.08)) for one in observed(cost, *SIZES)
    ]

    found = fit(off, has_start=True)

    assert min(numbers(found)) >= 0
    assert found.of(100, 2100.0) == pytest.approx(cost.of(100, 2100.0), rel=0.188)


def test_a_slower_machine_costs_more_by_its_factor() -> None:
    seen = [Observation(1, 5.0, 3.1), Observation(10, 50.0, 4.4), Observation(10, 200.0, 9.7)]
    slower = [replace(one, wall_s=3 * one.wall_s) for one in seen]

    quick, slow = (fit(one, has_start=True) for one in (seen, slower))

    assert numbers(slow) == near(Cost(*(3 * one for one in numbers(quick))))


def test_the_order_of_what_was_seen_does_not_count() -> None:
    seen = [Observation(1, 5.0, 3.1), Observation(10, 50.0, 4.4), Observation(10, 200.0, 9.7)]

    assert numbers(fit(seen[::-1], has_start=True)) == near(fit(seen, has_start=True))


def test_less_time_for_more_files_is_no_negative_cost() -> None:
    seen = [Observation(1, 5.0, 4.0), Observation(10, 50.0, 3.0), Observation(10, 200.0, 3.5)]

    found = fit(seen, has_start=True)

    assert min(numbers(found)) >= 0
    assert 3.0 < found.of(10, 100.0) < 4.0


def test_files_of_one_length_are_foretold_though_they_do_not_tell_files_from_seconds() -> None:
    cost = Cost(2.0, 0.5, 0.1)

    found = fit(observed(cost, (1, 30.0), (5, 150.0), (10, 300.0)), has_start=True)

    assert found.of(1000, 30_000.0) == pytest.approx(cost.of(1000, 30_000.0))
    assert 0 in (found.per_file_s, found.per_audio_s)


def test_nothing_is_foretold_from_nothing() -> None:
    with pytest.raises(ValueError, match="needs observations that took some time"):
        fit([], has_start=True)


def test_a_cost_through_what_was_seen_gives_it_and_keeps_its_start() -> None:
    found = Cost(2.0, 0.5, 0.1).through(
        Observation(10, 50.0, 22.0)
    )  # not 12, of which 10 not start

    assert numbers(found) == near(Cost(2.0, 1.0, 0.2))


def test_where_all_took_no_longer_than_the_start_the_start_was_too_long() -> None:
    found = Cost(2.0, 0.5, 0.1).through(Observation(10, 50.0, 1.2))

    assert numbers(found) == near(Cost(0.2, 0.05, 0.01))
