"""What lies before a run: how much audio is open, how many tracks are left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select

from pipeline.ledger.schema import State, jobs, paths
from pipeline.ledger.transactions import Transactions


@dataclass(frozen=True)
class Open:
    """Jobs of one stage and scope that a run has yet to do."""

    stage: str
    scope: str
    jobs: int
    audio_s: float


@dataclass(frozen=True)
class Left:
    """What a run leaves to the next."""

    tracks: int  # that could go on at once
    unprobed: int  # files that nobody looked at yet


class Outlook:
    """Questions of a run about what lies before it."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def open(self, run_id: int, stages: Collection[str]) -> list[Open]:
        """Return what a run has in its queue, stems jobs that wait included."""
        wanted = (
            select(
                jobs.c.stage,
                jobs.c.scope,
                func.count(),
                func.coalesce(func.sum(jobs.c.audio_s), 0.0),
            )
            .where(
                jobs.c.queued_run == run_id,
                jobs.c.stage.in_(stages),
                jobs.c.state.in_([State.PENDING, State.WAITING, State.RUNNING]),
            )
            .group_by(jobs.c.stage, jobs.c.scope)
        )
        with self._transactions.begin() as connection:
            return [
                Open(str(stage), str(scope), int(number), float(audio_s))
                for stage, scope, number, audio_s in connection.execute(wanted)
            ]

    def left(self, run_id: int, stages: Collection[str]) -> Left:
        """Count what a run met and did not do."""
        seen = select(paths.c.track_id).where(
            paths.c.seen_run == run_id, paths.c.track_id.is_not(None)
        )
        pending = select(func.count(func.distinct(jobs.c.track_id))).where(
            jobs.c.track_id.in_(seen), jobs.c.stage.in_(stages), jobs.c.state == State.PENDING
        )
        unprobed = select(func.count()).where(
            paths.c.seen_run == run_id, paths.c.track_id.is_(None), paths.c.problem.is_(None)
        )
        with self._transactions.begin() as connection:
            return Left(
                tracks=int(connection.execute(pending).scalar_one()),
                unprobed=int(connection.execute(unprobed).scalar_one()),
            )
