"""A lane whose stage takes a stream of tracks: each fails alone, several are under way at once."""

from __future__ import annotations

import json
import signal

import pytest

from tests.sandbox import Sandbox
from tests.zygote import QuickSandbox


def _ends(sandbox: Sandbox) -> dict[str, tuple[str, str | None]]:
    """Return state and reason of every separation, by track."""
    return {
        path: (job["state"], job["reason"])
        for (path, stage, scope), job in sandbox.jobs().items()
        if (stage, scope) == ("separation", "mix")
    }


def test_tracks_are_computed_together_and_published_each(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(6)
    # Slow enough that the next ones are opened meanwhile.
    sandbox.script({f"separation:{one}": "sleep:0.3" for one in hashes})

    done = sandbox.run()

    assert done.returncode == 0, done.stderr
    assert sandbox.together()
    assert set(_ends(sandbox).values()) == {("done", None)}
    sandbox.check()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise:track", "nonfinite"),
        ("finish@raise:track", "nonfinite"),
        ("raise:memory", "memory"),
        ("finish@raise:value", "error"),
    ],
)
def test_one_bad_track_among_neighbours_fails_alone_with_its_reason(
    sandbox: Sandbox, how: str, reason: str
) -> None:
    hashes = sandbox.add_many(6)
    sandbox.script({f"separation:{hashes[2]}": how})

    done = sandbox.run()

    assert done.returncode == 1
    ends = _ends(sandbox)
    assert ends.pop("t02.wav") == ("failed", reason)
    assert set(ends.values()) == {("done", None)}
    sandbox.check()


def test_a_file_that_cannot_be_opened_fails_before_it_is_taken(sandbox: Sandbox) -> None:
    sandbox.add_many(4)
    sandbox.add("t01.wav", seed=99, seconds=1)
    bad = sandbox.dataset / "t01.wav"
    bad.write_bytes(bad.read_bytes()[:8000])  # the header promises more

    sandbox.run()

    ends = _ends(sandbox)
    assert ends.pop("t01.wav") == ("failed", "truncated")
    assert set(ends.values()) == {("done", None)}


def test_a_track_that_kills_its_lane_is_found_among_those_under_way(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(6)
    sandbox.script({f"separation:{hashes[3]}": "segfault"})

    done = sandbox.run()

    assert done.returncode == 1
    ends = _ends(sandbox)
    assert ends.pop("t03.wav") == ("failed", "crash")
    assert set(ends.values()) == {("done", None)}
    assert not [event for event in sandbox.events("job_failed") if event["path"] != "t03.wav"]
    sandbox.check()


def test_waiting_to_be_published_is_no_hang(sandbox: Sandbox) -> None:
    """The last of four waits three times as long as it may be silent while it is worked on."""
    hashes = sandbox.add_many(4)
    sandbox.script({f"separation:{one}": "finish@sleep:2" for one in hashes})
    sandbox.environment["NIGHTSHIFT_LIMITS__HANG_BASE_S"] = "3"

    done = sandbox.run("--stages", "separation")

    assert done.returncode == 0, done.stderr
    assert not sandbox.events("lane_died")
    sandbox.check()


def test_a_thread_that_dies_takes_its_lane_with_it(sandbox: Sandbox) -> None:
    """What is raised there is no error of a track: the others would wait for the thread for ever."""
    hashes = sandbox.add_many(4)
    sandbox.script({f"separation:{hashes[1]}": "finish@raise:exit"})

    done = sandbox.run()

    assert done.returncode == 1
    ends = _ends(sandbox)
    assert ends.pop("t01.wav") == ("failed", "crash")
    assert set(ends.values()) == {("done", None)}
    sandbox.check()


def test_a_source_that_changes_under_way_is_thrown_away_and_done_anew(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(4)
    path, flag = sandbox.dataset / "t02.wav", sandbox.root / "touched"
    sandbox.script({f"separation:{hashes[2]}": f"touch:{path}={flag}"})

    done = sandbox.run()

    assert flag.exists()
    assert done.returncode == 0, done.stderr
    assert [event["path"] for event in sandbox.events("source_changed")] == ["t02.wav"]
    sandbox.check()


def test_a_full_disk_met_while_finishing_stops_the_run(sandbox: Sandbox) -> None:
    hashes = sandbox.add_many(3)
    sandbox.script({f"separation:{hashes[0]}": "finish@raise:full"})

    stopped = sandbox.run()

    assert stopped.returncode == 4
    assert "No space left on device" in stopped.stderr
    sandbox.script({})
    assert sandbox.run().returncode == 0
    sandbox.check()


def test_after_a_signal_tracks_that_are_under_way_are_finished(sandbox: QuickSandbox) -> None:
    hashes = sandbox.add_many(8)
    sandbox.script({f"separation:{one}": "sleep:0.4" for one in hashes})
    process = sandbox.fork_run("--stages", "separation")
    sandbox.wait_for(lambda: any(call.startswith("separation") for call in sandbox.calls()))

    process.send_signal(signal.SIGINT)

    process.communicate(timeout=30)
    assert process.returncode == 130
    states = [state for state, _ in _ends(sandbox).values()]
    assert 0 < states.count("done") < 8
    assert set(states) == {"done", "pending"}
    assert not list((sandbox.out / ".tmp").iterdir())
    assert sandbox.run().returncode == 0
    sandbox.check()


def test_what_a_stage_decides_for_the_machine_is_kept_and_recorded(sandbox: Sandbox) -> None:
    sandbox.add("a.wav")
    sandbox.script({"decides": "7"})

    assert sandbox.run("--stages", "separation").returncode == 0
    sandbox.script({"decides": "8"})
    sandbox.add("b.wav", seed=1)
    assert sandbox.run("--stages", "separation").returncode == 0

    # The second lane was told what the first had decided.
    folders = [sandbox.out / "tracks" / name / "separation" for name in ("a.wav", "b.wav")]
    paths = [json.loads((one / "manifest.json").read_text())["numeric_path"] for one in folders]
    assert [path["flavour of this machine"] for path in paths] == ["7", "7"]
