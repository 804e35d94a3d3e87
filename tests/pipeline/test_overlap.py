"""`--overlap`: separation beside the features, stems passed on as they are published."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from pipeline.recovery import recover
from pipeline.threads import Share, share
from tests.sandbox import Sandbox


def _order(sandbox: Sandbox) -> list[tuple[str, str]]:
    """Return stage and scope of every job, in the order in which they were done."""
    return [(one["stage"], one["scope"]) for one in sandbox.events("job_done")]


def _without_threads(outputs: dict[str, Any]) -> dict[str, Any]:
    for manifest in outputs.values():
        if isinstance(manifest, dict):
            manifest["numeric_path"].pop("threads")
    return outputs


def test_stems_are_measured_while_others_are_still_separated(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(6)
    sandbox.script({f"separation:{one}": "sleep:0.4" for one in hashes})

    done = sandbox.run("--overlap")

    assert done.returncode == 0, done.stderr
    order = _order(sandbox)
    last_separation = max(n for n, one in enumerate(order) if one[0] == "separation")
    assert ("note", "stems") in order[:last_separation]
    assert order.index(("note", "mix")) < order.index(("separation", "mix"))
    sandbox.check()


def test_without_it_stems_are_measured_when_all_is_separated(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(3)
    sandbox.script({f"separation:{one}": "sleep:0.2" for one in hashes})

    sandbox.run()

    order = _order(sandbox)
    last_separation = max(n for n, one in enumerate(order) if one[0] == "separation")
    assert ("note", "stems") not in order[:last_separation]


def test_it_makes_the_same_outputs(sandbox: Sandbox, tmp_path: Any) -> None:
    sandbox.add_many(3)

    sandbox.run()
    beside = tmp_path / "beside"
    sandbox.command("run", str(sandbox.dataset), "--overlap", "--out", str(beside))

    in_turn = _without_threads(sandbox.outputs())
    sandbox.out = beside
    assert _without_threads(sandbox.outputs()) == in_turn
    sandbox.check()


def test_a_lane_that_dies_takes_nothing_from_the_one_beside_it(sandbox: Sandbox) -> None:
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


def test_recovery_of_one_lane_leaves_the_attempts_of_others_alone(sandbox: Sandbox) -> None:
    from pipeline.artifacts import TMP, OutputFolder, make_folders

    make_folders(sandbox.out)
    out = OutputFolder(sandbox.out)
    out.prepare()
    for name in ("dead", "alive"):
        (sandbox.out / TMP / name).mkdir()

    recover(out, only={"dead"})

    assert [one.name for one in (sandbox.out / TMP).iterdir()] == ["alive"]


def test_a_separation_that_cannot_start_ends_the_run_with_the_features_done(
    sandbox: Sandbox,
) -> None:
    sandbox.add_many(2)

    done = sandbox.run("--overlap", "--set", "separation.load=raise:blocked")

    assert done.returncode == 1
    assert sandbox.counts("note") == {"done": 2}
    assert sandbox.counts("separation") == {"blocked": 2}
    assert sandbox.counts("note", "stems") == {"waiting": 2}


def test_without_a_separation_there_is_nothing_to_overlap(sandbox: Sandbox) -> None:
    sandbox.add_many(2)

    done = sandbox.run("--overlap", "--stages", "note")

    assert done.returncode == 0, done.stderr
    assert sandbox.counts("note") == {"done": 2}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_in_the_middle_goes_on(sandbox: Sandbox, sent: signal.Signals) -> None:
    hashes = sandbox.add_many(6)
    sandbox.script({f"separation:{one}": "sleep:0.3" for one in hashes})
    running = sandbox.start_run("--overlap")
    sandbox.wait_for(lambda: len(sandbox.lanes()) == 2)
    sandbox.wait_for_calls(8)

    running.send_signal(sent)
    running.communicate(timeout=60)
    sandbox.wait_until_gone()
    done = sandbox.run("--overlap")

    assert done.returncode == 0, done.stderr
    assert {job["state"] for job in sandbox.jobs().values()} == {"done"}
    sandbox.check()


def test_a_limit_counts_tracks_of_both_lanes_once(sandbox: Sandbox) -> None:
    sandbox.add_many(5)

    done = sandbox.run("--overlap", "--limit", "2")

    assert done.returncode == 0, done.stderr
    by_kind = _done_by_kind(sandbox)
    assert set(by_kind.values()) == {2}


def _done_by_kind(sandbox: Sandbox) -> dict[tuple[str, str], int]:
    kinds = [
        (stage, scope)
        for (_, stage, scope), job in sandbox.jobs().items()
        if job["state"] == "done"
    ]
    return {kind: kinds.count(kind) for kind in kinds}


def test_how_lanes_share_the_machine() -> None:
    alone = [share(16, device_lane=device, beside=False) for device in (True, False)]

    assert alone == [Share(16), Share(16)]
    assert share(16, device_lane=True, beside=True) == Share(8)
    assert share(1, device_lane=True, beside=True) == Share(1)
    # The others take what it leaves: all threads, at a lower priority.
    assert share(16, device_lane=False, beside=True) == Share(16, nice=5)
