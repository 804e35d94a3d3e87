"""What is to be done, who does it, and how it ended: every change of a job's state is here."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.sql.elements import ColumnElement

from pipeline.ledger.plan import Planned, add_jobs, release_stems, stale
from pipeline.ledger.schema import State, attempts, jobs, paths, results, tracks
from pipeline.ledger.transactions import Transactions
from stages.base import STEMS_FROM

PASSING = ("io", "memory", "hang")
"""Reasons that may pass by themselves: the next run tries such a job once more, unasked."""

DEATHS_ALLOWED = 1
INTERRUPTIONS_IN_A_ROW = 3


@dataclass(frozen=True)
class Job:
    """One job that was claimed, with the attempt it is claimed for."""

    id: int
    stage: str
    scope: str
    recipe: str
    fingerprint: str
    attempt: str


@dataclass(frozen=True)
class Work:
    """The claimed jobs of one track and scope: one decode serves them all."""

    track_id: int
    sha256: str
    folder: bytes
    path: bytes
    identity: tuple[int, int, int, int, int]  # size, mtime_ns, ctime_ns, inode, device
    duration_s: float | None
    sample_rate_hz: int | None
    channels: int | None
    codec: str | None
    jobs: tuple[Job, ...]
    upstream: str | None  # stems: fingerprint of the separation


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


def fingerprint_of(sha256: str, recipe: str, upstream: str | None) -> str:
    """Return the hash of everything that decides a job's output."""
    return hashlib.sha256(f"{sha256}\n{recipe}\n{upstream or ''}".encode()).hexdigest()


class Jobs:
    """The queue and its history."""

    def __init__(self, transactions: Transactions, clock: Callable[[], str]) -> None:
        self._transactions = transactions
        self._clock = clock

    # ---- at the start of a run

    def interrupt_running(self) -> int:
        """Put jobs that a dead run left `running` back; return how many there were.

        The lock proves that their run is dead. It is an attempt and no death: nobody saw the lane
        die by itself. After three in a row the track goes to the end of the queue, so that one
        track that takes the machine down cannot stop the night.
        """
        last = select(func.max(jobs.c.rank)).scalar_subquery()
        with self._transactions.begin() as tx:
            left = list(
                tx.execute(select(jobs.c.id).where(jobs.c.state == State.RUNNING)).scalars()
            )
            self._close_attempts(tx, left, Cause("interrupted"))
            tx.execute(
                update(jobs)
                .where(jobs.c.id.in_(left))
                .values(state=State.PENDING, interruptions=jobs.c.interruptions + 1)
            )
            tx.execute(
                update(jobs)
                .where(jobs.c.id.in_(left), jobs.c.interruptions % INTERRUPTIONS_IN_A_ROW == 0)
                .values(rank=last + 1)
            )
        return len(left)

    def requeue(self, planned: Sequence[Planned]) -> None:
        """Open the jobs that today's settings ask for: new, stale, blocked, and passing failures."""
        separation = next((job for job in planned if job.stage == STEMS_FROM), None)
        with self._transactions.begin() as tx:
            add_jobs(tx, planned, None)
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

    def lose(self, is_published: Callable[[bytes, str, str], bool]) -> int:
        """Open the jobs whose output was deleted behind our back; return how many.

        Args:
            is_published: says of a track's folder, a stage and a scope whether its manifest is there.
        """
        published = select(jobs.c.id, tracks.c.folder, jobs.c.stage, jobs.c.scope).join(
            tracks, tracks.c.id == jobs.c.track_id
        )
        with self._transactions.begin() as tx:
            rows = tx.execute(published.where(jobs.c.state == State.DONE))
            lost = [row.id for row in rows if not is_published(row.folder, row.stage, row.scope)]
            if lost:
                reopened = update(jobs).where(jobs.c.id == bindparam("lost"))
                tx.execute(
                    reopened.values(state=State.PENDING), [{"lost": job_id} for job_id in lost]
                )
                release_stems(tx, None)
        return len(lost)

    # ---- during a run

    def claim(
        self, run_id: int, *, lane: str, scope: str, track_id: int | None = None
    ) -> Work | None:
        """Take the next track's open jobs of a lane and scope, or those of one certain track.

        One statement chooses and takes, so that nothing can come between. None when there is none.
        """
        mine = _claimable(run_id, lane, scope)
        first = select(jobs.c.rank, jobs.c.track_id).where(mine)
        if track_id is not None:
            first = first.where(jobs.c.track_id == track_id)
        first = first.order_by(jobs.c.rank, jobs.c.id).limit(1)
        take = (
            update(jobs)
            # With the rank the index leads straight to the rows; without it SQLite reads all that
            # are pending (11 ms instead of 0.2 with 70,000 of them).
            .where(
                mine,
                jobs.c.rank == first.with_only_columns(jobs.c.rank).scalar_subquery(),
                jobs.c.track_id == first.with_only_columns(jobs.c.track_id).scalar_subquery(),
            )
            .values(state=State.RUNNING)
            .returning(jobs.c.id, jobs.c.track_id, jobs.c.stage, jobs.c.recipe)
        )
        with self._transactions.begin() as tx:
            taken = tx.execute(take).all()
            if not taken:
                return None
            return self._work(tx, run_id, scope, taken[0].track_id, [tuple(row) for row in taken])

    def _work(
        self,
        tx: Connection,
        run_id: int,
        scope: str,
        track_id: int,
        taken: list[tuple[int, int, str, str]],
    ) -> Work:
        track = tx.execute(select(tracks).where(tracks.c.id == track_id)).one()
        path = tx.execute(
            select(paths)
            .where(paths.c.track_id == track_id)
            .order_by(paths.c.missing, paths.c.seen_run.desc(), paths.c.id)
            .limit(1)
        ).one()
        upstream = self._separation_fingerprint(tx, track_id) if scope == "stems" else None
        claimed = []
        for job_id, _, stage, recipe in sorted(taken):
            token = secrets.token_hex(8)
            claimed.append(
                Job(
                    job_id,
                    stage,
                    scope,
                    recipe,
                    fingerprint_of(track.sha256, recipe, upstream),
                    token,
                )
            )
            tx.execute(
                insert(attempts).values(
                    job_id=job_id, run_id=run_id, token=token, started_utc=self._clock()
                )
            )
        return Work(
            track_id=track_id,
            sha256=track.sha256,
            folder=track.folder,
            path=path.path,
            identity=(path.size_bytes, path.mtime_ns, path.ctime_ns, path.inode, path.device),
            duration_s=track.duration_s,
            sample_rate_hz=track.sample_rate_hz,
            channels=track.channels,
            codec=track.codec,
            jobs=tuple(claimed),
            upstream=upstream,
        )

    def _separation_fingerprint(self, tx: Connection, track_id: int) -> str:
        return str(
            tx.execute(
                select(jobs.c.fingerprint).where(
                    jobs.c.track_id == track_id, jobs.c.stage == STEMS_FROM, jobs.c.scope == "mix"
                )
            ).scalar_one()
        )

    def audio_left_s(self, run_id: int, *, lane: str, scope: str) -> float:
        """Return the seconds of audio that a lane and scope still have to do in this run."""
        wanted = select(func.coalesce(func.sum(jobs.c.audio_s), 0.0)).where(
            jobs.c.queued_run == run_id,
            jobs.c.lane == lane,
            jobs.c.scope == scope,
            jobs.c.state.in_([State.PENDING, State.WAITING, State.RUNNING]),
        )
        with self._transactions.begin() as connection:
            return float(connection.execute(wanted).scalar_one())

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
            self._close_attempts(tx, [job.id], Cause("adopted" if adopted else "done"))
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
            self._close_attempts(tx, [job.id], cause, outcome="failed")
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

    def put_back(self, given_up: Collection[Job], cause: Cause, *, queued: bool = True) -> None:
        """Put claimed jobs back: nobody's fault, no death. This run takes them again if `queued`."""
        if not given_up:
            return
        back = {"state": State.PENDING} if queued else {"state": State.PENDING, "queued_run": None}
        with self._transactions.begin() as tx:
            ids = [job.id for job in given_up]
            self._close_attempts(tx, ids, cause)
            tx.execute(
                update(jobs).where(jobs.c.id.in_(ids), jobs.c.state == State.RUNNING).values(**back)
            )

    def died(self, job: Job, cause: Cause) -> bool:
        """Note a death: the lane died by itself while this job was in its hands, alone.

        Returns:
            Whether the job failed for good by it.
        """
        with self._transactions.begin() as tx:
            self._close_attempts(tx, [job.id], cause, outcome="death")
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

    # ---- by the user's wish

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
            # A header that could not be read is read again.
            of_track = [tracks.c.problem.is_not(None)]
            if track_ids is not None:
                of_track.append(tracks.c.id.in_(track_ids))
            unreadable = list(tx.execute(select(tracks.c.id).where(*of_track)).scalars())
            tx.execute(
                update(tracks)
                .where(tracks.c.id.in_(unreadable))
                .values(problem=None, problem_detail=None)
            )
            release_stems(tx, track_ids)
        return int(count)

    def _close_attempts(
        self, tx: Connection, job_ids: Collection[int], cause: Cause, *, outcome: str | None = None
    ) -> None:
        tx.execute(
            update(attempts)
            .where(attempts.c.job_id.in_(job_ids), attempts.c.outcome.is_(None))
            .values(
                ended_utc=self._clock(),
                outcome=outcome or cause.reason,
                signal=cause.signal,
                phase=cause.phase,
                detail=cause.detail,
            )
        )
