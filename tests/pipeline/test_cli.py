"""The commands as a user meets them: what they answer, and with which code they leave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.sandbox import Sandbox
from tests.zygote import QuickSandbox


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


def test_status_names_the_run_at_work_and_the_time_left(sandbox: QuickSandbox) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"
    sandbox.script({sha: "sleep:1" for sha in sandbox.add_many(4)})
    run = sandbox.fork_run()
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


def test_retry_reads_a_header_again_that_could_not_be_read_though_the_file_is_unchanged(
    sandbox: Sandbox,
) -> None:
    """What was mended is a limit, or the decoder: no scan can see that."""
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"
    sandbox.add("song.wav", seconds=1.0)
    assert sandbox.run("--set", "decode.max_duration_s=0.5").returncode == 1
    assert sandbox.jobs()["song.wav", "note", "mix"]["reason"] == "too_long"
    assert sandbox.run().returncode == 1, "without retry it is left"

    again = sandbox.command("retry", str(sandbox.dataset))
    done = sandbox.run()

    assert "1 job will be tried again" in again.stdout + again.stderr
    assert done.returncode == 0, done.stderr
    sandbox.check()
    job = sandbox.jobs()["song.wav", "note", "mix"]
    assert (job["state"], job["audio_s"]) == ("done", 1.0)
    manifest = json.loads((sandbox.out / "tracks/song.wav/note/manifest.json").read_text())
    source = {key: manifest["source"][key] for key in ("duration_s", "sample_rate_hz", "channels")}
    assert source == {"duration_s": 1.0, "sample_rate_hz": 8000, "channels": 1}


def test_retry_is_refused_while_a_run_works(sandbox: QuickSandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): "sleep:30"})
    run = sandbox.fork_run()
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


# In a mount namespace of its own, so that nothing has to be undone however the test ends.
WITH_A_DISK_AT = 'mount -t tmpfs -o size=1m none "$1" && shift && exec "$@"'


def test_an_output_folder_whose_parts_lie_on_several_disks_is_refused_with_code_4(
    sandbox: Sandbox,
) -> None:
    sandbox.add("song.wav")
    apart = sandbox.out / ".tmp"
    apart.mkdir(parents=True)
    unshare = ["unshare", "--mount", *(["-r"] if os.geteuid() else [])]
    mounted = [*unshare, "sh", "-c", WITH_A_DISK_AT, "sh", str(apart)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*mounted, "true"], check=False).returncode
    ):
        pytest.skip("this system lets nobody mount")

    done = subprocess.run(
        [*mounted, sys.executable, "-m", "pipeline", "run", str(sandbox.dataset)],
        env=sandbox.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 4, done.stderr
    assert f".tmp, .trash and tracks in {sandbox.out} are not on one file system" in done.stderr
    assert "Name another --out" in done.stderr
    assert "Traceback" not in done.stderr
    assert sandbox.calls().total() == 0


# The command line as a user calls it whom neither the environment nor the system gives a home.
HOMELESS = """
import pwd, sys

def unknown(user):
    raise KeyError(user)

pwd.getpwuid = unknown
from pipeline.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("model", "why"),
    [("htdemucs", "This user has no home folder"), ("~/mine", "There is no model, file or folder")],
)
def test_without_a_home_separation_is_blocked_and_nothing_ends_with_a_traceback(
    sandbox: Sandbox, model: str, why: str
) -> None:
    sandbox.add("song.wav")
    hidden = ("HOME", "NIGHTSHIFT_REGISTRY")
    environment = {key: value for key, value in sandbox.environment.items() if key not in hidden}
    arguments = ("run", str(sandbox.dataset), "--stages", "separation", "--model", model)

    done = subprocess.run(
        [sys.executable, "-c", HOMELESS, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 4, done.stderr
    assert f"blocked: separation: {why}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_of_a_run_is_json_when_asked(sandbox: Sandbox) -> None:
    sandbox.add("song.wav")

    report = json.loads(sandbox.run("--json").stdout)

    assert (report["exit_code"], report["done"], report["failed"], report["tracks"]) == (0, 3, 0, 1)
