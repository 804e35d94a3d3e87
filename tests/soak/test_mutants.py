"""A night of a thousand damaged files: a lane may die of one, the night may not.

make soak
MUTANTS_SEED=123 make soak     # other mutants than those of every day
"""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stages.base import Reason
from stages.ffmpeg import find_ffmpeg
from tests.sandbox import Sandbox
from tests.zoo.mutate import FORMATS, mutants

SEED = int(os.environ.get("MUTANTS_SEED", "0"))
PER_FORMAT = 100

# Without news of any job, on a machine with other work: some die twice, and each time a lane starts.
LONGEST_S = 10.0

# Bugs of ours, or of an environment that is sound here.
_NEVER = {Reason.ERROR, Reason.HANG, Reason.IO, Reason.STEMS_GONE}


def _add_mutants(box: Sandbox, scratch: Path) -> int:
    contents: set[bytes] = set()
    for kind in FORMATS:
        (box.dataset / kind).mkdir()
        for name, content in mutants(scratch, kind, count=PER_FORMAT, seed=SEED):
            (box.dataset / kind / name).write_bytes(content)
            contents.add(content)
    return len(contents)


def _outcomes(box: Sandbox) -> dict[str, Counter[str]]:
    """Return for each format how often its mutants came to which end."""
    ends: dict[str, Counter[str]] = {kind: Counter() for kind in FORMATS}
    for row in _jobs(box):
        ends[row["shown"].split("/")[0]][row["reason"] or row["state"]] += 1
    return ends


def _jobs(box: Sandbox) -> list[dict[str, Any]]:
    return box.sql(
        "SELECT paths.shown, jobs.state, jobs.reason, jobs.detail FROM jobs "
        "JOIN paths ON paths.track_id = jobs.track_id WHERE jobs.scope = 'mix' "
        "AND jobs.stage = 'loudness'"
    )


def _longest_s(box: Sandbox) -> float:
    """Return the longest time between two things that the run told."""
    times = [datetime.fromisoformat(event["utc"]) for event in box.events()]
    return max((after - before).total_seconds() for before, after in pairwise(times))


@pytest.mark.timeout(240)
def test_a_night_of_mutants_ends_with_every_one_of_them_done_or_failed(tmp_path: Path) -> None:
    if find_ffmpeg() is None:
        pytest.skip("no ffmpeg on this machine")
    print(f"\nMUTANTS_SEED={SEED}", flush=True)
    box = Sandbox(tmp_path, registry=None)
    contents = _add_mutants(box, tmp_path)
    started = time.monotonic()

    run = box.run("--stages", "loudness")

    took_s = time.monotonic() - started
    assert run.returncode in (0, 1), run.stderr
    box.wait_until_gone()
    box.check()
    jobs = _jobs(box)
    unread = box.sql("SELECT shown, problem FROM paths WHERE problem IS NOT NULL")
    assert len(jobs) + len(unread) == len(FORMATS) * PER_FORMAT
    assert {row["state"] for row in jobs} <= {"done", "failed"}
    bugs = [row for row in jobs if row["state"] == "failed" and row["reason"] in _NEVER]
    assert bugs == []
    failed = {row["reason"] for row in jobs if row["state"] == "failed"}
    assert failed <= set(Reason)
    longest_s = _longest_s(box)
    assert longest_s <= LONGEST_S
    for kind, ends in _outcomes(box).items():
        print(f"{kind:5} " + ", ".join(f"{number} {end}" for end, number in ends.most_common()))
    lanes, probes = len(box.events("lane_died")), len(box.events("probe_died"))
    print(
        f"{len(jobs) + len(unread)} mutants, {contents} different, in {took_s:.0f} s: {lanes} lanes "
        f"and {probes} probes died, {len(unread)} unreadable, never more than {longest_s:.1f} s "
        "without news",
        flush=True,
    )
