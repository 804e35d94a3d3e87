"""What a run log says of the load, for those who only look: the end of one file, never all of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.artifacts import LOGS

# A line of a job is about 200 bytes: the last sample is found behind a thousand of them.
_END_BYTES = 1 << 18


def load_keys(out: Path, answer: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return the keys that `status --json` has of the load.

    Args:
        answer: what it has of the runs, under `run` and `last_run`.
    """
    running, last = answer["run"], answer["last_run"]
    monitor = load = None
    if running is not None:
        monitor = _sample(out, since=_time(running["started_utc"]), now=now)
    elif last is not None and last["ended_utc"] is not None:
        load = _load(out, since=_time(last["started_utc"]))
    return {"monitor": monitor, "load": load}


def _sample(out: Path, *, since: datetime | None, now: datetime) -> dict[str, Any] | None:
    """Return the last sample of a run, and how old it is; None when it has told none."""
    told = _last(out, "sample", since=since)
    if told is None or (at := _time(told["utc"])) is None:
        return None
    facts = {key: value for key, value in told.items() if key != "event"}
    return {**facts, "age_s": max(0.0, round((now - at).total_seconds(), 1))}


def _load(out: Path, *, since: datetime | None) -> dict[str, Any] | None:
    told = _last(out, "run_ended", since=since)
    found = told.get("load") if told is not None else None
    return found if isinstance(found, dict) else None


def _last(out: Path, event: str, *, since: datetime | None) -> dict[str, Any] | None:
    """Return the newest line of an event in the newest log, unless it is older than the run."""
    log = _newest(out / LOGS)
    if log is None or since is None:
        return None
    for told in _from_the_end(log):
        if told.get("event") == event:
            at = _time(told.get("utc"))
            return told if at is not None and at >= since else None
    return None


def _newest(folder: Path) -> Path | None:
    """Return the log that was written to last.

    By time and not by number: runs are numbered anew when a ledger was lost, and may get a number
    below that of a log that is kept.
    """
    try:
        with os.scandir(folder) as entries:
            logs = [(one.stat().st_mtime_ns, one.path) for one in entries if _is_log(one.name)]
    except OSError:
        return None
    return Path(max(logs)[1]) if logs else None


def _is_log(name: str) -> bool:
    return name.startswith("run-") and name.endswith(".jsonl")


def _from_the_end(log: Path) -> Iterator[dict[str, Any]]:
    """Give the whole lines at the end of a log, the last one first."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _END_BYTES))
            lines = stream.read(_END_BYTES).split(b"\n")
    except OSError:
        return
    # What follows the last line feed is being written just now; the first may be cut in two, and
    # both are then no JSON.
    for line in reversed(lines):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict):
            yield told


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
