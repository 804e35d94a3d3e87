"""When a lane is taken for hanging: no progress for a time that depends on the track.

Progress, not life: only messages from the working thread count. A soft limit counts when the
process group burns no CPU time either; a hard limit, five times longer, counts whatever it burns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

HARD_FACTOR = 5
_TICK_S = 1.0
_GAP_S = 5.0  # a longer silence of our own loop is a suspend, a SIGSTOP or a stuck disk
_CPU_GROWTH_S = 0.05


@dataclass
class _Watched:
    phase: str
    limit_s: float
    progressed: float
    soft_since: float


class Watch:
    """The units of work in a lane's hands, and when each last moved.

    Args:
        base_s: limit for a phase, however short the track.
        per_audio_s: seconds added for each second of the track.
        clock: monotonic seconds.
        cpu_s: CPU seconds of the lane's process group so far.
    """

    def __init__(
        self,
        *,
        base_s: float,
        per_audio_s: float,
        clock: Callable[[], float],
        cpu_s: Callable[[], float],
    ) -> None:
        self._base_s = base_s
        self._per_audio_s = per_audio_s
        self._clock = clock
        self._cpu_s = cpu_s
        self._watched: dict[int, _Watched] = {}
        self._ticked = clock()
        self._cpu_seen = 0.0

    def progress(
        self, unit: int, phase: str, duration_s: float = 0.0, *, limit_s: float | None = None
    ) -> None:
        """Note a sign of work on a unit of so many seconds of audio."""
        now = self._clock()
        if limit_s is None:
            limit_s = self._base_s + self._per_audio_s * duration_s
        self._watched[unit] = _Watched(phase, limit_s, now, now)

    def rest(self, unit: int) -> None:
        """Stop watching a unit: it is finished, or waits its turn inside the lane."""
        self._watched.pop(unit, None)

    def clear(self) -> None:
        """Stop watching all."""
        self._watched.clear()

    def hanging(self) -> tuple[int, str] | None:
        """Return a unit that hangs and its phase, None if none does. Call about once a second."""
        now = self._clock()
        gap_s = now - self._ticked
        if gap_s < _TICK_S:
            return None
        self._ticked = now
        if gap_s > _GAP_S:
            self._restart(now)
            return None
        if self._grew():
            for watched in self._watched.values():
                watched.soft_since = now
        for unit, watched in self._watched.items():
            soft = now - watched.soft_since > watched.limit_s
            hard = now - watched.progressed > watched.limit_s * HARD_FACTOR
            if soft or hard:
                return unit, watched.phase
        return None

    def _restart(self, now: float) -> None:
        for watched in self._watched.values():
            watched.progressed = watched.soft_since = now

    def _grew(self) -> bool:
        if not self._watched:
            return False
        cpu_s = self._cpu_s()
        grew = cpu_s > self._cpu_seen + _CPU_GROWTH_S
        self._cpu_seen = cpu_s
        return grew
