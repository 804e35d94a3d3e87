"""How much a run still has to do, and how long that will take: told now and then while it works."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pipeline.ledger.outlook import Open
from pipeline.ledger.speeds import seconds_left
from pipeline.night import Night
from pipeline.working import Working
from stages.base import STEMS_FROM, Scope

_EVERY_S = 1.0
_OF_ELAPSED = 0.02  # told so often that each hundredth of a run sees it, and a long log stays short
_SHARE = 0.05  # of the time at most: with 300,000 open jobs the sum takes 0.14 s


class Todo:
    """Tells the seconds of audio that are left, of each lane at work and in all, and the time left."""

    def __init__(self, night: Night) -> None:
        self._night = night
        self._began_s = night.clock()
        self._after_s = 0.0
        self._limited = False
        self._finding = True
        self._told: list[Working] = []

    def look(self, at_work: Sequence[Working], *, finding: bool) -> None:
        """Tell what is left now and then, when a pass has begun, and when all tracks are found.

        Args:
            finding: tracks are still being found, so that nobody knows how long it will take.
        """
        night = self._night
        now, limited = night.clock(), night.allowance.full
        fresh = any(working not in self._told for working in at_work)
        changed = fresh or (limited, finding) != (self._limited, self._finding)
        if now < self._after_s and not changed:
            return
        self._limited, self._finding, self._told = limited, finding, list(at_work)
        self._tell(at_work, self._open(), finding=finding)
        elapsed_s, took_s = night.clock() - self._began_s, night.clock() - now
        self._after_s = now + max(_EVERY_S, elapsed_s * _OF_ELAPSED, took_s / _SHARE)

    def _open(self) -> list[Open]:
        """Return the open jobs; stems that nobody will make are no work left."""
        night = self._night
        given = STEMS_FROM in night.config.selected and STEMS_FROM not in night.blocked
        found = night.ledger.outlook.open(night.run_id, night.config.selected)
        return [one for one in found if given or one.scope == Scope.MIX]

    def _tell(self, at_work: Sequence[Working], left: Sequence[Open], *, finding: bool) -> None:
        night = self._night
        by_lane: defaultdict[tuple[str, str], float] = defaultdict(float)
        for one in left:
            by_lane[night.lane_of(one.stage), one.scope] += one.audio_s
        for working in at_work:
            this = (working.lane, str(working.scope))
            night.tell("todo", lane=this[0], scope=this[1], left_s=by_lane[this])
        night.tell("todo_in_all", left_s=sum(one.audio_s for one in left))
        open_s = {(one.stage, one.scope): one.audio_s for one in left}
        speeds, overlap = night.allowance.pace.speeds(), night.config.overlap
        expected_s = None if finding else seconds_left(open_s, speeds, overlap=overlap)
        elapsed_s = night.clock() - self._began_s
        night.tell("time_left", left_s=expected_s, elapsed_s=round(elapsed_s, 3))
