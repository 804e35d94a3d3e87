"""Which jobs are open: what a start finds, what settings ask for, what the user wants again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from sqlalchemy import Connection, and_, select, update

from pipeline.ledger.jobs import Cause, close_attempts
from pipeline.ledger.plan import Planned, add_jobs, release_stems, stale
from pipeline.ledger.schema import State, jobs, paths, tracks
from pipeline.ledger.transactions import Transactions
from stages.base import STEMS_FROM

PASSING = ("io", "memory", "hang")
"""Reasons that may pass by themselves: the next run tries such a job once more, unasked."""

_AT_ONCE = 500


class Queue:
    """The jobs that are open, before a run claims them."""

    def __init__(self, transactions: Transactions, clock: Callable[[], str]) -> None:
        self._transactions = transactions
        self._clock = clock

    def interrupt_running(self) -> int:
        """Put jobs that a dead run left `running` back; return how many there were.

        The lock proves that their run is dead. It is an attempt and no death: nobody saw the lane
        die by itself. After three in a row the track goes to the end of the queue, see `ranks`.
        """
        with self._transactions.begin() as tx:
            left = list(
                tx.execute(select(jobs.c.id).where(jobs.c.state == State.RUNNING)).scalars()
            )
            close_attempts(tx, self._clock(), left, Cause("interrupted"))
            tx.execute(
                update(jobs)
                .where(jobs.c.id.in_(left))
                .values(state=State.PENDING, interruptions=jobs.c.interruptions + 1)
            )
        return len(left)

    def requeue(self, planned: Sequence[Planned]) -> None:
        """Open the jobs that today's settings ask for: new, stale, blocked, and passing failures."""
        separation = next((job for job in planned if job.stage == STEMS_FROM), None)
        with self._transactions.begin() as tx:
            add_jobs(tx, planned)
            # Stems jobs first: they are compared with the separation as it was published.
            for job in sorted(planned, key=lambda job: job.scope, reverse=True):
                self._requeue(tx, job, separation)
            release_stems(tx, None)

    def _requeue(self, tx: Connection, job: Planned, separation: Planned | None) -> None:
        this = and_(jobs.c.stage == job.stage, jobs.c.scope == job.scope)
        ready = State.PENDING if job.scope == "mix" else State.WAITING
        changed = jobs.c.recipe.is_distinct_from(job.recipe)
        passing = and_(jobs.c.reason.in_(PASSING), jobs.c.retried.is_(False))
        fresh = {"state": ready, "recipe": job.recipe, "reason": None, "detail": None}
        tx.execute(
            update(jobs)
            .where(this, jobs.c.state == State.DONE, stale(job, separation))
            .values(**fresh, deaths=0, retried=False)
        )
        if job.recipe is not None:
            readable = select(tracks.c.id).where(tracks.c.problem.is_(None))
            tx.execute(
                update(jobs)
                .where(this, jobs.c.state == State.FAILED, changed, jobs.c.track_id.in_(readable))
                .values(**fresh, deaths=0, retried=False)
            )
        tx.execute(
            update(jobs)
            .where(this, jobs.c.state == State.FAILED, passing)
            .values(**fresh, deaths=0, retried=True)
        )
        tx.execute(update(jobs).where(this, jobs.c.state == State.BLOCKED).values(**fresh))
        still_open = jobs.c.state.in_([State.PENDING, State.WAITING])
        tx.execute(update(jobs).where(this, still_open, changed).values(recipe=job.recipe))

    def keep(self, run_id: int, track_ids: Collection[int]) -> None:
        """Take everything out of a run's queue but these tracks."""
        wanted = jobs.c.queued_run == run_id
        kept = -run_id
        numbers = sorted(track_ids)
        with self._transactions.begin() as tx:
            # In parts, as a statement takes a bounded number of values; under a number that no
            # run has, to be told from the others.
            for start in range(0, len(numbers), _AT_ONCE):
                part = jobs.c.track_id.in_(numbers[start : start + _AT_ONCE])
                tx.execute(update(jobs).where(wanted, part).values(queued_run=kept))
            others = jobs.c.state.in_([State.PENDING, State.WAITING])
            tx.execute(update(jobs).where(wanted, others).values(queued_run=None))
            tx.execute(update(jobs).where(jobs.c.queued_run == kept).values(queued_run=run_id))

    def retry(self, *, stage: str | None = None, track_ids: Collection[int] | None = None) -> int:
        """Put failed jobs back in the queue; return how many."""
        wanted = [jobs.c.state == State.FAILED]
        if stage is not None:
            wanted.append(jobs.c.stage == stage)
        if track_ids is not None:
            wanted.append(jobs.c.track_id.in_(track_ids))
        again = {"deaths": 0, "retried": False, "reason": None, "detail": None}
        with self._transactions.begin() as tx:
            mix = update(jobs).where(*wanted, jobs.c.scope == "mix")
            stems = update(jobs).where(*wanted, jobs.c.scope == "stems")
            count = tx.execute(mix.values(state=State.PENDING, **again)).rowcount
            count += tx.execute(stems.values(state=State.WAITING, **again)).rowcount
            # A header that could not be read is read again: no scan will take it for unchanged.
            unreadable = select(tracks.c.id).where(tracks.c.problem.is_not(None))
            if track_ids is not None:
                unreadable = unreadable.where(tracks.c.id.in_(track_ids))
            tx.execute(update(paths).where(paths.c.track_id.in_(unreadable)).values(mtime_ns=-1))
            release_stems(tx, track_ids)
        return int(count)
