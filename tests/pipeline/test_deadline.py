"""The hour of `--until`: which one is meant, what fits before it, and a clock that is set meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from datetime import time as TimeOfDay
from pathlib import Path

import pytest

from pipeline.allowance import Allowance, Bound, InHand
from pipeline.deadline import Deadline, steady_s
from pipeline.ledger.speeds import Speed, Took
from pipeline.pace import Pace
from pipeline.room import Room, Sizes

SEVEN = TimeOfDay(7)
HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone with summer time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Clocks:
    """Two clocks that are moved by hand: the wall's, and the one that nobody sets."""

    def __init__(self, started: str) -> None:
        self.wall_s = datetime.fromisoformat(started).timestamp()
        self.steady_s = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds

    def deadline(self, until: TimeOfDay = SEVEN) -> Deadline:
        return Deadline(until, wall_s=lambda: self.wall_s, steady_s=lambda: self.steady_s)


def look_for(deadline: Deadline, clocks: Clocks, seconds: int) -> float:
    """Look once a second, as a run does; return what is left in the end."""
    for _ in range(seconds):
        clocks.pass_by(1.0)
        deadline.left_s()
    return deadline.left_s()


@pytest.mark.parametrize(
    ("started", "hours"),
    [
        ("2026-01-10T23:00", 8),
        ("2026-01-10T06:59", 1 / 60),
        ("2026-01-10T07:00", 24),
        ("2026-12-31T23:30", 7.5),
        ("2026-03-28T23:00", 7),  # the clocks go forward in this night
        ("2026-10-24T23:00", 9),  # and back in this
    ],
)
def test_until_is_the_next_time_that_a_clock_shows_it(started: str, hours: float) -> None:
    assert Clocks(started).deadline().left_s() == pytest.approx(hours * HOUR_S)


def test_an_hour_that_comes_twice_is_the_one_that_is_still_to_come() -> None:
    clocks = Clocks("2026-10-25T02:30+01:00")  # the second half past two of that night

    assert clocks.deadline(TimeOfDay(2, 45)).left_s() == pytest.approx(15 * 60)


def test_what_is_left_gets_less_and_goes_below_zero() -> None:
    clocks = Clocks("2026-01-10T06:00")
    deadline = clocks.deadline()

    clocks.pass_by(HOUR_S - 1)
    assert deadline.left_s() == pytest.approx(1)
    clocks.pass_by(2)
    assert deadline.left_s() == pytest.approx(-1)


def test_a_clock_that_is_wrong_for_a_second_ends_no_run() -> None:
    clocks = Clocks("2026-01-10T23:00")
    deadline = clocks.deadline()

    clocks.wall_s += 7.9 * HOUR_S
    glitch_s = look_for(deadline, clocks, 3)
    clocks.wall_s -= 7.9 * HOUR_S

    assert glitch_s == pytest.approx(8 * HOUR_S - 3)
    assert look_for(deadline, clocks, 30) == pytest.approx(8 * HOUR_S - 33)


def test_a_clock_that_is_set_right_takes_the_hour_with_it() -> None:
    clocks = Clocks("2026-01-10T23:00")
    deadline = clocks.deadline()

    clocks.wall_s += 2 * HOUR_S  # it was one o'clock already

    assert look_for(deadline, clocks, 10) == pytest.approx(6 * HOUR_S - 10)


def test_a_clock_set_beyond_the_hour_ends_the_run() -> None:
    clocks = Clocks("2026-01-10T23:00")
    deadline = clocks.deadline()
    clocks.pass_by(6 * HOUR_S)

    clocks.wall_s += 2.5 * HOUR_S  # half past seven, and the run began at half past one

    assert look_for(deadline, clocks, 10) == pytest.approx(-0.5 * HOUR_S - 10)


def test_a_machine_that_booted_in_1970_still_has_a_night_before_it() -> None:
    clocks = Clocks("1970-01-02T00:00")
    deadline = clocks.deadline()

    clocks.wall_s = datetime.fromisoformat("2026-01-10T23:00").timestamp()

    assert look_for(deadline, clocks, 10) == pytest.approx(8 * HOUR_S - 10)


def test_a_clock_that_is_corrected_slowly_moves_no_hour_to_tomorrow() -> None:
    clocks = Clocks("2026-01-10T06:59:30")
    deadline = clocks.deadline()

    for _ in range(120):  # half a second in each: it gains a minute
        clocks.wall_s += 0.5
        clocks.pass_by(0.5)
        deadline.left_s()

    assert deadline.left_s() == pytest.approx(-90)


def test_suspend_counts_as_time_on_linux() -> None:
    assert steady_s() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=1)


# ---- what fits


def allowance(
    *,
    deadline: Deadline | None = None,
    before: dict[tuple[str, str], Speed] | None = None,
    limit: int | None = None,
) -> Allowance:
    room = Room(Path("/"), min_free_bytes=0, min_free_files=0, statvfs=lambda path: os.statvfs("/"))
    known = before or {}
    return Allowance(
        room=room, sizes=Sizes({}, {}), pace=Pace(lambda: known), deadline=deadline, limit=limit
    )


FREE = InHand(0.0, 0.0)
HALF_TIME = {("separation", "mix"): Speed(lane_s=500.0, audio_s=1000.0)}


def test_without_until_any_track_fits() -> None:
    assert allowance().bound(["separation"], "mix", FREE) == Bound()


def test_a_track_fits_that_ends_in_time_beside_what_is_in_hand() -> None:
    clocks = Clocks("2026-01-10T06:00")
    asked = allowance(deadline=clocks.deadline(), before=HALF_TIME)

    alone = asked.bound(["separation"], "mix", FREE)
    beside = asked.bound(["separation"], "mix", InHand(left_s=1000.0, audio_s=0.0))

    assert alone.because == beside.because == "until"
    # Half of real time, and a tenth more for what surrounds the stage.
    assert alone.longest_s == pytest.approx(3600 / 0.55)
    assert beside.longest_s == pytest.approx(2600 / 0.55)


def test_while_no_speed_is_known_any_track_fits_until_the_hour_itself() -> None:
    clocks = Clocks("2026-01-10T06:00")
    asked = allowance(deadline=clocks.deadline(), before=HALF_TIME)

    assert asked.bound(["note"], "mix", InHand(1e9, 0.0)) == Bound()
    assert asked.bound(["separation"], "stems", InHand(1e9, 0.0)) == Bound()
    clocks.pass_by(HOUR_S)

    over = asked.bound(["note"], "mix", FREE).longest_s
    assert over is not None
    assert over < 0
    assert asked.time_is_up()


SLOW = Took("a", "mix", "recipe", "cpu", None, audio_s=100.0, lane_s=50.0)


def test_stages_of_one_lane_take_the_sum_of_their_times() -> None:
    pace = Pace(lambda: {("a", "mix"): Speed(10.0, 100.0), ("b", "mix"): Speed(30.0, 100.0)})

    assert pace.per_audio_s(["a", "b", "unknown"], "mix") == pytest.approx(1.1 * 0.4)


def test_after_three_jobs_a_run_believes_its_own_speed() -> None:
    pace = Pace(lambda: {("a", "mix"): Speed(10.0, 100.0)})

    for _ in range(2):
        pace.took(SLOW)
    assert pace.per_audio_s(["a"], "mix") == pytest.approx(1.1 * 0.1)
    pace.took(SLOW)

    assert pace.per_audio_s(["a"], "mix") == pytest.approx(1.1 * 0.5)


def test_a_run_without_a_past_believes_its_first_job() -> None:
    pace = Pace(dict)

    pace.took(SLOW)

    assert pace.per_audio_s(["a"], "mix") == pytest.approx(1.1 * 0.5)
    assert pace.per_audio_s(["a"], "stems") == 0.0


# ---- how many


def test_the_last_track_that_is_allowed_closes_the_queue_and_none_counts_twice() -> None:
    asked = allowance(limit=2)

    told = [asked.take_up(track_id) for track_id in (7, 7, 9)]

    assert told == [None, None, {7, 9}]
    assert asked.full
    assert [asked.take_up(track_id) for track_id in (9, 11)] == [None, None]


def test_without_a_limit_it_is_never_full() -> None:
    asked = allowance()

    assert asked.take_up(1) is None
    assert not asked.full
