"""How far off runs were with the time they said was left: their logs, held against how they ended.

    python -m benchmarks.time_left LOG…

For each run, at 10, 25, 50 and 75 % of it: the length of the whole run as it was told then (what had
passed, and what was said to be left), and by how much that was wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_SHARES = (0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Told:
    """What a run said of the time left, and when; None while it knew no speed."""

    elapsed_s: float
    left_s: float | None


def read(log: Path) -> tuple[float, list[Told]]:
    """Return how long a run took by its log, and what it told meanwhile.

    Raises:
        ValueError: the run did not end by itself.
    """
    events = [json.loads(line) for line in log.read_text(encoding="ascii").splitlines()]
    began, ended = (
        datetime.fromisoformat(one["utc"])
        for kind in ("run_started", "run_ended")
        for one in events
        if one["event"] == kind
    )
    told = [Told(one["elapsed_s"], one["left_s"]) for one in events if one["event"] == "time_left"]
    return (ended - began).total_seconds(), told


def rows(log: Path) -> Iterator[str]:
    """Give a line for each share of a run."""
    took_s, told = read(log)
    for share in _SHARES:
        last = next((one for one in reversed(told) if one.elapsed_s <= share * took_s), None)
        if last is None or last.left_s is None:
            yield f"{share:4.0%}  no time told yet"
            continue
        expected_s = last.elapsed_s + last.left_s
        yield f"{share:4.0%}  {expected_s:7.1f} s expected  {expected_s / took_s - 1:+.1%}"


def main() -> None:
    """Print what each log shows."""
    for log in map(Path, sys.argv[1:]):
        took_s, _ = read(log)
        print(f"{log.name}: took {took_s:.1f} s")
        for row in rows(log):
            print(f"  {row}")


if __name__ == "__main__":
    main()
