"""Which files there are, which track each one is, and where a track's outputs live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from pipeline.ledger.plan import Planned, add_first_jobs
from pipeline.ledger.ranks import Ranks
from pipeline.ledger.schema import attempts, jobs, paths, results, tracks
from pipeline.ledger.transactions import Transactions


@dataclass(frozen=True)
class SeenFile:
    """A file as the scan found it. `path` is relative to the dataset."""

    path: bytes
    shown: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


@dataclass(frozen=True)
class Probed:
    """What the probe read of a file. `problem` says why no stage can use it, if so."""

    sha256: str
    size_bytes: int
    duration_s: float | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    codec: str | None = None
    problem: str | None = None
    problem_detail: str | None = None


@dataclass(frozen=True)
class KnownPath:
    """One path of a track."""

    id: int
    path: bytes
    track_id: int | None
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


@dataclass(frozen=True)
class KnownTrack:
    """One content, and the folder of its outputs below `tracks/`."""

    id: int
    sha256: str
    folder: bytes


_STAT = ("size_bytes", "mtime_ns", "ctime_ns", "inode", "device")
_SAME = _STAT[:-1]  # devices are numbered anew when a disk is plugged in again
_HEADER = ("duration_s", "sample_rate_hz", "channels", "codec")
_PROBLEM = ("problem", "problem_detail")


class Files:
    """Paths and tracks."""

    def __init__(self, transactions: Transactions, ranks: Ranks) -> None:
        self._transactions = transactions
        self._ranks = ranks

    def recognise(
        self, run_id: int, files: Sequence[SeenFile], *, stages: Iterable[str]
    ) -> list[SeenFile]:
        """Mark the files that are known and unchanged as seen and queue their open jobs.

        Returns:
            The others, new or changed, in the order given.
        """
        by_path = {file.path: file for file in files}
        self._ranks.meet(by_path)
        with self._transactions.begin() as tx:
            rows = tx.execute(
                select(
                    paths.c.id, paths.c.path, paths.c.track_id, *(paths.c[name] for name in _STAT)
                ).where(paths.c.path.in_(by_path))
            ).all()
            same = [row for row in rows if _unchanged(row, by_path[row.path])]
            tx.execute(
                update(paths)
                .where(paths.c.id.in_([row.id for row in same]))
                .values(seen_run=run_id, missing=False)
            )
            met = {row.track_id for row in same if row.track_id is not None}
            self._ranks.queue(tx, run_id, met, stages)
        known = {row.path for row in same}
        return [file for file in files if file.path not in known]

    def add(self, run_id: int, files: Sequence[SeenFile]) -> None:
        """Take in new and changed files; the probe will tell what they are."""
        if not files:
            return
        row = upsert(paths)
        fresh = row.on_conflict_do_update(
            index_elements=[paths.c.path],
            set_={
                **{name: row.excluded[name] for name in (*_STAT, "seen_run")},
                "track_id": None,
                "missing": False,
                "probe_deaths": 0,
                "problem": None,
            },
        )
        with self._transactions.begin() as tx:
            tx.execute(
                fresh,
                [
                    {
                        "path": file.path,
                        "shown": file.shown,
                        "seen_run": run_id,
                        "missing": False,
                        "probe_deaths": 0,
                        **{name: getattr(file, name) for name in _STAT},
                    }
                    for file in files
                ],
            )

    def to_probe(self, run_id: int, *, after: int, limit: int) -> list[KnownPath]:
        """Return files of this run that nobody has hashed yet, in the order they were found."""
        wanted = (
            select(*_known_columns())
            .where(
                paths.c.seen_run == run_id,
                paths.c.track_id.is_(None),
                paths.c.problem.is_(None),
                paths.c.id > after,
            )
            .order_by(paths.c.id)
            .limit(limit)
        )
        with self._transactions.begin() as connection:
            return [KnownPath(*row) for row in connection.execute(wanted)]

    def track_of(self, sha256: str) -> KnownTrack | None:
        """Return the track that has this content."""
        return self._track(tracks.c.sha256 == sha256)

    def track_in(self, folder: bytes) -> KnownTrack | None:
        """Return the track whose outputs live in `folder`, or in a folder above or below it."""
        above = [folder[:cut] for cut, byte in enumerate(folder) if byte == ord("/")]
        return self._track(
            or_(
                tracks.c.folder.in_([folder, *above]),
                tracks.c.folder.between(folder + b"/", folder + b"0", symmetric=False)
                & (tracks.c.folder != folder + b"0"),
            )
        )

    def paths_of(self, track_id: int, *, limit: int, before: int | None = None) -> list[KnownPath]:
        """Return paths under which a track was found, the newest first, below a number."""
        wanted = select(*_known_columns()).where(paths.c.track_id == track_id)
        if before is not None:
            wanted = wanted.where(paths.c.id < before)
        with self._transactions.begin() as connection:
            rows = connection.execute(wanted.order_by(paths.c.id.desc()).limit(limit))
            return [KnownPath(*row) for row in rows]

    def add_track(
        self,
        run_id: int,
        path_id: int,
        probed: Probed,
        folder: bytes,
        planned: Sequence[Planned],
        *,
        stages: Iterable[str] | None = None,
    ) -> None:
        """Note a content never seen before, with its jobs; this run wants those of `stages`."""
        with self._transactions.begin() as tx:
            track_id = tx.execute(
                insert(tracks)
                .values(**{**probed.__dict__, "folder": folder})
                .returning(tracks.c.id)
            ).scalar_one()
            tx.execute(update(paths).where(paths.c.id == path_id).values(track_id=track_id))
            problem = (probed.problem, probed.problem_detail)
            add_first_jobs(tx, planned, track_id, audio_s=probed.duration_s, problem=problem)
            wanted = {job.stage for job in planned} if stages is None else stages
            self._ranks.queue(tx, run_id, [track_id], wanted, path_id=path_id)

    def link(
        self,
        run_id: int,
        path_id: int,
        track: KnownTrack,
        folder: bytes,
        probed: Probed,
        *,
        stages: Iterable[str],
    ) -> None:
        """Note that a path holds a known content, whose outputs now live in `folder`."""
        found = {name: getattr(probed, name) for name in _PROBLEM}
        with self._transactions.begin() as tx:
            tx.execute(update(paths).where(paths.c.id == path_id).values(track_id=track.id))
            if probed.problem is None:
                # What its header says is not known yet if it could not be read when first found.
                found |= {name: getattr(probed, name) for name in _HEADER}
                unknown = (jobs.c.track_id == track.id) & jobs.c.audio_s.is_(None)
                tx.execute(update(jobs).where(unknown).values(audio_s=probed.duration_s))
            tx.execute(update(tracks).where(tracks.c.id == track.id).values(folder=folder, **found))
            self._ranks.queue(tx, run_id, [track.id], stages, path_id=path_id)

    def rehouse(self, track_id: int, folder: bytes) -> None:
        """Note that a track's outputs were moved to `folder`."""
        with self._transactions.begin() as tx:
            tx.execute(update(tracks).where(tracks.c.id == track_id).values(folder=folder))

    def probe_failed(self, path_id: int, problem: str) -> None:
        """Note that a file could not even be hashed; it is tried again when a scan finds it."""
        with self._transactions.begin() as tx:
            tx.execute(update(paths).where(paths.c.id == path_id).values(problem=problem))

    def probe_died(self, path_id: int) -> int:
        """Note that the probe died on this file; return how often it did."""
        died = (
            update(paths)
            .where(paths.c.id == path_id)
            .values(probe_deaths=paths.c.probe_deaths + 1)
            .returning(paths.c.probe_deaths)
        )
        with self._transactions.begin() as tx:
            return int(tx.execute(died).scalar_one())

    def unseen(self, run_id: int, *, after: int, limit: int) -> list[KnownPath]:
        """Return paths that this run's scan did not meet, in order of their number."""
        wanted = (
            select(*_known_columns())
            .where(paths.c.seen_run != run_id, paths.c.id > after)
            .order_by(paths.c.id)
            .limit(limit)
        )
        with self._transactions.begin() as connection:
            return [KnownPath(*row) for row in connection.execute(wanted)]

    def mark_missing(self, path_ids: Sequence[int]) -> None:
        """Note that these files are gone; their outputs are kept."""
        if not path_ids:
            return
        gone = update(paths).where(paths.c.id == bindparam("gone")).values(missing=True)
        with self._transactions.begin() as tx:
            tx.execute(gone, [{"gone": path_id} for path_id in path_ids])

    def retry_problems(self) -> None:
        """Let files that could not be hashed be tried again by this run."""
        with self._transactions.begin() as tx:
            tx.execute(
                update(paths)
                .where(paths.c.problem.is_not(None), paths.c.track_id.is_(None))
                .values(problem=None, probe_deaths=0)
            )

    def replaced(self) -> list[KnownTrack]:
        """Return tracks that no path holds any more, because other content took its place."""
        held = select(paths.c.track_id).where(paths.c.track_id == tracks.c.id).exists()
        # A file that still waits for the probe may turn out to be one of them, moved.
        settled = (
            ~select(paths.c.id)
            .where(
                paths.c.track_id.is_(None), paths.c.problem.is_(None), paths.c.missing.is_(False)
            )
            .exists()
        )
        wanted = select(tracks.c.id, tracks.c.sha256, tracks.c.folder).where(~held, settled)
        with self._transactions.begin() as connection:
            return [KnownTrack(*row) for row in connection.execute(wanted)]

    def drop_track(self, track_id: int) -> None:
        """Forget a track whose folder went to the trash."""
        of_track = select(jobs.c.id).where(jobs.c.track_id == track_id)
        with self._transactions.begin() as tx:
            tx.execute(delete(results).where(results.c.job_id.in_(of_track)))
            tx.execute(delete(attempts).where(attempts.c.job_id.in_(of_track)))
            tx.execute(delete(jobs).where(jobs.c.track_id == track_id))
            tx.execute(delete(tracks).where(tracks.c.id == track_id))

    def _track(self, condition: ColumnElement[bool]) -> KnownTrack | None:
        wanted = select(tracks.c.id, tracks.c.sha256, tracks.c.folder).where(condition).limit(1)
        with self._transactions.begin() as connection:
            row = connection.execute(wanted).one_or_none()
        return KnownTrack(*row) if row else None


def _known_columns() -> list[Column[Any]]:
    return [paths.c.id, paths.c.path, paths.c.track_id, *(paths.c[name] for name in _STAT)]


def _unchanged(row: Row[tuple[object, ...]], file: SeenFile) -> bool:
    return all(getattr(row, name) == getattr(file, name) for name in _SAME)
