"""The passes of a run: a lane in a scope each, one after the other; with --overlap in two rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from pipeline.night import Night
from pipeline.probing import Probing
from pipeline.working import Working
from stages.base import Scope

Pass = tuple[str, Scope]
"""A lane, and what it works on."""


class Row:
    """Passes that follow one another, each with a process of its own."""

    def __init__(
        self,
        night: Night,
        probing: Probing,
        passes: Sequence[Pass],
        *,
        at_work: Callable[[], Sequence[Working]],
    ) -> None:
        self._night = night
        self._probing = probing
        self._to_come = deque(passes)
        self._at_work = at_work
        self._leave_by: float | None = None
        self.working: Working | None = None
        self._next()

    def _next(self) -> None:
        self._leave_by = None
        if not self._to_come:
            self.working = None
            return
        lane, scope = self._to_come.popleft()
        self.working = Working(self._night, self._probing, lane, scope, at_work=self._at_work)

    @property
    def over(self) -> bool:
        """Say whether all passes are done and their processes gone."""
        return self.working is None

    @property
    def idle(self) -> bool:
        """Say whether a pass is at work and has no track in its hands."""
        return self.working is not None and self._leave_by is None and not self.working.busy

    def feed(self) -> None:
        """Hand tracks to the pass at work."""
        if self.working is not None and self._leave_by is None:
            self.working.feed()

    def nothing_left(self) -> bool:
        """Say whether there is nothing more that the pass could take up."""
        night, working = self._night, self.working
        assert working is not None
        wanted = night.ledger.jobs.pending(night.run_id, lane=working.lane, scope=working.scope)
        return not wanted or working.nothing_fits()

    def takes_stems(self) -> bool:
        """Say whether the pass at work is one over stems."""
        return self.working is not None and self.working.scope is Scope.STEMS

    def gives_stems(self) -> bool:
        """Say whether stems may still come from here."""
        lane = self._night.device_lane
        if self.working is None or lane is None:
            return False
        return self.working.lane == lane or any(one == lane for one, _ in self._to_come)

    def retire(self) -> None:
        """Let the lane leave by itself; it has nothing in hand."""
        assert self.working is not None
        self.working.leave()
        self._leave_by = self._night.clock() + self._night.config.limits.grace_s
        self.look()

    def look(self) -> None:
        """Go on to the next pass when the process of this one is gone, or takes too long to go."""
        if self.working is None or self._leave_by is None:
            return
        if not self.working.running or self._night.clock() > self._leave_by:
            self.working.kill()
            self._next()


def rows_of(night: Night) -> list[list[Pass]]:
    """Return the passes of a run, in the order of a run: mix features, separation, stem features.

    With --overlap separation is a row of its own, beside the others.
    """
    selected = [recipe for recipe in night.recipes if recipe.stage in night.config.selected]
    mix = dict.fromkeys(one.lane for one in selected if one.scope is Scope.MIX)
    stems = dict.fromkeys(one.lane for one in selected if one.scope is Scope.STEMS)
    features = [(lane, Scope.MIX) for lane in mix if lane in stems]
    others = [(lane, Scope.MIX) for lane in mix if lane not in stems]
    of_stems = [(lane, Scope.STEMS) for lane in stems]
    if not night.config.overlap:
        return [[*features, *others, *of_stems]]
    device = [one for one in others if one[0] == night.device_lane]
    beside = [*features, *(one for one in others if one not in device), *of_stems]
    return [row for row in (device, beside) if row]
