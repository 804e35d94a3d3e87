"""What a run may still take up: how many tracks, until when, and while there is room on the disk."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from pipeline.config import RunConfig
from pipeline.deadline import Deadline
from pipeline.pace import Pace
from pipeline.room import Room, Sizes

Because = Literal["until", "disk"]


@dataclass(frozen=True)
class Bound:
    """The longest track that may be claimed now, None where any may; and what forbids longer ones."""

    longest_s: float | None = None
    because: Because | None = None


@dataclass(frozen=True)
class InHand:
    """What a lane has in its hands: seconds it will still take, and seconds of audio."""

    left_s: float
    audio_s: float


class Allowance:
    """The bounds of one run. `refused` names those for which tracks were left that could be done."""

    def __init__(
        self,
        *,
        room: Room,
        sizes: Sizes,
        pace: Pace,
        deadline: Deadline | None = None,
        limit: int | None = None,
    ) -> None:
        self.room = room
        self.sizes = sizes
        self.pace = pace
        self.refused: set[Because] = set()
        self.shortage: str | None = None
        self._deadline = deadline
        self._limit = limit
        self._taken: set[int] = set()

    @classmethod
    def of(cls, config: RunConfig, pace: Pace) -> Allowance:
        """Return what the settings of a run allow."""
        return cls(
            room=Room(
                config.out,
                min_free_bytes=config.limits.min_free_bytes,
                min_free_files=config.limits.min_free_files,
            ),
            sizes=Sizes(config.declarations, config.stage_settings),
            pace=pace,
            deadline=Deadline(config.until) if config.until is not None else None,
            limit=config.limit,
        )

    # ---- how many

    @property
    def full(self) -> bool:
        """Say whether the run has taken up as many tracks as it may."""
        return self._limit is not None and len(self._taken) >= self._limit

    def take_up(self, track_id: int) -> Collection[int] | None:
        """Note a track that a lane will work on; return all of them when it was the last allowed."""
        taken, limit = self._taken, self._limit
        if limit is None or len(taken) >= limit:
            return None
        taken.add(track_id)
        return taken if len(taken) == limit else None

    # ---- until when, and while there is room

    def time_is_up(self) -> bool:
        """Say whether it is the time at which the run has to be over."""
        return self._deadline is not None and self._deadline.left_s() <= 0

    def bound(self, stages: Collection[str], scope: str, in_hand: InHand) -> Bound:
        """Return the bound for a lane's next claim."""
        by_time = self._by_time(stages, scope, in_hand)
        by_room = self._by_room(stages, scope, in_hand)
        if by_room is not None and (by_time is None or by_room < by_time):
            return Bound(by_room, "disk")
        return Bound(by_time, "until") if by_time is not None else Bound()

    def _by_time(self, stages: Collection[str], scope: str, in_hand: InHand) -> float | None:
        if self._deadline is None:
            return None
        left_s = self._deadline.left_s()
        per_audio_s = self.pace.per_audio_s(stages, scope)
        if left_s <= 0:
            return -1.0
        return (left_s - in_hand.left_s) / per_audio_s if per_audio_s else None

    def _by_room(self, stages: Collection[str], scope: str, in_hand: InHand) -> float | None:
        if self.room.shortage() is not None:
            return -1.0
        per_audio_s = self.sizes.per_audio_s(stages, scope)
        if not per_audio_s:
            return None
        return self.room.spare_bytes() / per_audio_s - in_hand.audio_s

    def refuse(self, bound: Bound) -> None:
        """Note that tracks were there and none could be taken up."""
        if bound.because is not None:
            self.refused.add(bound.because)
        self.shortage = self.shortage or self.room.shortage()
