"""What a measured process is told, and by which names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Way(StrEnum):
    """How tracks are done: one after the other, by threads of one process, or by processes."""

    ALONE = "alone"
    THREADS = "threads"
    PROCESSES = "processes"


@dataclass(frozen=True)
class Brief:
    """One measurement.

    `module`: what holds the call, None for the stage itself. `settings`: the stage's, as JSON.
    `ahead`: the stage may decode in a thread of its own, as a lane does that has threads to spare.
    `tracks` are done in each round by `workers`, and each track `repeats` times in turn; None finds
    how often that must be to be measured well.
    """

    registry: str
    stage: str
    settings: str
    name: str
    module: str | None
    song: str
    scratch: str
    ahead: bool
    way: Way = Way.ALONE
    workers: int = 1
    tracks: int = 1
    rounds: int = 3
    repeats: int | None = None

    def write(self, file: Path) -> None:
        """Leave it in a file."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Brief:
        """Return what was left in a file."""
        found = json.loads(file.read_text(encoding="utf-8"))
        return cls(**{**found, "way": Way(found["way"])})
