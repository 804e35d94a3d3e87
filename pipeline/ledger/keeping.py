"""What is published by the ledger's word, and how that word is taken back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, and_, delete, exists, select, update
from sqlalchemy.sql.elements import ColumnElement

from pipeline.ledger.connect import reader
from pipeline.ledger.migrate import check_readable
from pipeline.ledger.plan import Planned, release_stems, stale
from pipeline.ledger.schema import State, attempts, jobs, paths, results, tracks
from pipeline.ledger.transactions import Transactions

_AT_ONCE = 500  # a statement takes a bounded number of values


@dataclass(frozen=True)
class Kept:
    """A job that is done, and what the ledger knows of its outputs."""

    id: int
    track_id: int
    sha256: str
    folder: bytes
    stage: str
    scope: str
    fingerprint: str
    manifest_sha256: str


@dataclass(frozen=True)
class Gone:
    """A track of which the last run found no file any more, and the paths it had."""

    id: int
    folder: bytes
    paths: tuple[bytes, ...]


class Keeping:
    """Jobs that are done, between runs and at the start of one."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    # ---- what is kept

    def suspects(self, is_untouched: Callable[[bytes, str, str], bool]) -> list[int]:
        """Return the jobs whose outputs do not look as they did.

        Args:
            is_untouched: says it of a track's folder, a stage and a scope.
        """
        wanted = (
            select(jobs.c.id, tracks.c.folder, jobs.c.stage, jobs.c.scope)
            .join(tracks, tracks.c.id == jobs.c.track_id)
            .where(jobs.c.state == State.DONE)
        )
        with self._transactions.begin() as tx:
            return [
                job_id
                for job_id, folder, stage, scope in tx.execute(wanted)
                if not is_untouched(folder, stage, scope)
            ]

    def every(self) -> Iterator[Kept]:
        """Give every job that is done, by number; no transaction is open between two."""
        last = 0
        while part := self._kept(jobs.c.id > last, limit=_AT_ONCE):
            yield from part
            last = part[-1].id

    def some(self, job_ids: Sequence[int]) -> Iterator[Kept]:
        """Give those of these jobs that are done."""
        for part in _parts(job_ids):
            yield from self._kept(jobs.c.id.in_(part))

    def _kept(self, which: ColumnElement[bool], *, limit: int | None = None) -> list[Kept]:
        wanted = (
            select(
                jobs.c.id,
                jobs.c.track_id,
                tracks.c.sha256,
                tracks.c.folder,
                jobs.c.stage,
                jobs.c.scope,
                jobs.c.fingerprint,
                jobs.c.manifest_sha256,
            )
            .join(tracks, tracks.c.id == jobs.c.track_id)
            .where(which, jobs.c.state == State.DONE)
            .order_by(jobs.c.id)
            .limit(limit)
        )
        with self._transactions.begin() as tx:
            return [Kept(*row) for row in tx.execute(wanted)]

    def states_in(self, folder: bytes) -> dict[tuple[str, str], State]:
        """Return the states of the jobs whose outputs belong into a folder, by stage and scope."""
        wanted = (
            select(jobs.c.stage, jobs.c.scope, jobs.c.state)
            .join(tracks, tracks.c.id == jobs.c.track_id)
            .where(tracks.c.folder == folder)
        )
        with self._transactions.begin() as tx:
            return {
                (str(stage), str(scope)): State(state) for stage, scope, state in tx.execute(wanted)
            }

    def stale(self, planned: Sequence[Planned], separation: Planned | None) -> list[int]:
        """Return the jobs that are done, but not as today's settings ask: those `status` counts."""
        found: list[int] = []
        with self._transactions.begin() as tx:
            for job in planned:
                this = and_(jobs.c.stage == job.stage, jobs.c.scope == job.scope)
                done = jobs.c.state == State.DONE
                outdated = select(jobs.c.id).where(this, done, stale(job, separation))
                found.extend(tx.execute(outdated).scalars())
        return found

    def gone(self) -> list[Gone]:
        """Return the tracks of which the last run found no file any more."""
        other = paths.alias()
        present = exists().where(other.c.track_id == tracks.c.id, other.c.missing.is_(False))
        wanted = (
            select(tracks.c.id, tracks.c.folder, paths.c.path)
            .join(paths, paths.c.track_id == tracks.c.id)
            .where(~present)
            .order_by(tracks.c.id, paths.c.id)
        )
        found: dict[int, tuple[bytes, list[bytes]]] = {}
        with self._transactions.begin() as tx:
            for track_id, folder, path in tx.execute(wanted):
                found.setdefault(track_id, (folder, []))[1].append(path)
        return [Gone(track_id, folder, tuple(had)) for track_id, (folder, had) in found.items()]

    def any_present(self) -> bool:
        """Say whether the last run found any file of a known track."""
        wanted = select(paths.c.id).where(paths.c.track_id.is_not(None), paths.c.missing.is_(False))
        with self._transactions.begin() as tx:
            return tx.execute(wanted.limit(1)).first() is not None

    # ---- taking it back

    def reopen(
        self,
        job_ids: Sequence[int],
        *,
        stems_of: Collection[int] = (),
        forget_features: bool = False,
    ) -> None:
        """Open jobs whose outputs are no longer there as the ledger knows them.

        Args:
            stems_of: tracks whose stems jobs that are done are opened too.
            forget_features: whether what they measured goes with them.
        """
        with self._transactions.begin() as tx:
            for part in _parts(job_ids):
                self._reopen(tx, jobs.c.id.in_(part))
                if forget_features:
                    tx.execute(delete(results).where(results.c.job_id.in_(part)))
            for part in _parts(sorted(stems_of)):
                self._reopen(tx, and_(jobs.c.track_id.in_(part), jobs.c.scope == "stems"))

    def _reopen(self, tx: Connection, which: ColumnElement[bool]) -> None:
        reopened = (
            update(jobs)
            .where(which, jobs.c.state == State.DONE)
            .values(state=State.PENDING)
            .returning(jobs.c.track_id)
        )
        release_stems(tx, set(tx.execute(reopened).scalars()))

    def forget(self, track_ids: Sequence[int]) -> None:
        """Forget tracks whose files and outputs are gone, with all that was known of them."""
        with self._transactions.begin() as tx:
            for part in _parts(track_ids):
                theirs = select(jobs.c.id).where(jobs.c.track_id.in_(part))
                tx.execute(delete(results).where(results.c.job_id.in_(theirs)))
                tx.execute(delete(attempts).where(attempts.c.job_id.in_(theirs)))
                tx.execute(delete(jobs).where(jobs.c.track_id.in_(part)))
                tx.execute(delete(paths).where(paths.c.track_id.in_(part)))
                tx.execute(delete(tracks).where(tracks.c.id.in_(part)))


@contextmanager
def look_at(path: Path) -> Iterator[Keeping]:
    """Open a ledger for questions only; nothing is changed, not even its schema."""
    with reader(path) as engine:
        check_readable(engine, path)
        yield Keeping(Transactions(engine, path))


def _parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), _AT_ONCE):
        yield numbers[start : start + _AT_ONCE]
