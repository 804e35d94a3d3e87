"""Whole runs that end before all is done, as asked: `--limit` and `--until`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from datetime import time as TimeOfDay
from pathlib import Path

import pytest

from pipeline import texts
from pipeline.cli import main
from pipeline.config import load
from pipeline.events import Event
from stages.base import JsonValue
from tests.here import begins, run_here, states
from tests.sandbox import Sandbox

# ---- --limit


def test_the_tracks_that_a_run_takes_up_go_through_every_lane_and_no_others(
    sandbox: Sandbox,
) -> None:
    sandbox.add_many(5)

    first = sandbox.run("--limit", "2")
    begun = {(one["path"], one["stage"], one["scope"]) for one in sandbox.events("job_done")}
    second = sandbox.run("--limit", "2", "--json")

    assert first.returncode == 0
    assert begun == {
        (path, stage, scope)
        for path in ("t00.wav", "t01.wav")
        for stage, scope in (("note", "mix"), ("separation", "mix"), ("note", "stems"))
    }
    assert "stopped as asked, after 2 tracks: 6 jobs done by this run; 3 tracks left." in (
        first.stderr
    )
    assert f"Go on with: pipeline run {sandbox.dataset}" in first.stderr
    # Tracks that are all done do not count.
    report = json.loads(second.stdout)
    assert (report["done"], report["left"], report["stopped_for"]) == (6, 1, "limit")
    assert sandbox.calls().total() == 12
    sandbox.check()


def test_limit_and_hour_that_are_not_reached_are_not_spoken_of(sandbox: Sandbox) -> None:
    sandbox.add_many(2)
    until = (datetime.now() + timedelta(hours=1)).strftime("%H:%M")

    done = sandbox.run("--limit", "2", "--until", until, "--stages", "note")

    assert done.returncode == 0
    assert "2 tracks: 2 jobs done by this run" in done.stderr
    assert "stopped" not in done.stderr


def test_a_track_whose_separation_is_open_counts_though_its_mix_features_are_done(
    sandbox: Sandbox,
) -> None:
    sandbox.add_many(3)
    sandbox.run("--stages", "note")
    sandbox.add("t99.wav", seed=99)

    sandbox.run("--limit", "2")

    done = {path for (path, stage, _), job in sandbox.jobs().items()
            if (stage, job["state"]) == ("separation", "done")}  # fmt: skip
    assert done == {"t00.wav", "t99.wav"}  # t99 was taken up for its mix features


def test_a_limited_run_does_not_read_the_whole_dataset_first(sandbox: Sandbox) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"
    sandbox.add_many(99)

    done = sandbox.run("--limit", "1", "--json")

    report = json.loads(done.stdout)
    assert (report["done"], report["stopped_for"]) == (1, "limit")
    assert report["unprobed"] >= 99 - 64
    assert report["left"] + report["unprobed"] == 98


def test_a_failed_track_counts_and_is_told_by_the_exit_code(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(3)
    sandbox.script({hashes[0]: "raise:track"})

    done = sandbox.run("--limit", "1", "--stages", "note")

    assert done.returncode == 1
    assert [state for _, state in states(sandbox)] == ["failed", "pending", "pending"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--limit", "0"),
        ("--limit", "-3"),
        ("--limit", "ten"),
        ("--until", "7"),
        ("--until", "25:00"),
        ("--until", "07:60"),
        ("--order", "loudest"),
        ("--set", "until=yesterday"),
    ],
)
def test_what_cannot_be_meant_is_refused(sandbox: Sandbox, wrong: tuple[str, str]) -> None:
    assert main(["run", str(sandbox.dataset), *wrong]) == 2


@pytest.mark.parametrize("written", ['"07:00"', "07:00:00"])
def test_the_settings_file_may_hold_them_and_options_win(tmp_path: Path, written: str) -> None:
    file = tmp_path / "night.toml"
    file.write_text(f'until = {written}\nlimit = 5\norder = "newest"\n', encoding="utf-8")
    environment = {"NIGHTSHIFT_LIMIT": "7"}

    found = load(tmp_path, file=file, overrides={"order": "path"}, environment=environment)

    assert (found.until, found.limit, found.order) == (TimeOfDay(7), 7, "path")


# ---- --until


UNTIL: dict[str, JsonValue] = {"until": "07:00"}


class Hour:
    """A deadline that a test moves: the seconds that are left."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def left_s(self) -> float:
        return self.seconds


@pytest.fixture
def hour(monkeypatch: pytest.MonkeyPatch) -> Hour:
    hour = Hour()
    monkeypatch.setattr("pipeline.allowance.Deadline", lambda until: hour)
    return hour


def test_nothing_is_begun_that_would_not_end_in_time(sandbox: Sandbox, hour: Hour) -> None:
    script = {sandbox.add(f"t{n}.wav", seed=n, seconds=2.0): "sleep:0.8" for n in range(3)}
    sandbox.add("t9.wav", seed=9, seconds=0.1)
    sandbox.script(script)
    sandbox.run("--limit", "1", "--stages", "note")
    hour.seconds = 0.9 * expected_s(sandbox)

    report = run_here(sandbox, lambda event: None, UNTIL)

    assert (report.exit_code, report.stopped_for, report.left) == (0, "until", 2)
    assert states(sandbox) == [
        ("t0.wav", "done"),
        ("t1.wav", "pending"),
        ("t2.wav", "pending"),
        ("t9.wav", "done"),  # it still fits
    ]
    assert "time_is_up" not in [one["event"] for one in sandbox.events()]
    said = texts.report(report, shown="music", out="out")
    assert "stopped as asked, to be over by 07:00: 1 job done by this run; 2 tracks left." in said
    assert "Go on with: pipeline run music" in said
    sandbox.check()


def test_what_is_in_hand_counts_against_the_time_that_is_left(sandbox: Sandbox, hour: Hour) -> None:
    script = {sandbox.add(f"t{n}.wav", seed=n, seconds=2.0): "sleep:0.8" for n in range(3)}
    sandbox.script(script)
    sandbox.run("--limit", "1", "--stages", "note")
    hour.seconds = 1.5 * expected_s(sandbox)  # enough for one, not for two
    begun: list[Event] = []

    def hear(event: Event) -> None:
        if begins(event):
            begun.append(event)
            hour.seconds = 0.9 * expected_s(sandbox)

    report = run_here(sandbox, hear, UNTIL)

    assert (report.exit_code, report.done, report.left) == (0, 1, 1)
    assert {event.facts["path"] for event in begun} == {"t1.wav"}
    assert sandbox.calls().total() == 2


def test_a_first_run_believes_what_its_own_tracks_took(sandbox: Sandbox, hour: Hour) -> None:
    script = {sandbox.add(f"t{n}.wav", seed=n, seconds=2.0): "sleep:0.5" for n in range(4)}
    sandbox.script(script)

    def hear(event: Event) -> None:
        if event.kind == "job_done":
            hour.seconds = 0.4

    report = run_here(sandbox, hear, UNTIL)

    # Two were taken up while nothing was known.
    assert (report.done, report.left, report.stopped_for) == (2, 2, "until")


def expected_s(sandbox: Sandbox) -> float:
    """Return what a track is expected to take that is as long as the one that is done."""
    (row,) = sandbox.sql(
        "SELECT max(wall_s / audio_s) * 2.0 AS wall_s FROM jobs WHERE state = 'done'"
    )
    return 1.1 * float(row["wall_s"])


@pytest.mark.parametrize(("work_s", "left"), [(60, 2), (1, 1)])
def test_when_the_hour_comes_what_is_short_is_finished_and_the_rest_is_lost_by_nobody(
    sandbox: Sandbox, hour: Hour, work_s: int, left: int
) -> None:
    sandbox.script({sandbox.add_many(2)[0]: f"sleep:{work_s}"})

    def hear(event: Event) -> None:
        if begins(event):
            hour.seconds = -1.0

    report = run_here(sandbox, hear, UNTIL | {"limits": {"grace_s": 2.5}})

    assert (report.exit_code, report.stopped_for, report.left) == (0, "until", left)
    assert [state for _, state in states(sandbox)].count("pending") == left
    assert len(sandbox.events("time_is_up")) == 1
    assert sandbox.sql("SELECT max(deaths) AS most FROM jobs") == [{"most": 0}]
    sandbox.check()


def test_the_hour_ends_a_run_by_the_clock_of_this_machine(sandbox: Sandbox) -> None:
    sandbox.script({sha: "sleep:60" for sha in sandbox.add_many(2)})
    until = (datetime.now() + timedelta(seconds=3)).strftime("%H:%M:%S")

    done = sandbox.run(
        "--stages", "note", "--until", until, "--set", "limits.grace_s=0.1", "--json"
    )

    report = json.loads(done.stdout)
    assert (done.returncode, report["stopped_for"], report["left"] + report["unprobed"]) == (
        0,
        "until",
        2,
    )
