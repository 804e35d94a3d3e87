"""The hour at which a run has to be over, by the clock on the wall, which may be set meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from datetime import time as TimeOfDay

_SLEWED_S = 1.0  # a clock that is corrected slowly differs by less between two looks
_BELIEVED_AFTER_S = 5.0  # a clock that was set back within it was a glitch
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_s() -> float:
    """Return seconds that nobody sets; on Linux a night in suspend counts too."""
    return time.clock_gettime(_CLOCK)


class Deadline:
    """The next time that it is `until` o'clock, counted from the start of the run.

    The clock on the wall is what the user means, so a clock that is set right in the night moves
    the deadline with it. A jump is believed once it has lasted for five seconds: the deadline
    is then the first `until` after the start, as the new clock would have shown that start.
    """

    def __init__(
        self,
        until: TimeOfDay,
        *,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = steady_s,
    ) -> None:
        self._until = until
        self._wall_s = wall_s
        self._steady_s = steady_s
        self._started_s = steady_s()  # by the steady clock
        self._offset_s = wall_s() - self._started_s  # from the steady clock to the wall's
        self._jumped: tuple[float, float] | None = None  # to which offset, and since when
        self._ends_s = self._next()

    def left_s(self) -> float:
        """Return the seconds until then; negative once it has passed."""
        now_s = self._steady_s()
        self._look(now_s)
        return self._ends_s - (now_s + self._offset_s)

    def _look(self, now_s: float) -> None:
        offset_s = self._wall_s() - now_s
        if abs(offset_s - self._offset_s) <= _SLEWED_S:
            self._offset_s, self._jumped = offset_s, None
        elif self._jumped is None or abs(offset_s - self._jumped[0]) > _SLEWED_S:
            self._jumped = (offset_s, now_s)
        elif now_s - self._jumped[1] >= _BELIEVED_AFTER_S:
            self._offset_s, self._jumped = offset_s, None
            self._ends_s = self._next()

    def _next(self) -> float:
        """Return when it is `until` for the first time after the start, as the wall's time."""
        started_s = self._started_s + self._offset_s
        # Without a zone it is local time. When summer time ends an hour comes twice: fold.
        today = datetime.combine(datetime.fromtimestamp(started_s).date(), self._until)
        times = (today, today.replace(fold=1), today + timedelta(days=1))
        return next(then.timestamp() for then in times if then.timestamp() > started_s)
