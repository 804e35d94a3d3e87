"""Claims tracks for one lane and scope, as far as the run may take up more."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.allowance import Bound, InHand
from pipeline.blame import Unit
from pipeline.ledger.work import Work
from pipeline.night import Night
from stages.base import Scope

# After this the queue is looked through again for a track that fits: each such look reads it whole.
_LOOK_AGAIN_S = 5.0


class Claims:
    """The next track of a lane. `held_up` says that there was one and it could not be taken up."""

    def __init__(self, night: Night, lane: str, scope: Scope) -> None:
        self.held_up = False
        self._night = night
        self._lane = lane
        self._scope = scope
        self._look_again_s = 0.0
        self._refused_s = 0.0
        self._first: int | None = None  # number of the track that is being computed
        self._since_s = 0.0

    def look_again(self) -> None:
        """Forget what was refused: tracks may have come since."""
        self.held_up = False

    def next(
        self,
        stages: Sequence[str],
        in_hand: Sequence[Unit],
        *,
        loaded: bool,
        track_id: int | None = None,
    ) -> Work | None:
        """Claim the next track, or a certain one, that may be taken up beside those in hand."""
        night = self._night
        bound = night.allowance.bound(stages, self._scope, self._in_hand(stages, in_hand, loaded))
        if self._was_refused(bound):
            return None
        work = night.ledger.jobs.claim(
            night.run_id,
            lane=self._lane,
            scope=self._scope,
            track_id=track_id,
            longest_s=bound.longest_s,
        )
        if work is None and track_id is None:
            self._refuse(bound)
        else:
            self.held_up = False
        return work

    def _was_refused(self, bound: Bound) -> bool:
        """Say whether a look for a track that is not longer than this just found none."""
        return (
            self.held_up
            and bound.longest_s is not None
            and bound.longest_s <= self._refused_s
            and self._night.clock() < self._look_again_s
        )

    def _refuse(self, bound: Bound) -> None:
        night = self._night
        self.held_up = bound.longest_s is not None and night.ledger.jobs.pending(
            night.run_id, lane=self._lane, scope=self._scope
        )
        if self.held_up and bound.longest_s is not None:
            self._refused_s = bound.longest_s
            self._look_again_s = night.clock() + _LOOK_AGAIN_S
            night.allowance.refuse(bound)

    def _in_hand(self, stages: Sequence[str], units: Sequence[Unit], loaded: bool) -> InHand:
        """Return what a lane still has to do: the first track is computed, the others wait."""
        per_audio_s = self._night.allowance.pace.per_audio_s(stages, self._scope)
        lengths_s = [unit.work.duration_s or 0.0 for unit in units]
        left_s = per_audio_s * sum(lengths_s)
        first = units[0].number if units and loaded else None
        if first != self._first:
            self._first, self._since_s = first, self._night.clock()
        if first is not None:
            left_s -= min(per_audio_s * lengths_s[0], self._night.clock() - self._since_s)
        return InHand(left_s, sum(lengths_s))
