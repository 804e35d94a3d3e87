"""How long a track will take, from what tracks took so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.ledger.outlook import Timed

# After so many of this run earlier runs count no more: they had another device, other threads.
_ENOUGH_JOBS = 3
_BESIDE = 1.1  # decoding, encoding and publishing, which a stage's own time does not hold


@dataclass
class _Own:
    jobs: int = 0
    wall_s: float = 0.0
    audio_s: float = 0.0


class Pace:
    """Seconds per second of audio, of each stage and scope; the ledger's until this run has its own."""

    def __init__(self, before: Callable[[], Mapping[tuple[str, str], Timed]]) -> None:
        self._ask_before = before
        self._own: dict[tuple[str, str], _Own] = {}

    def took(self, stage: str, scope: str, *, wall_s: float, audio_s: float) -> None:
        """Note a job that this run has done."""
        own = self._own.setdefault((stage, scope), _Own())
        own.jobs += 1
        own.wall_s += wall_s
        own.audio_s += audio_s

    def per_audio_s(self, stages: Iterable[str], scope: str) -> float:
        """Return the seconds that all these stages take for one of audio; unknown ones count nothing."""
        return _BESIDE * sum(self._of(stage, scope) for stage in stages)

    @cached_property
    def _before(self) -> Mapping[tuple[str, str], Timed]:
        return self._ask_before()  # at the first claim: what is stale is none of it any more

    def _of(self, stage: str, scope: str) -> float:
        own, before = self._own.get((stage, scope)), self._before.get((stage, scope))
        best: _Own | Timed | None = own
        if before is not None and (own is None or own.jobs < _ENOUGH_JOBS):
            best = before
        return best.wall_s / best.audio_s if best is not None and best.audio_s else 0.0
