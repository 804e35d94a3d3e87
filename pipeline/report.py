"""How a run ended, and the exit code that says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """What a run did, and what it left."""

    run_id: int
    done: int
    failed: int
    blocked: dict[str, str]
    unreadable: int
    tracks: int
    stopped_by: int | None
    stopped_for: str | None = None  # until, limit or disk
    why: str | None = None
    left: int = 0  # tracks that could go on at once, when the run was stopped
    unprobed: int = 0
    no_stage_started: bool = False
    already_done: int = 0

    @property
    def exit_code(self) -> int:
        """The exit code that tells it to the shell."""
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        if self.stopped_for == "disk":
            return 4
        blocked = bool(self.blocked) and self.tracks > 0
        if blocked and self.no_stage_started and not self.already_done:
            return 4
        return 1 if self.failed or blocked or self.unreadable else 0
