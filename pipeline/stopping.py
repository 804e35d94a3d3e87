"""Why a run stops before all is done, and what the track in hand still gets."""

from __future__ import annotations

from datetime import time
from typing import Literal

from pipeline.ledger.outlook import Left
from pipeline.night import Night
from pipeline.signals import Signals

Why = Literal["signal", "until", "disk"]


class Stopping:
    """Watches for a signal, the hour of `--until` and the disk; the first of each is told once."""

    def __init__(self, night: Night, signals: Signals) -> None:
        self.leave_by: float | None = None
        """By the run's clock, when a lane that still works is killed; None while nobody stops."""
        self._night = night
        self._signals = signals
        self._told: set[Why] = set()

    def due(self) -> bool:
        """Say whether something asks to stop that did not before."""
        night = self._night
        if self._signals.stopping is not None and self._first("signal"):
            night.tell("stopping", signal=self._signals.stopping)
            self._leave_within(night.config.limits.grace_s)
            return True
        if night.allowance.time_is_up() and self._first("until"):
            night.tell("time_is_up", until=_shown(night.config.until))
            self._leave_within(night.config.limits.grace_s)
            return True
        shortage = night.allowance.shortage
        if shortage is not None and self._first("disk"):
            night.tell("disk_short", why=shortage)
            # What is in hand may take hours and is what the minimum is kept free for.
            self._leave_within(float("inf"))
            return True
        return False

    def _first(self, why: Why) -> bool:
        first = why not in self._told
        self._told.add(why)
        return first

    def _leave_within(self, seconds: float) -> None:
        by = self._night.clock() + seconds
        self.leave_by = by if self.leave_by is None else min(self.leave_by, by)

    @property
    def cut_short(self) -> bool:
        """Say whether something may have been left undone that could be done."""
        allowance = self._night.allowance
        return self.leave_by is not None or allowance.full or bool(allowance.refused)

    def why(self, left: Left) -> tuple[str, str] | None:
        """Return by a word and in words what kept the run from what is left, None if nothing did."""
        allowance, until = self._night.allowance, self._night.config.until
        if allowance.shortage is not None:
            return "disk", allowance.shortage
        if not (left.tracks or left.unprobed) or self._signals.stopping is not None:
            return None
        if "disk" in allowance.refused:
            return "disk", allowance.room.too_little()
        if until is not None and ("until" in self._told or "until" in allowance.refused):
            return "until", f"to be over by {_shown(until)}"
        if allowance.full:
            limit = self._night.config.limit
            return "limit", f"after {limit} {'track' if limit == 1 else 'tracks'}"
        return None


def _shown(until: time | None) -> str:
    if until is None:
        return ""
    return until.isoformat("seconds" if until.second else "minutes")
