"""Jobs in a run: claimed, done, failed, put back, and what a death means."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.sql.elements import ColumnElement

from pipeline.ledger.plan import queue, release_stems
from pipeline.ledger.schema import State, attempts, jobs, paths, results
from pipeline.ledger.transactions import Transactions
from pipeline.ledger.work import Job, Work, begin_attempts
from stages.base import STEMS_FROM

DEATHS_ALLOWED = 1


@dataclass(frozen=True)
class Published:
    """What the ledger keeps of a job that is done."""

    manifest_sha256: str
    features: str | None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Cause:
    """How an attempt ended when it did not end well."""

    reason: str
    detail: str | None = None
    signal: str | None = None
    phase: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How the tracks that a run looked at stand in its stages."""

    tracks: int
    done: int
    failed: int
    done_now: int  # by this run, adopted ones included
    unreadable: int  # files that could not even be hashed


def _claimable(run_id: int, lane: str, scope: str) -> ColumnElement[bool]:
    return and_(
        jobs.c.queued_run == run_id,
        jobs.c.lane == lane,
        jobs.c.scope == scope,
        jobs.c.state == State.PENDING,
    )


class Jobs:
    """The jobs of a run and their history."""

    def __init__(self, transactions: Transactions, clock: Callable[[], str]) -> None:
        self._transactions = transactions
        self._clock = clock

    def claim(
        self,
        run_id: int,
        *,
        lane: str,
        scope: str,
        track_id: int | None = None,
        longest_s: float | None = None,
    ) -> Work | None:
        """Take the next track's open jobs of a lane and scope, or those of one certain track.

        One statement chooses and takes, so that nothing can come between. None when there is none,
        or none that is no longer than `longest_s`.
        """
        mine = _claimable(run_id, lane, scope)
        first = select(jobs.c.rank, jobs.c.track_id).where(mine)
        if track_id is not None:
            first = first.where(jobs.c.track_id == track_id)
        if longest_s is not None:
            first = first.where(func.coalesce(jobs.c.audio_s, 0.0) <= longest_s)
        first = first.order_by(jobs.c.rank, jobs.c.id).limit(1)
        take = (
            update(jobs)
            # With the rank the index leads straight to the rows; without it SQLite reads all that
            # are pending (8.0 ms instead of 0.02 with 65,551 of them).
            .where(
                mine,
                jobs.c.rank == first.with_only_columns(jobs.c.rank).scalar_subquery(),
                jobs.c.track_id == first.with_only_columns(jobs.c.track_id).scalar_subquery(),
            )
            .values(state=State.RUNNING)
            .returning(jobs.c.id, jobs.c.track_id, jobs.c.stage, jobs.c.recipe)
        )
        with self._transactions.begin() as tx:
            while taken := tx.execute(take).all():
                rows = [tuple(row) for row in taken]
                work = begin_attempts(tx, run_id, scope, rows, self._clock())
                if work is not None:
                    return work
        return None

    def pending(self, run_id: int, *, lane: str, scope: str) -> bool:
        """Say whether a claim would find something."""
        wanted = select(jobs.c.id).where(_claimable(run_id, lane, scope))
        with self._transactions.begin() as connection:
            return connection.execute(wanted.limit(1)).first() is not None

    def done(
        self, job: Job, published: Published, *, upstream: str | None, adopted: bool = False
    ) -> None:
        """Note a published job; its track's stems jobs follow their separation."""
        with self._transactions.begin() as tx:
            track_id = tx.execute(
                update(jobs)
                .where(jobs.c.id == job.id, jobs.c.state == State.RUNNING)
                .values(
                    state=State.DONE,
                    recipe=job.recipe,
                    upstream=upstream,
                    fingerprint=job.fingerprint,
                    manifest_sha256=published.manifest_sha256,
                    retried=False,
                    interruptions=0,
                    reason=None,
                    detail=None,
                    wall_s=func.coalesce(published.wall_s, jobs.c.wall_s),
                    cpu_s=func.coalesce(published.cpu_s, jobs.c.cpu_s),
                    peak_bytes=func.coalesce(published.peak_bytes, jobs.c.peak_bytes),
                )
                .returning(jobs.c.track_id)
            ).scalar_one()
            close_attempts(tx, self._clock(), [job.id], Cause("adopted" if adopted else "done"))
            self._keep_features(tx, job.id, published.features)
            if job.stage == STEMS_FROM:
                self._reopen_stems(tx, track_id, job.fingerprint)

    def _keep_features(self, tx: Connection, job_id: int, features: str | None) -> None:
        if features is None:
            tx.execute(delete(results).where(results.c.job_id == job_id))
            return
        row = upsert(results).values(job_id=job_id, features=features)
        tx.execute(
            row.on_conflict_do_update(index_elements=["job_id"], set_={"features": features})
        )

    def _reopen_stems(self, tx: Connection, track_id: int, fingerprint: str) -> None:
        """Stems features of an older separation are made anew."""
        tx.execute(
            update(jobs)
            .where(
                jobs.c.track_id == track_id,
                jobs.c.scope == "stems",
                jobs.c.state.in_([State.DONE, State.FAILED]),
                jobs.c.upstream.is_distinct_from(fingerprint),
            )
            .values(state=State.WAITING, reason=None, detail=None)
        )
        release_stems(tx, [track_id])

    def fail(self, job: Job, cause: Cause) -> None:
        """Note that this track cannot be done."""
        with self._transactions.begin() as tx:
            close_attempts(tx, self._clock(), [job.id], cause, outcome="failed")
            self._fail(tx, job, cause)

    def _fail(self, tx: Connection, job: Job, cause: Cause) -> None:
        track_id = tx.execute(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.state == State.RUNNING)
            .values(state=State.FAILED, reason=cause.reason, detail=cause.detail, interruptions=0)
            .returning(jobs.c.track_id)
        ).scalar_one()
        if job.stage == STEMS_FROM:
            release_stems(tx, [track_id])

    def want_stems(self, run_id: int, track_id: int, stages: Collection[str]) -> None:
        """Let this run claim the stems jobs that a separation has opened."""
        with self._transactions.begin() as tx:
            queue(tx, run_id, [track_id], stages)

    def stems_gone(self, job: Job, cause: Cause) -> None:
        """The stems are not there as the ledger knows them: the next run separates anew."""
        with self._transactions.begin() as tx:
            close_attempts(tx, self._clock(), [job.id], cause)
            track_id = tx.execute(select(jobs.c.track_id).where(jobs.c.id == job.id)).scalar_one()
            separation = and_(jobs.c.track_id == track_id, jobs.c.stage == STEMS_FROM)
            again = {"state": State.PENDING, "queued_run": None}
            tx.execute(update(jobs).where(separation).values(**again))
            tx.execute(update(jobs).where(jobs.c.id == job.id).values(**again))
            release_stems(tx, [track_id])

    def put_back(self, given_up: Collection[Job], cause: Cause, *, queued: bool = True) -> None:
        """Put claimed jobs back: nobody's fault, no death. This run takes them again if `queued`."""
        if not given_up:
            return
        back = {"state": State.PENDING} if queued else {"state": State.PENDING, "queued_run": None}
        with self._transactions.begin() as tx:
            ids = [job.id for job in given_up]
            close_attempts(tx, self._clock(), ids, cause)
            tx.execute(
                update(jobs).where(jobs.c.id.in_(ids), jobs.c.state == State.RUNNING).values(**back)
            )

    def died(self, job: Job, cause: Cause) -> bool:
        """Note a death: the lane died by itself while this job was in its hands, alone.

        Returns:
            Whether the job failed for good by it.
        """
        with self._transactions.begin() as tx:
            close_attempts(tx, self._clock(), [job.id], cause, outcome="death")
            deaths = tx.execute(
                update(jobs)
                .where(jobs.c.id == job.id, jobs.c.state == State.RUNNING)
                .values(deaths=jobs.c.deaths + 1)
                .returning(jobs.c.deaths)
            ).scalar_one()
            if deaths > DEATHS_ALLOWED:
                self._fail(tx, job, cause)
                return True
            tx.execute(update(jobs).where(jobs.c.id == job.id).values(state=State.PENDING))
            return False

    def block(self, run_id: int, stage: str, why: str) -> int:
        """Note that a stage could not start; return how many jobs of this run that holds up."""
        with self._transactions.begin() as tx:
            held_up = (
                update(jobs)
                .where(
                    jobs.c.queued_run == run_id,
                    jobs.c.stage == stage,
                    jobs.c.state == State.PENDING,
                )
                .values(state=State.BLOCKED, reason="blocked", detail=why)
            )
            return int(tx.execute(held_up).rowcount)

    def outcome(self, run_id: int, stages: Collection[str]) -> Outcome:
        """Count how the tracks that a run looked at stand in its stages."""
        seen = select(paths.c.track_id).where(
            paths.c.seen_run == run_id, paths.c.track_id.is_not(None)
        )
        states = (
            select(jobs.c.state, func.count())
            .where(jobs.c.track_id.in_(seen), jobs.c.stage.in_(stages))
            .group_by(jobs.c.state)
        )
        now = select(func.count()).where(
            attempts.c.run_id == run_id, attempts.c.outcome.in_(["done", "adopted"])
        )
        unread = select(func.count()).where(
            paths.c.seen_run == run_id, paths.c.problem.is_not(None)
        )
        with self._transactions.begin() as connection:
            count = {str(state): int(number) for state, number in connection.execute(states)}
            return Outcome(
                tracks=int(
                    connection.execute(
                        select(func.count()).select_from(seen.distinct().subquery())
                    ).scalar_one()
                ),
                done=count.get(State.DONE, 0),
                failed=count.get(State.FAILED, 0),
                done_now=int(connection.execute(now).scalar_one()),
                unreadable=int(connection.execute(unread).scalar_one()),
            )


def close_attempts(
    tx: Connection,
    ended_utc: str,
    job_ids: Collection[int],
    cause: Cause,
    *,
    outcome: str | None = None,
) -> None:
    """Write down how the open attempts of these jobs ended."""
    tx.execute(
        update(attempts)
        .where(attempts.c.job_id.in_(job_ids), attempts.c.outcome.is_(None))
        .values(
            ended_utc=ended_utc,
            outcome=outcome or cause.reason,
            signal=cause.signal,
            phase=cause.phase,
            detail=cause.detail,
        )
    )
