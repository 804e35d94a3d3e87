"""A thousand tracks through one real lane: its memory and its descriptors, and the supervisor's."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile as sf

from tests.models import write_model
from tests.sandbox import Sandbox

ALLOWED_BYTES = 50_000_000
EVERY_S = 0.1


@dataclass(frozen=True)
class Sample:
    """One look at the processes of a run."""

    done: int
    lane_pid: int
    lane_bytes: int
    lane_descriptors: int
    supervisor_bytes: int
    supervisor_descriptors: int


def _add_music(box: Sandbox, count: int, *, longest_s: float, rate: int) -> None:
    """Write tracks of 40 to 100 % of the length, of a few tones each, no two alike."""
    for number in range(count):
        chance = np.random.default_rng(number)
        times_s = np.arange(round(longest_s * chance.uniform(0.4, 1.0) * rate)) / rate
        tones = np.sin(2 * np.pi * chance.uniform(60, 5000, (4, 1)) * times_s)
        folder = box.dataset / f"{number // 100}"
        folder.mkdir(exist_ok=True)
        stereo = np.stack([tones[:3].sum(axis=0), tones[1:].sum(axis=0)], axis=1)
        sf.write(folder / f"{number:04}.wav", 0.2 * stereo, rate, subtype="PCM_16")


def _samples(run: subprocess.Popen[str], box: Sandbox, stage: str) -> Iterator[Sample]:
    """Look at a run again and again, until it ends."""
    supervisor = psutil.Process(run.pid)
    log: Path | None = None
    read, done = 0, 0
    while run.poll() is None:
        time.sleep(EVERY_S)
        log = log or next((box.out / "logs").glob("run-*.jsonl"), None)
        if log is None:
            continue
        with log.open("rb") as stream:
            stream.seek(read)
            new = stream.read()
        read += len(new)
        done += sum(
            b'"job_done"' in line and f'"{stage}"'.encode() in line for line in new.split(b"\n")
        )
        try:
            (lane,) = [one for one in supervisor.children() if "pipeline.lane" in one.cmdline()]
            yield Sample(
                done,
                lane.pid,
                lane.memory_info().rss,
                lane.num_fds(),
                supervisor.memory_info().rss,
                supervisor.num_fds(),
            )
        except (psutil.Error, ValueError):
            continue  # no lane yet, or no more


def _grown(samples: list[Sample], *, first: int, last: int) -> dict[str, tuple[int, int]]:
    """Return memory and descriptors around the first and the last track.

    Of the memory the most; of the descriptors the fewest, as files are opened and closed all the time.
    """
    early = [one for one in samples if first <= one.done < first * 1.5]
    late = [one for one in samples if one.done >= last * 0.95]
    assert len(early) >= 3
    assert len(late) >= 3
    assert {one.lane_pid for one in early} == {one.lane_pid for one in late}
    return {
        f"{process}_{what}": (
            of(getattr(one, f"{process}_{what}") for one in early),
            of(getattr(one, f"{process}_{what}") for one in late),
        )
        for process in ("lane", "supervisor")
        for what, of in (("bytes", max), ("descriptors", min))
    }


def _long_run(box: Sandbox, stage: str, tracks: int, *, first: int) -> None:
    """Take the tracks through one stage, and hold the end against the beginning."""
    started = time.monotonic()
    run = box.start_run("--stages", stage, "--json")
    samples = list(_samples(run, box, stage))
    stdout, stderr = run.communicate()
    assert run.returncode == 0, stderr
    assert json.loads(stdout)["done"] == tracks

    found = _grown(samples, first=first, last=tracks)

    told = ", ".join(
        f"{name} {early / 1e6:.1f} -> {late / 1e6:.1f} MB"
        if "bytes" in name
        else f"{name} {early} -> {late}"
        for name, (early, late) in found.items()
    )
    print(
        f"\n{tracks} tracks through {stage} in {time.monotonic() - started:.0f} s; at track {first} "
        f"and at the end: {told}",
        flush=True,
    )
    for name, (early, late) in found.items():
        assert late - early <= (ALLOWED_BYTES if "bytes" in name else 0), name


@pytest.mark.timeout(240)
def test_a_thousand_tracks_leave_a_lane_as_it_was_at_the_hundredth(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, registry=None)
    _add_music(box, 1000, longest_s=5.0, rate=22_050)

    _long_run(box, "loudness", 1000, first=100)


@pytest.mark.timeout(240)
def test_a_hundred_separations_leave_a_lane_as_it_was_at_the_tenth(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, registry=None)
    model = write_model(tmp_path / "small.safetensors")
    box.environment["NIGHTSHIFT_SEPARATION__MODEL"] = str(model)
    _add_music(box, 100, longest_s=1.5, rate=44_100)

    _long_run(box, "separation", 100, first=10)
