"""A lane killed while the card computes: the run goes on by itself, and its stems are the same."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.artifacts import LOGS, TRACKS
from pipeline.bench.comparison import sdr_db
from pipeline.bench.gpu.brief import NO_NUMBER_DB, Row
from pipeline.bench.gpu.runs import Place, batch_of
from pipeline.bench.processes import last_lines
from pipeline.bench.ways import Way, commands
from pipeline.child import ending
from pipeline.errors import NotMeasured

_LONGEST_S = 600.0


def measure(place: Place) -> Iterator[Row]:
    """Separate a dataset twice, the second time with a SIGKILL for the lane after its first track.

    `killed_at_work`: whether tracks were in its hands. `identical`: stems without a sample that
    differs; `sdr_db`: of the worst of the others, null where all are identical.

    Raises:
        NotMeasured: one of the runs failed.
    """
    calm, disturbed = place.folder / "calm", place.folder / "disturbed"
    try:
        calm_s = _run(place, calm, kill=False)
        took_s = _run(place, disturbed, kill=True)
        told = list(_events(disturbed / LOGS))
        ratios = _ratios_db(calm, disturbed)
    finally:
        shutil.rmtree(calm, ignore_errors=True)
        shutil.rmtree(disturbed, ignore_errors=True)
    kinds = [one["event"] for one in told]
    worst = min((ratio for ratio in ratios if ratio != math.inf), default=None)
    yield {
        "kind": "kill",
        "tracks": len(place.task.names),
        "killed_at_work": any(one["event"] == "lane_died" and one.get("tracks") for one in told),
        "done": kinds.count("job_done") + kinds.count("job_adopted"),
        "undisturbed_s": calm_s,
        "seconds": took_s,
        "stems": len(ratios),
        "identical": ratios.count(math.inf),
        "sdr_db": NO_NUMBER_DB if worst == -math.inf else worst,
    }


def _run(place: Place, out: Path, *, kill: bool) -> float:
    """Run to the end; return what it took."""
    (command,) = commands(Way.OURS, place.task, out)
    command += batch_of(place.batches, place.task.precision)
    said = out.with_suffix(".txt")
    began = time.monotonic()
    with said.open("wb") as words:
        run = subprocess.Popen(
            command,
            env=dict(place.environment),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
        )
    what = "a run whose lane was killed" if kill else "an undisturbed run"
    try:
        if kill:
            _kill_its_lane(run, out / LOGS)
        code = run.wait(_LONGEST_S)
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(what, f"{_LONGEST_S:.0f} s were not enough", str(error)) from error
    finally:
        run.kill()
    if code != 0:
        raise NotMeasured(what, ending(code), last_lines(said.read_bytes()))
    return time.monotonic() - began


def _kill_its_lane(run: subprocess.Popen[bytes], logs: Path) -> None:
    """Wait for the first track, then kill the lane, if the run is still at work."""
    end = time.monotonic() + _LONGEST_S
    while run.poll() is None and time.monotonic() < end:
        told = list(_events(logs))
        lanes = [one["pid"] for one in told if one["event"] == "lane_started"]
        if any(one["event"] == "job_done" for one in told):
            with suppress(ProcessLookupError):
                os.kill(lanes[-1], signal.SIGKILL)
            return
        time.sleep(0.02)


def _events(logs: Path) -> Iterator[dict[str, Any]]:
    """Give what the runs of a dataset have told so far."""
    for log in sorted(logs.glob("run-*.jsonl")):
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):  # a run at work may be in the middle of its last one
                yield json.loads(line)


def _ratios_db(calm: Path, disturbed: Path) -> list[float]:
    """Return how like the stems of both runs are, each one."""
    stems = sorted((calm / TRACKS).glob("*/separation/*.wav"))
    return [sdr_db(stem, disturbed / stem.relative_to(calm)) for stem in stems]
