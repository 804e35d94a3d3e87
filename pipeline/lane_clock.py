"""The time of a lane, dealt out to the tracks that it ends."""

from __future__ import annotations

from collections.abc import Callable


class LaneClock:
    """What passes between two ends belongs to the track of the second, however many are under way.

    So the parts add up to the time in which the lane had work, whatever is done side by side, ahead
    or behind; loading and waiting for work are nobody's.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s: float | None = None

    def given(self) -> None:
        """A track was given to the lane."""
        if self._since_s is None:
            self._since_s = self._clock()

    def ended(self, *, more: bool) -> float:
        """Return the part of a track that has ended; `more`: others are in the lane's hands."""
        now = self._clock()
        part_s = now - self._since_s if self._since_s is not None else 0.0
        self._since_s = now if more else None
        return part_s
