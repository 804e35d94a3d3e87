"""How long a track will take, from what tracks took so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.ledger.speeds import ENOUGH_JOBS, Kind, Speed, Took

_BESIDE = 1.1  # what a track takes longer than the mean of those before it


@dataclass
class _Own:
    jobs: int = 0
    lane_s: float = 0.0
    audio_s: float = 0.0


class Pace:
    """Speeds of each stage and scope: those that the ledger learnt until this run has its own."""

    def __init__(self, learnt: Callable[[], Mapping[Kind, Speed]]) -> None:
        self._ask_learnt = learnt
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
            if one.jobs >= ENOUGH_JOBS or kind not in self._learnt
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
