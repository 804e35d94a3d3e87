"""`--overlap`: separation beside the features, stems passed on as they are published."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from pipeline.recovery import recover
from pipeline.threads import Share, share
from tests.zygote import QuickSandbox


def _order(sandbox: QuickSandbox) -> list[tuple[str, str]]:
    """Return stage and scope of every job, in the order in which they were done."""
    return [(one["stage"], one["scope"]) for one in sandbox.events("job_done")]


def test_stems_are_measured_while_others_are_still_separated(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(6)
    flag = sandbox.root / "go on"
    sandbox.script({f"separation:{hashes[-1]}": f"wait:{flag}"})
    running = sandbox.fork_run("--overlap")

    sandbox.wait_for_calls(1)
    sandbox.wait_for(lambda: sandbox.sql(_DONE_STEMS))
    still = sandbox.jobs()["t05.wav", "separation", "mix"]["state"]
    flag.touch()
    running.communicate(timeout=60)

    assert still != "done"
    assert running.returncode == 0
    assert {job["state"] for job in sandbox.jobs().values()} == {"done"}
    sandbox.check()


_DONE_STEMS = "SELECT 1 FROM jobs WHERE stage = 'note' AND scope = 'stems' AND state = 'done'"


def test_the_lane_of_the_features_gives_way_to_that_of_the_device(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(1)
    flag = sandbox.root / "go on"
    sandbox.script({one: f"wait:{flag}" for one in (hashes[0], f"separation:{hashes[0]}")})
    running = sandbox.fork_run("--overlap")

    sandbox.wait_for_calls(2)
    lanes = {one["lane"]: one["pid"] for one in sandbox.events("lane_started")}
    nice = {lane: psutil.Process(pid).nice() for lane, pid in lanes.items()}
    groups = {lane: _autogroup_nice(pid) for lane, pid in lanes.items()}
    flag.touch()
    running.communicate(timeout=60)

    assert nice["features"] == nice["separation"] + 5
    assert groups in ({"features": 5, "separation": 0}, {"features": None, "separation": None})


def _autogroup_nice(pid: int) -> int | None:
    """Return the nice value of a process's session, None where the kernel weighs no sessions."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])
    except OSError:
        return None


def test_a_suspect_has_the_machine_for_itself(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(8)
    once = sandbox.root / "once"
    once.touch()
    busy = {f"note:{one}": "sleep:0.5" for one in hashes}
    sandbox.script({**busy, f"separation:{hashes[3]}": f"once:{once}=segfault"})

    done = sandbox.run("--overlap")

    assert done.returncode == 0, done.stderr
    ((began, ended),) = _alone(sandbox)
    others = [
        one
        for one in sandbox.sql(_NOTES)
        if one["started_utc"] < ended and (one["ended_utc"] or "") > began
    ]
    assert others == []


_NOTES = (
    "SELECT started_utc, ended_utc FROM attempts JOIN jobs ON jobs.id = attempts.job_id "
    "WHERE jobs.stage = 'note'"
)


def _alone(sandbox: QuickSandbox) -> list[tuple[str, str]]:
    """Return when the track that killed its lane was separated at last."""
    rows = sandbox.sql(
        "SELECT started_utc, ended_utc FROM attempts JOIN jobs ON jobs.id = attempts.job_id "
        "JOIN paths ON paths.track_id = jobs.track_id "
        "WHERE jobs.stage = 'separation' AND shown = 't03.wav' AND outcome = 'done'"
    )
    return [(row["started_utc"], row["ended_utc"]) for row in rows]


def test_without_it_stems_are_measured_when_all_is_separated(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(3)
    sandbox.script({f"separation:{one}": "sleep:0.2" for one in hashes})

    sandbox.run()

    order = _order(sandbox)
    last_separation = max(n for n, one in enumerate(order) if one[0] == "separation")
    assert ("note", "stems") not in order[:last_separation]


def test_it_makes_the_same_outputs(sandbox: QuickSandbox, tmp_path: Path) -> None:
    sandbox.add_many(3)

    sandbox.run()
    in_turn = sandbox.outputs()
    sandbox.out = tmp_path / "beside"
    sandbox.command("run", str(sandbox.dataset), "--overlap", "--out", str(sandbox.out))

    assert sandbox.outputs() == in_turn  # the numeric path in each manifest, too
    sandbox.check()


def test_a_lane_that_dies_takes_nothing_from_the_one_beside_it(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(4)
    slow = {f"separation:{one}": "sleep:1.5" for one in hashes}
    sandbox.script({**slow, f"note:{hashes[1]}": "segfault"})

    done = sandbox.run("--overlap")

    assert done.returncode == 1
    failed = {key: job for key, job in sandbox.jobs().items() if job["state"] == "failed"}
    assert {path for path, _, _ in failed} == {"t01.wav"}
    assert {job["reason"] for job in failed.values()} == {"crash"}
    assert sandbox.counts("separation") == {"done": 4}
    assert {one["outcome"] for one in sandbox.sql(_ATTEMPTS_OF_SEPARATION)} == {"done"}
    sandbox.check()


_ATTEMPTS_OF_SEPARATION = (
    "SELECT outcome FROM attempts JOIN jobs ON jobs.id = attempts.job_id "
    "WHERE jobs.stage = 'separation'"
)


def test_recovery_of_one_lane_leaves_the_attempts_of_others_alone(sandbox: QuickSandbox) -> None:
    from pipeline.artifacts import TMP, OutputFolder, make_folders

    make_folders(sandbox.out)
    out = OutputFolder(sandbox.out)
    out.prepare()
    for name in ("dead", "alive"):
        (sandbox.out / TMP / name).mkdir()

    recover(out, only={"dead"})

    assert [one.name for one in (sandbox.out / TMP).iterdir()] == ["alive"]


def test_a_separation_that_cannot_start_ends_the_run_with_the_features_done(
    sandbox: QuickSandbox,
) -> None:
    sandbox.add_many(2)

    done = sandbox.run("--overlap", "--set", "separation.load=raise:blocked")

    assert done.returncode == 1
    assert sandbox.counts("note") == {"done": 2}
    assert sandbox.counts("separation") == {"blocked": 2}
    assert sandbox.counts("note", "stems") == {"waiting": 2}


def test_without_a_separation_there_is_nothing_to_overlap(sandbox: QuickSandbox) -> None:
    sandbox.add_many(2)

    done = sandbox.run("--overlap", "--stages", "note")

    assert done.returncode == 0, done.stderr
    assert sandbox.counts("note") == {"done": 2}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_in_the_middle_goes_on(sandbox: QuickSandbox, sent: signal.Signals) -> None:
    hashes = sandbox.add_many(6)
    sandbox.script({f"separation:{one}": "sleep:0.3" for one in hashes})
    running = sandbox.fork_run("--overlap")
    sandbox.wait_for(lambda: len(sandbox.lanes()) == 2)
    sandbox.wait_for_calls(8)

    running.send_signal(sent)
    running.communicate(timeout=60)
    sandbox.wait_until_gone()
    done = sandbox.run("--overlap")

    assert done.returncode == 0, done.stderr
    assert {job["state"] for job in sandbox.jobs().values()} == {"done"}
    sandbox.check()


def test_a_second_signal_ends_both_lanes_at_once(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(2)
    never = sandbox.root / "never"
    sandbox.script({one: f"wait:{never}" for one in (*hashes, f"separation:{hashes[0]}")})
    running = sandbox.fork_run("--overlap", "--set", "limits.grace_s=1000")
    sandbox.wait_for_calls(2)

    running.send_signal(signal.SIGTERM)
    sandbox.wait_for(lambda: sandbox.events("stopping"))
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)

    assert running.returncode == 143
    sandbox.wait_until_gone()


def test_a_lane_that_hangs_is_killed_and_the_one_beside_it_goes_on(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(3)
    sandbox.script({f"note:{hashes[1]}": "hang"})
    patience = ("--set", "limits.hang_base_s=3", "--set", "limits.hang_per_audio_s=0")

    done = sandbox.run("--overlap", *patience)

    assert done.returncode == 1
    ends = {key: (job["state"], job["reason"]) for key, job in sandbox.jobs().items()}
    assert ends.pop(("t01.wav", "note", "mix")) == ("failed", "hang")
    assert ends.pop(("t01.wav", "note", "stems")) == ("failed", "hang")
    assert {state for state, _ in ends.values()} == {"done"}
    sandbox.check()


def test_the_hour_of_until_ends_both_lanes(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(2)
    never = sandbox.root / "never"
    sandbox.script({one: f"wait:{never}" for one in (*hashes, f"separation:{hashes[0]}")})
    soon = datetime.now() + timedelta(seconds=6)

    done = sandbox.run("--overlap", "--until", f"{soon:%H:%M:%S}", "--set", "limits.grace_s=0")

    assert done.returncode == 0, done.stderr
    assert sandbox.events("time_is_up")
    assert set(sandbox.counts("note")) | set(sandbox.counts("separation")) == {"pending"}
    sandbox.wait_until_gone()


def test_a_limit_counts_tracks_of_both_lanes_once(sandbox: QuickSandbox) -> None:
    sandbox.add_many(5)

    done = sandbox.run("--overlap", "--limit", "2")

    assert done.returncode == 0, done.stderr
    by_kind = _done_by_kind(sandbox)
    assert set(by_kind.values()) == {2}


def _done_by_kind(sandbox: QuickSandbox) -> dict[tuple[str, str], int]:
    kinds = [
        (stage, scope)
        for (_, stage, scope), job in sandbox.jobs().items()
        if job["state"] == "done"
    ]
    return {kind: kinds.count(kind) for kind in kinds}


def test_how_lanes_share_the_machine() -> None:
    alone = [share(16, device_lane=device, beside=False) for device in (True, False)]

    assert alone == [Share(16), Share(16)]
    # The number of threads decides the last bits of a separation: it stays.
    assert share(16, device_lane=True, beside=True) == Share(16)
    assert share(16, device_lane=False, beside=True) == Share(16, nice=5)
