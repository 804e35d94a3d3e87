"""How long a track will take, from what tracks took so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.ledger.speeds import Kind, Speed, Took

_ENOUGH_JOBS = 3  # after so many of this run earlier ones count no more
_BESIDE = 1.1  # timings here spread by some 8 % (docs/performance.md): a track may be a slow one


@dataclass
class _Own:
    jobs: int = 0
    lane_s: float = 0.0
    audio_s: float = 0.0


class Pace:
    """Speeds of each stage and scope: those that the ledger learnt until this run has its own."""

    def __init__(
        self, learnt: Callable[[], Mapping[Kind, Speed]], *, tracks_at_once: int = 1
    ) -> None:
        self._ask_learnt = learnt
        # The first to end has the time of all that began with it.
        self._enough_jobs = max(_ENOUGH_JOBS, 2 * tracks_at_once)
        self._own: dict[Kind, _Own] = {}

    def took(self, job: Took) -> None:
        """Note a job that this run has done."""
        own = self._own.setdefault((job.stage, job.scope), _Own())
        own.jobs += 1
        own.lane_s += job.lane_s
        own.audio_s += job.audio_s

    def speeds(self) -> dict[Kind, Speed]:
        """Return what is known by now: after a few jobs of this run earlier ones count no more."""
        own = {
            kind: Speed(one.lane_s, one.audio_s)
            for kind, one in self._own.items()
            if one.jobs >= self._enough_jobs or kind not in self._learnt
        }
        return {**self._learnt, **own}

    def per_audio_s(self, stages: Iterable[str], scope: str) -> float:
        """Return the seconds that all these stages take for one of audio; unknown ones count nothing."""
        known = self.speeds()
        kinds = [(stage, scope) for stage in stages]
        return _BESIDE * sum(known[kind].per_audio_s for kind in kinds if kind in known)

    @cached_property
    def _learnt(self) -> Mapping[Kind, Speed]:
        return self._ask_learnt()  # at the first claim: what is stale is none of it any more
