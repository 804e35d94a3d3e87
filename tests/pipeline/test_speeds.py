"""What runs learn of speeds, and what is told of the time that is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lane_clock import LaneClock
from pipeline.ledger import Ledger
from pipeline.ledger.plan import Planned
from pipeline.ledger.speeds import ENOUGH_JOBS, Speed, Took, seconds_left
from tests.zygote import QuickSandbox

NOTE = Planned("note", "mix", "features", "r1")
STEMS = Planned("note", "stems", "features", "s1")
HTDEMUCS = Planned("separation", "mix", "separation", "h1", model="htdemucs")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.db") as opened:
        yield opened


def _run(
    ledger: Ledger, planned: Planned, lane_s: float, *, jobs: int = ENOUGH_JOBS, **other: str
) -> None:
    """A run that took so long for each of some jobs of 100 s of audio."""
    run_id = ledger.begin_run(host="here", pid=1, version="0", settings="{}")
    recipe, device = other.get("recipe", planned.recipe or ""), other.get("device", "cpu")
    took = Took(planned.stage, planned.scope, recipe, device, planned.model, 100.0, lane_s)
    ledger.speeds.note(run_id, [took] * jobs)


def _learnt(ledger: Ledger, planned: Planned, device: str = "auto") -> float | None:
    found = ledger.speeds.learnt([planned], device=device).get((planned.stage, planned.scope))
    return found.per_audio_s if found is not None else None


# ---- a lane's time


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10), st.booleans()), min_size=1))
def test_the_parts_of_the_tracks_add_up_to_the_time_in_which_the_lane_had_work(
    tracks: list[tuple[float, float, bool]],
) -> None:
    now, busy_s, dealt_s = 0.0, 0.0, 0.0
    lane = LaneClock(lambda: now)
    lane.given()
    for took_s, idle_s, more in tracks:
        now += took_s
        busy_s += took_s
        dealt_s += lane.ended(more=more)
        if not more:
            now += idle_s  # nobody's
            lane.given()

    assert dealt_s == pytest.approx(busy_s)


# ---- what is learnt


def test_nothing_is_known_of_what_never_ran(ledger: Ledger) -> None:
    assert _learnt(ledger, NOTE) is None


def test_jobs_of_a_run_add_up(ledger: Ledger) -> None:
    run_id = ledger.begin_run(host="here", pid=1, version="0", settings="{}")
    long = Took("note", "mix", "r1", "cpu", None, 300.0, 30.0)
    short = Took("note", "mix", "r1", "cpu", None, 100.0, 20.0)

    ledger.speeds.note(run_id, [long])
    ledger.speeds.note(run_id, [short])

    assert ledger.speeds.learnt([NOTE], device="auto") == {("note", "mix"): Speed(50.0, 400.0)}


def test_the_newest_run_counts(ledger: Ledger) -> None:
    _run(ledger, NOTE, 10)
    _run(ledger, NOTE, 20)

    assert _learnt(ledger, NOTE) == pytest.approx(0.2)


def test_a_run_that_did_too_little_says_less_than_one_before_it(ledger: Ledger) -> None:
    _run(ledger, NOTE, 10)
    _run(ledger, NOTE, 50, jobs=ENOUGH_JOBS - 1)

    assert _learnt(ledger, NOTE) == pytest.approx(0.1)


def test_with_the_settings_of_today_an_older_run_says_more(ledger: Ledger) -> None:
    _run(ledger, NOTE, 10)
    _run(ledger, NOTE, 50, recipe="with other settings")

    assert _learnt(ledger, NOTE) == pytest.approx(0.1)


def test_with_other_settings_it_is_better_than_nothing(ledger: Ledger) -> None:
    _run(ledger, NOTE, 50, recipe="with other settings")

    assert _learnt(ledger, NOTE) == pytest.approx(0.5)


def test_another_model_says_nothing(ledger: Ledger) -> None:
    _run(ledger, HTDEMUCS, 50)

    nano = Planned("separation", "mix", "separation", "n1", model="nano")
    assert _learnt(ledger, nano) is None


@pytest.mark.parametrize(
    ("asked", "known"),
    [("cpu", 0.5), ("cuda", 0.01), ("cuda:0", 0.01), ("rocm", 0.01), ("auto", 0.5)],
)
def test_another_device_says_nothing_of_a_separation(
    ledger: Ledger, asked: str, known: float
) -> None:
    _run(ledger, HTDEMUCS, 1, device="cuda:0")
    _run(ledger, HTDEMUCS, 50, device="cpu")

    assert _learnt(ledger, HTDEMUCS, asked) == pytest.approx(known)


def test_features_are_as_fast_whatever_device_separates(ledger: Ledger) -> None:
    _run(ledger, NOTE, 10)

    assert _learnt(ledger, NOTE, "cuda") == pytest.approx(0.1)


# ---- what is left


def test_what_is_left_takes_the_sum_of_all_lanes_or_beside_one_another_the_longer() -> None:
    open_s = {("separation", "mix"): 100.0, ("note", "mix"): 100.0, ("note", "stems"): 100.0}
    found = {
        ("separation", "mix"): Speed(50.0, 100.0),
        ("note", "mix"): Speed(10.0, 100.0),
        ("note", "stems"): Speed(20.0, 100.0),
    }

    assert seconds_left(open_s, found, overlap=False) == pytest.approx(80.0)
    assert seconds_left(open_s, found, overlap=True) == pytest.approx(50.0)


def test_stems_that_nobody_measured_yet_take_four_times_the_mix() -> None:
    found = {("note", "mix"): Speed(10.0, 100.0)}

    assert seconds_left({("note", "stems"): 50.0}, found, overlap=False) == pytest.approx(20.0)


def test_while_a_speed_is_unknown_no_time_is_told() -> None:
    found = {("note", "mix"): Speed(10.0, 100.0)}

    assert seconds_left({("separation", "mix"): 1.0}, found, overlap=False) is None
    assert seconds_left({("separation", "mix"): 0.0}, found, overlap=False) == 0.0


# ---- in a run


def test_a_run_learns_what_its_lanes_took_and_the_next_one_tells_the_time(
    sandbox: QuickSandbox,
) -> None:
    hashes = sandbox.add_many(8)
    sandbox.script({one: "sleep:0.2" for one in hashes[:4]})
    sandbox.run("--stages", "note", "--limit", "4", "--threads", "2")

    (row,) = sandbox.sql("SELECT * FROM speeds WHERE scope = 'mix' AND stage = 'note'")
    sandbox.script({one: "sleep:0.2" for one in hashes})
    sandbox.run("--stages", "note")
    told = sandbox.events("time_left")

    assert (row["jobs"], row["device"], row["model"]) == (4, "cpu", None)
    assert row["audio_s"] == pytest.approx(0.4)
    assert row["lane_s"] >= 0.75  # four tracks, one after the other
    second = [one["left_s"] for one in told if one["left_s"] is not None]
    assert max(second) == pytest.approx(row["lane_s"], rel=0.01)  # four more, as long again


def test_tracks_side_by_side_share_the_time_of_their_lane(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(4)
    sandbox.script({f"separation:{one}": "sleep:0.5" for one in hashes})

    sandbox.run("--stages", "separation")

    (row,) = sandbox.sql("SELECT * FROM speeds")
    started, ended = (sandbox.events(kind)[0]["utc"] for kind in ("lane_started", "run_ended"))
    assert 2.0 <= row["lane_s"] <= _seconds_between(started, ended)


def _seconds_between(first: str, last: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def test_status_tells_the_budget_of_the_run_at_work(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(6)
    sandbox.script({one: "sleep:30" for one in hashes})
    running = sandbox.fork_run("--threads", "2", "--overlap")
    sandbox.wait_for_calls(1)

    status = sandbox.status()
    shown = sandbox.command("status", str(sandbox.dataset)).stdout
    running.kill()
    running.communicate()

    assert (status["run"]["threads"], status["run"]["overlap"]) == (2, True)
    assert status["run"]["stages"] == ["note", "separation"]
    assert "2 threads, separation beside the features)" in shown
