"""Whole runs with fake stages: each sentence of the design about supervisor and lanes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pipeline import supervisor
from tests.here import run_here
from tests.sandbox import Sandbox
from tests.zygote import QuickSandbox


def test_a_first_run_does_everything_and_a_second_starts_no_lane_and_says_so(
    sandbox: Sandbox,
) -> None:
    sandbox.add_many(3)

    first = sandbox.run()
    second = sandbox.run()

    assert (first.returncode, second.returncode) == (0, 0)
    assert "9 jobs done by this run" in first.stderr
    assert "nothing to do: 3 tracks, all done. No lane was started." in second.stderr
    assert [event["lane"] for event in sandbox.events("lane_started")] == [
        "features",
        "separation",
        "features",
    ]
    assert sandbox.calls().total() == 9
    sandbox.check()


def test_a_run_goes_mix_features_then_separation_then_stem_features(sandbox: Sandbox) -> None:
    sandbox.add_many(2)

    sandbox.run()

    done = [(event["stage"], event["scope"]) for event in sandbox.events("job_done")]
    assert done == [("note", "mix")] * 2 + [("separation", "mix")] * 2 + [("note", "stems")] * 2


def test_a_run_is_over_when_its_last_lane_is_gone(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_TURN_S", 60.0)
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"  # its only pass is its last
    sandbox.add("song.wav")
    heard: list[tuple[str, float]] = []

    run_here(sandbox, lambda event: heard.append((event.kind, time.monotonic())), {})

    kinds, times_s = zip(*heard, strict=True)
    assert (kinds[-1], "job_done" in kinds) == ("run_ended", True)
    assert times_s[-1] - times_s[0] < 60.0  # it waited for nobody to be heard


def test_an_empty_folder_is_no_error(sandbox: Sandbox) -> None:
    done = sandbox.run()

    assert done.returncode == 0
    assert "no audio was found in" in done.stderr


def test_stem_features_come_from_the_stems(sandbox: Sandbox) -> None:
    sandbox.add("song.wav")

    sandbox.run()

    track = sandbox.out / "tracks/song.wav"
    mix = json.loads((track / "note/features.json").read_text())["mix"]["peak"]
    stems = json.loads((track / "stems/note/features.json").read_text())
    assert set(stems) == {"drums", "rest"}
    assert stems["drums"]["peak"] == pytest.approx(mix * 0.25, abs=1e-6)


# ---- deaths


@pytest.mark.parametrize(
    ("behaviour", "signal_name"),
    [
        ("segfault", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("exit:0", "exit status 0"),
        ("kill", "SIGKILL"),
    ],
)
def test_a_track_that_ends_its_lane_twice_fails_and_the_night_goes_on(
    sandbox: Sandbox, behaviour: str, signal_name: str
) -> None:
    hashes = sandbox.add_many(4)
    sandbox.script({f"note:{hashes[1]}": f"later:0.5={behaviour}"})

    done = sandbox.run("--stages", "note")

    assert done.returncode == 1
    assert sandbox.counts() == {"done": 3, "failed": 1}
    job = sandbox.jobs()["t01.wav", "note", "mix"]
    assert (job["reason"], job["deaths"]) == ("crash", 2)
    assert signal_name in job["detail"]
    # With a neighbour in hand it is only a suspect; then twice alone.
    outcomes = [
        row["outcome"]
        for row in sandbox.sql(f"SELECT outcome FROM attempts WHERE job_id = {job['id']}")
    ]
    assert outcomes == ["suspect", "death", "death"]
    sandbox.check()


def test_a_neighbour_of_a_killer_is_suspected_run_alone_and_never_blamed(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(3)
    sandbox.script({f"note:{hashes[1]}": "later:0.5=segfault"})

    sandbox.run("--stages", "note")

    jobs = sandbox.jobs()
    suspects = sandbox.sql("SELECT DISTINCT job_id FROM attempts WHERE outcome = 'suspect'")
    assert {row["job_id"] for row in suspects} == {
        jobs[f"t0{number}.wav", "note", "mix"]["id"] for number in (1, 2)
    }
    assert [jobs[f"t0{number}.wav", "note", "mix"]["deaths"] for number in range(3)] == [0, 2, 0]


def test_the_tail_of_what_a_dying_lane_printed_is_kept(sandbox: Sandbox) -> None:
    sha = sandbox.add("song.wav")
    sandbox.script({sha: "segfault"})

    # Started anew: below what a forked lane prints of its stack would be the supervisor's.
    sandbox.start_run("--stages", "note").communicate(timeout=60)

    assert "SIGSEGV during note" in sandbox.jobs()["song.wav", "note", "mix"]["detail"]
    deaths = sandbox.sql("SELECT signal, phase, detail FROM attempts WHERE outcome = 'death'")
    assert {(death["signal"], death["phase"]) for death in deaths} == {("SIGSEGV", "note")}
    assert "Segmentation fault" in deaths[0]["detail"]  # faulthandler's


def test_one_death_by_bad_luck_is_forgiven(sandbox: Sandbox) -> None:
    sha = sandbox.add("song.wav")
    flag = sandbox.root / "flag"
    flag.touch()
    sandbox.script({f"note:{sha}": f"once:{flag}=segfault"})

    done = sandbox.run()

    assert done.returncode == 0
    assert sandbox.counts() == {"done": 1}
    sandbox.check()


def test_a_stage_that_raises_fails_its_track_with_the_reason(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(4)
    sandbox.script({hashes[0]: "raise:track", hashes[1]: "raise:value", hashes[2]: "raise:memory"})

    done = sandbox.run("--stages", "note")

    jobs = sandbox.jobs()
    told = [
        (jobs[f"t0{n}.wav", "note", "mix"]["reason"], jobs[f"t0{n}.wav", "note", "mix"]["detail"])
        for n in range(3)
    ]
    assert told == [
        ("nonfinite", "3 of 100 samples are not finite"),
        ("error", "ValueError: a bug"),
        ("memory", "out of memory: no room"),
    ]
    assert done.returncode == 1
    assert "failed: t00.wav: note (mix): nonfinite: 3 of 100 samples are not finite" in done.stderr
    assert len(sandbox.events("lane_started")) == 1


def test_a_failed_separation_skips_the_stems_and_no_mix_feature(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(2)
    sandbox.script({f"separation:{hashes[0]}": "raise:track"})

    sandbox.run()

    assert sandbox.counts("note", "mix") == {"done": 2}
    assert sandbox.counts("separation", "mix") == {"done": 1, "failed": 1}
    assert sandbox.counts("note", "stems") == {"done": 1, "skipped": 1}


def test_garbage_on_stdout_is_drained_and_harms_nothing(sandbox: Sandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): f"print:{64 << 20}"})

    assert sandbox.run("--stages", "note").returncode == 0
    sandbox.check()


# ---- blocked


def test_a_stage_that_cannot_load_is_blocked_once_and_the_others_go_on(sandbox: Sandbox) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:TWO"
    sandbox.add_many(3)

    done = sandbox.run("--set", "second.load=raise:blocked")

    assert done.returncode == 1
    assert done.stderr.count("The weights are missing. Fetch them") == 1
    assert sandbox.counts("note") == {"done": 3}
    assert sandbox.counts("second") == {"blocked": 3}


def test_a_missing_library_blocks_its_stage_and_names_the_install_line(sandbox: Sandbox) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:TWO"
    sandbox.add("song.wav")

    done = sandbox.run("--set", "second.load=raise:import")

    assert 'pip install -c constraints.txt -e ".[features]"' in done.stderr
    assert sandbox.counts("note") == {"done": 1}


def test_a_stage_that_kills_the_process_while_loading_is_blocked_and_the_others_go_on(
    sandbox: Sandbox,
) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:TWO"
    sandbox.add_many(2)

    done = sandbox.run("--set", "second.load=segfault")

    assert done.returncode == 1
    assert sandbox.counts("note") == {"done": 2}
    assert sandbox.counts("second") == {"blocked": 2}
    assert len(sandbox.events("lane_died")) == 2


def test_when_no_stage_could_start_the_exit_code_is_4(sandbox: Sandbox) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"
    sandbox.add("song.wav")

    assert sandbox.run("--set", "note.load=raise:blocked").returncode == 4


def test_a_blocked_stage_goes_on_when_it_is_mended(sandbox: Sandbox) -> None:
    sandbox.add("song.wav")
    sandbox.run("--set", "separation.load=raise:blocked")
    assert sandbox.counts("note", "stems") == {"waiting": 1}

    assert sandbox.run().returncode == 0

    assert sandbox.counts("note", "stems") == {"done": 1}


# ---- hangs


def test_a_hang_without_cpu_fails_the_track_at_the_soft_limit(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(3)
    sandbox.script({hashes[1]: "hang"})

    done = sandbox.run("--stages", "note", "--set", "limits.hang_base_s=2")

    assert done.returncode == 1
    assert sandbox.counts() == {"done": 2, "failed": 1}
    assert sandbox.jobs()["t01.wav", "note", "mix"]["reason"] == "hang"
    assert sandbox.sql("SELECT deaths FROM jobs WHERE deaths > 0") == []
    sandbox.check()


def test_a_hang_that_burns_cpu_fails_only_at_the_hard_limit(sandbox: Sandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): "spin"})
    started = time.monotonic()

    sandbox.run(
        "--stages", "note", "--set", "limits.hang_base_s=1", "--set", "limits.hang_per_audio_s=0"
    )

    assert time.monotonic() - started > 5
    assert sandbox.jobs()["song.wav", "note", "mix"]["reason"] == "hang"


def test_a_failure_that_may_pass_is_tried_once_more_by_the_next_run_and_then_left(
    sandbox: Sandbox,
) -> None:
    sha = sandbox.add("song.wav")
    sandbox.script({sha: "raise:unread"})
    for _ in range(3):
        sandbox.run("--stages", "note")

    assert sandbox.calls()[f"note mix {_whole(sandbox, sha)}"] == 2

    sandbox.script({})
    assert sandbox.command("retry", str(sandbox.dataset)).returncode == 0
    assert sandbox.run("--stages", "note").returncode == 0


def _whole(sandbox: Sandbox, sha: str) -> str:
    (row,) = sandbox.sql(f"SELECT sha256 FROM tracks WHERE sha256 LIKE '{sha}%'")
    return str(row["sha256"])


def test_a_stopped_supervisor_takes_no_lane_for_hanging(sandbox: QuickSandbox) -> None:
    """SIGSTOP both for longer than the limit, then SIGCONT: nobody is blamed."""
    sandbox.script({sandbox.add("song.wav"): "sleep:3"})
    run = sandbox.fork_run("--stages", "note", "--set", "limits.hang_base_s=2")
    lane = sandbox.lane_pid()
    sandbox.wait_for(lambda: sandbox.calls().total())

    for pid in (run.pid, lane):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    for pid in (lane, run.pid):
        os.kill(pid, signal.SIGCONT)
    run.communicate()

    assert run.returncode == 0
    assert sandbox.counts() == {"done": 1}


# ---- processes


def test_a_killed_supervisor_takes_its_lane_with_it_within_a_second(sandbox: Sandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): "sleep:30"})
    run = sandbox.start_run()
    sandbox.lane_pid()

    run.kill()
    run.communicate()

    sandbox.wait_for(lambda: not sandbox.processes(), timeout_s=1)


def test_a_lane_asks_to_be_the_one_that_the_kernel_kills(sandbox: QuickSandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): "sleep:30"})
    run = sandbox.fork_run()
    lane = sandbox.lane_pid()

    score = sandbox.wait_for(lambda: int(Path(f"/proc/{lane}/oom_score_adj").read_text()))

    assert score == 500
    assert int(Path(f"/proc/{run.pid}/oom_score_adj").read_text()) != 500
    run.kill()
    run.communicate()


def test_the_lane_gets_its_thread_budget_before_anything_is_imported(sandbox: Sandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): "sleep:30"})
    run = sandbox.start_run("--threads", "1")
    lane = psutil.Process(sandbox.lane_pid())

    environment = lane.environ()

    assert {
        environment[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    } == {"1"}
    run.kill()
    run.communicate()


def test_the_supervisor_loads_no_heavy_library(sandbox: Sandbox) -> None:
    del sandbox.environment["NIGHTSHIFT_REGISTRY"]  # the fake stages import NumPy themselves
    for number in range(10):
        sandbox.add(f"{number}.wav", seed=number, seconds=5)
    run = sandbox.start_run()
    sandbox.lane_pid()

    maps = Path(f"/proc/{run.pid}/maps").read_text()

    assert not [name for name in ("numpy", "sndfile", "scipy", "torch", "soxr") if name in maps]
    run.kill()
    run.communicate()


def test_a_lane_that_grows_beyond_its_bound_is_recycled_and_loses_nothing(sandbox: Sandbox) -> None:
    sandbox.add_many(3)

    done = sandbox.run("--stages", "note", "--set", "limits.lane_bytes=1000000")

    assert done.returncode == 0
    assert len(sandbox.events("lane_recycled")) >= 1
    assert len(sandbox.events("lane_started")) >= 2
    assert sandbox.calls().total() == 3
    sandbox.check()


def test_a_run_whose_lock_file_is_deleted_stops_before_it_publishes(sandbox: Sandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): f"unlock:{sandbox.out / 'run.lock'}"})

    done = sandbox.run()

    assert done.returncode == 4
    assert "was deleted or replaced while this run held it" in done.stderr
    assert not (sandbox.out / "tracks/song.wav").exists()
    sandbox.script({})
    assert sandbox.run().returncode == 0
    sandbox.check()


def test_a_full_disk_stops_the_run_and_fails_no_track(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(3)
    sandbox.script({hashes[1]: "raise:full"})

    done = sandbox.run("--stages", "note")

    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    assert sandbox.sql("SELECT * FROM jobs WHERE state = 'failed'") == []
    sandbox.script({})
    assert sandbox.run("--stages", "note").returncode == 0
    sandbox.check()


# ---- signals


@pytest.mark.parametrize(("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_finishes_what_is_short_and_leaves_resumable(
    sandbox: QuickSandbox, asked: signal.Signals, code: int
) -> None:
    sandbox.script({sha: "sleep:0.5" for sha in sandbox.add_many(6)})
    run = sandbox.fork_run("--stages", "note")
    sandbox.wait_for(lambda: sandbox.calls().total() >= 2)

    run.send_signal(asked)
    _, stderr = run.communicate(timeout=20)

    assert run.returncode == code
    assert "Resume with: pipeline run" in stderr
    assert sandbox.counts()["done"] >= 2
    assert "failed" not in sandbox.counts()
    assert sandbox.run("--stages", "note").returncode == 0
    assert sandbox.calls().total() == 6  # what was in hand was finished, not done twice
    sandbox.check()


def test_what_is_not_short_is_abandoned_after_the_grace(sandbox: QuickSandbox) -> None:
    sandbox.script({sandbox.add("song.wav"): "sleep:60"})
    run = sandbox.fork_run("--stages", "note", "--set", "limits.grace_s=0.5")
    sandbox.wait_for(lambda: sandbox.calls().total())
    started = time.monotonic()

    run.send_signal(signal.SIGINT)
    run.communicate(timeout=20)

    assert run.returncode == 130
    assert time.monotonic() - started < 5
    assert sandbox.counts() == {"pending": 1}
    assert sandbox.processes() == []


def test_a_run_outlives_its_terminal(sandbox: Sandbox) -> None:
    """stderr closed and SIGHUP, as when an ssh session ends."""
    sandbox.script({sha: "sleep:0.3" for sha in sandbox.add_many(3)})
    run = sandbox.start_run("--stages", "note")
    sandbox.lane_pid()
    assert run.stderr is not None

    run.stderr.close()
    run.send_signal(signal.SIGHUP)
    run.wait(timeout=30)
    assert run.stdout is not None
    run.stdout.close()

    assert sandbox.counts() == {"done": 3}


# ---- interruptions


def test_interruptions_are_attempts_and_no_deaths_and_three_send_the_track_to_the_end(
    sandbox: QuickSandbox,
) -> None:
    hashes = sandbox.add_many(4)
    sandbox.script({hashes[0]: "sleep:60"})
    for _ in range(3):
        run = sandbox.fork_run("--stages", "note")
        started = sandbox.calls().total()
        sandbox.wait_for_calls(started + 1)
        run.kill()
        run.communicate()
        sandbox.wait_until_gone()
    sandbox.script({})
    sandbox.forget_calls()

    assert sandbox.run("--stages", "note").returncode == 0

    job = sandbox.jobs()["t00.wav", "note", "mix"]
    assert job["deaths"] == 0
    order = [row["path"] for row in sandbox.events("job_done")]
    # The one that was decoded ahead shares its fate.
    assert order == ["t02.wav", "t03.wav", "t00.wav", "t01.wav"]


# ---- the probe, and the disk


def test_a_probe_that_hangs_is_killed_and_the_file_is_asked_again(sandbox: QuickSandbox) -> None:
    sandbox.environment["NIGHTSHIFT_REGISTRY"] = "tests.fakes:ONE"
    sandbox.add_many(2)
    run = sandbox.fork_run("--set", "limits.hang_base_s=1.5")
    probe = sandbox.wait_for(lambda: sandbox.called("pipeline.probe"))[0]
    os.kill(probe, signal.SIGSTOP)

    run.communicate(timeout=60)

    assert run.returncode == 0
    assert sandbox.counts() == {"done": 2}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("kilobytes", [200, 260, 340])
def test_a_disk_that_is_really_full_stops_the_run_with_code_4_and_no_traceback(
    sandbox: Sandbox, kilobytes: int
) -> None:
    sandbox.add_many(40)
    out = sandbox.root / "small disk"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(out)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        done = sandbox.run("--out", str(out), "--stages", "note")
    finally:
        subprocess.run(["umount", str(out)], check=True)

    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert "finished work is kept" in done.stderr
