"""Several tracks at once in one lane: all at work, nobody blamed for another, the same outputs."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipeline.lane_room import Room, decoded_bytes
from pipeline.order import WorkOrder
from stages.base import JsonValue
from tests.sandbox import Sandbox
from tests.stages.sounds import song
from tests.zygote import QuickSandbox, Zygote

THREADS = 4


@pytest.fixture
def box(tmp_path: Path, zygote: Zygote) -> QuickSandbox:
    return QuickSandbox(tmp_path, zygote, registry="tests.fakes:SIDE_BY_SIDE")


def _done_utc(box: Sandbox) -> list[datetime]:
    return [datetime.fromisoformat(event["utc"]) for event in box.events("job_done")]


def test_as_many_tracks_are_worked_on_at_once_as_there_are_threads(box: Sandbox) -> None:
    box.script({f"note:{name}": "sleep:1" for name in box.add_many(2 * THREADS)})

    done = box.run("--stages", "note", "--threads", str(THREADS))

    assert done.returncode == 0, done.stderr
    first, *_, last = sorted(_done_utc(box))
    (ended,) = (datetime.fromisoformat(event["utc"]) for event in box.events("run_ended"))
    assert (ended - last).total_seconds() < 5.0  # threads without work leave, too
    # One after the other the last is done seven seconds after the first.
    assert (last - first).total_seconds() < 4.0
    walls_s = [row["wall_s"] for row in box.sql("SELECT wall_s FROM jobs")]
    # Each has its share of the lane's time: together they are what the lane took.
    assert 1.0 < sum(walls_s) < 5.0


def test_a_stage_that_cannot_do_several_at_once_has_the_main_thread_for_itself(
    box: Sandbox, tmp_path: Path
) -> None:
    names = box.add_many(6)
    notes, seconds = tmp_path / "notes", tmp_path / "seconds"
    box.script(
        {f"note:{name}": f"where:{notes}" for name in names}
        | {f"second:{name}": f"where:{seconds}" for name in names}
    )

    assert box.run("--threads", str(THREADS)).returncode == 0

    assert seconds.read_text().split() == ["MainThread"] * 6
    workers = set(notes.read_text().splitlines())
    assert "MainThread" not in workers
    box.check()


def test_only_the_track_that_kills_the_lane_is_blamed(box: Sandbox) -> None:
    names = box.add_many(5)
    # All are at work when it happens.
    box.script(
        {f"note:{name}": "sleep:0.5" for name in names} | {f"note:{names[2]}": "later:0.2=segfault"}
    )

    done = box.run("--stages", "note", "--threads", str(THREADS))

    assert done.returncode == 1
    states = {path: job["state"] for (path, _, _), job in box.jobs().items()}
    assert states == {f"t{n:02}.wav": "failed" if n == 2 else "done" for n in range(5)}
    deaths = box.sql("SELECT deaths FROM jobs WHERE deaths > 0")
    assert [row["deaths"] for row in deaths] == [2]
    box.check()


def test_a_track_that_hangs_among_others_is_the_one_that_fails(box: Sandbox) -> None:
    names = box.add_many(4)
    box.script({f"note:{names[1]}": "hang"})
    limits = ("--set", "limits.hang_base_s=1", "--set", "limits.hang_per_audio_s=0")

    done = box.run("--stages", "note", "--threads", "3", *limits)

    assert done.returncode == 1
    failed = [path for (path, _, _), job in box.jobs().items() if job["state"] == "failed"]
    assert failed == ["t01.wav"]


def test_what_waits_for_the_main_thread_does_not_hang(box: Sandbox) -> None:
    box.script({f"second:{name}": "sleep:0.7" for name in box.add_many(4)})
    limits = ("--set", "limits.hang_base_s=1.2", "--set", "limits.hang_per_audio_s=0")

    done = box.run("--threads", str(THREADS), *limits)

    assert done.returncode == 0, done.stderr


def test_a_stop_lets_all_finish_that_are_at_work(box: QuickSandbox) -> None:
    names = box.add_many(8)
    box.script({f"note:{name}": "sleep:0.5" for name in names})
    run = box.fork_run("--stages", "note", "--threads", "3")
    box.wait_for(lambda: sum(box.calls().values()) >= 3)

    run.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    run.communicate(timeout=30)

    assert run.returncode == 143
    assert time.monotonic() - stopped < 5.0  # it left by itself, and was not killed after a grace
    assert box.counts()["done"] >= 3
    assert "running" not in box.counts()
    box.script({})
    assert box.run("--stages", "note").returncode == 0
    assert box.counts()["done"] == 8
    box.check()


def test_the_outputs_are_the_same_with_one_thread_and_with_several(
    tmp_path: Path, stage_zygote: Zygote
) -> None:
    written: list[dict[str, bytes]] = []
    for threads in (1, 3):
        box = QuickSandbox(tmp_path / str(threads), stage_zygote, registry=None)
        for number in range(4):
            music = song(seconds=4.0 + number).samples * np.float32(1 - 0.2 * number)
            sf.write(box.dataset / f"t{number}.wav", music.T, 44_100, subtype="PCM_16")
        stages = "loudness,onsets,chroma,spectral"
        done = box.run("--stages", stages, "--threads", str(threads))
        assert done.returncode == 0, done.stderr
        manifests = [json.loads(file.read_text()) for file in box.out.glob("tracks/*/*/m*.json")]
        # What can decide bits is the libraries' number, and that is the same.
        assert {one["numeric_path"]["threads"] for one in manifests} == {1}
        files = sorted(box.out.glob("tracks/*/*/f*"))
        written.append({str(file.relative_to(box.out)): file.read_bytes() for file in files})

    assert len(written[0]) == 4 * 4 * 2
    assert written[0] == written[1]


def _order(source: Mapping[str, JsonValue], scope: str = "mix") -> WorkOrder:
    return WorkOrder(1, "", "", "", scope, (), None, source, ())


def test_a_track_takes_what_its_samples_take() -> None:
    facts: dict[str, JsonValue] = {"duration_s": 10.0, "sample_rate_hz": 1_000, "channels": 1}

    assert decoded_bytes(_order(facts)) == 40_000
    assert decoded_bytes(_order(facts, "stems")) == 8 * 40_000
    assert decoded_bytes(_order({**facts, "duration_s": None})) == 0


def test_what_does_not_fit_waits_and_what_is_too_large_goes_alone() -> None:
    room, order = Room(100), []

    def take(name: str, size: int) -> threading.Thread:
        def body() -> None:
            room.take(size)
            order.append(name)

        thread = threading.Thread(target=body)
        thread.start()
        time.sleep(0.05)
        return thread

    take("a", 60), take("b", 40)
    large, small = take("large", 500), take("small", 1)
    assert order == ["a", "b"]  # the small one comes after who was there first

    room.give_back(60)
    assert order == ["a", "b"]
    room.give_back(40)
    large.join(timeout=5)
    room.give_back(500)
    small.join(timeout=5)
    assert order == ["a", "b", "large", "small"]
