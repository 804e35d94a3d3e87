"""The commands as a user meets them: what they answer, and with which code they leave."""

from __future__ import annotations

import json

import pytest

from tests.sandbox import Sandbox


@pytest.fixture
def done(sandbox: Sandbox) -> Sandbox:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"
    bad = sandbox.add("rock/a.wav", seed=1)
    sandbox.add("jazz/a.wav", seed=2)
    sandbox.script({bad: "raise:track"})
    sandbox.run()
    return sandbox


def test_status_json_has_the_keys_that_are_promised(sandbox: Sandbox) -> None:
    sandbox.add("song.wav")
    sandbox.run()

    status = sandbox.status()

    states = {"pending", "waiting", "running", "done", "failed", "blocked", "skipped", "stale"}
    assert set(status["stages"]["note"]["mix"]) == states
    assert {"total", "missing", "unreadable"} <= set(status["tracks"])
    assert {"dataset", "tracks", "stages", "run", "remaining_s"} <= set(status)
    assert status["run"] is None


def test_status_names_the_run_at_work_and_the_time_left(sandbox: Sandbox) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"
    sandbox.script({sha: "sleep:1" for sha in sandbox.add_many(4)})
    run = sandbox.start_run()
    sandbox.wait_for(lambda: sandbox.calls().total() >= 3)

    status = sandbox.status()

    assert status["run"]["pid"] == run.pid
    assert status["remaining_s"] > 0
    run.kill()
    run.communicate()
    assert sandbox.status()["run"] is None


def test_show_finds_a_track_by_path_by_its_end_and_by_its_hash(done: Sandbox) -> None:
    (track,) = [row for row in done.sql("SELECT * FROM tracks") if row["folder"] == b"jazz/a.wav"]

    for name in ("jazz/a.wav", "z/a.wav", track["sha256"][:8]):
        shown = json.loads(done.command("show", str(done.dataset), name, "--json").stdout)
        assert shown["sha256"] == track["sha256"]
        assert shown["jobs"][0]["features"]["mix"]["flavour"] == 0


def test_show_refuses_a_name_of_two_tracks_and_names_them(done: Sandbox) -> None:
    answer = done.command("show", str(done.dataset), "a.wav")

    assert answer.returncode == 2
    assert "2 tracks go by 'a.wav': jazz/a.wav, rock/a.wav" in answer.stderr


def test_a_failed_track_is_listed_with_its_reason_and_done_again_after_retry(done: Sandbox) -> None:
    listed = done.command("tracks", str(done.dataset), "--state", "failed")
    assert "rock/a.wav  [nonfinite: 3 of 100 samples are not finite]" in listed.stdout
    assert done.run().returncode == 1, "failures stay failures"

    done.script({})
    retried = done.command("retry", str(done.dataset), "--track", "rock/a.wav")

    assert "1 job will be tried again" in retried.stderr
    assert done.run().returncode == 0


def test_retry_is_refused_while_a_run_works(sandbox: Sandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): "sleep:30"})
    run = sandbox.start_run()
    sandbox.lane_pid()

    refused = sandbox.command("retry", str(sandbox.dataset))

    assert refused.returncode == 3
    assert f"is in use by pid {run.pid}" in refused.stderr
    run.kill()
    run.communicate()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nowhere"], "nowhere is no folder"),
        (["status", "."], "holds no ledger yet. Start with: pipeline run"),
        (["run", ".", "--stages", "dance"], "there is no stage dance. Stages: note, separation."),
        (["run", ".", "--device", "gpu"], "give auto, cpu, cuda, cuda:N or rocm"),
        (["run", ".", "--stems", "a", "--two-stems", "a"], "exclude each other"),
        (["run", ".", "--threads", "0"], "setting threads"),
        (["run", ".", "--bogus"], "--bogus"),
        (["tracks", ".", "--state", "odd"], "there is no such state"),
        (["run", ".", "list.txt"], "give `-` to read a list"),
    ],
)
def test_wrong_usage_is_answered_with_what_can_be_done_and_code_2(
    sandbox: Sandbox, arguments: list[str], said: str
) -> None:
    answer = sandbox.command(*arguments)

    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_reader_that_has_enough_ends_nothing_with_a_traceback(done: Sandbox) -> None:
    process = done.start("tracks", str(done.dataset))
    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=30)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_an_output_folder_on_a_network_file_system_is_refused_with_code_4(sandbox: Sandbox) -> None:
    """The table of mounts is the kernel's; what is checked here is the code and the words."""
    from pipeline.errors import Unfit
    from pipeline.surroundings import check

    mounts = sandbox.root / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {sandbox.dataset} nfs4 rw 0 0\n")

    with pytest.raises(Unfit, match=r"network file system \(nfs4\).*--out") as refused:
        check(sandbox.out, mounts=mounts)

    assert refused.value.exit_code == 4


def test_the_report_of_a_run_is_json_when_asked(sandbox: Sandbox) -> None:
    sandbox.add("song.wav")

    report = json.loads(sandbox.run("--json").stdout)

    assert (report["exit_code"], report["done"], report["failed"], report["tracks"]) == (0, 3, 0, 1)
