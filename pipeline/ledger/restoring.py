"""Filling a new ledger with what manifests prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import delete, insert, select

from pipeline.ledger.schema import State, jobs, paths, results, tracks
from pipeline.ledger.transactions import Transactions

_NEVER_NS = -1  # a time that no scan takes for unchanged, as for files that are to be read again


@dataclass(frozen=True)
class RestoredTrack:
    """A content as the manifests of its outputs describe it. Named like the columns."""

    sha256: str
    size_bytes: int
    duration_s: float | None
    sample_rate_hz: int | None
    channels: int | None
    codec: str | None
    folder: bytes


@dataclass(frozen=True)
class RestoredJob:
    """A job whose outputs lie published. Named like the columns."""

    stage: str
    scope: str
    lane: str
    recipe: str
    upstream: str | None
    fingerprint: str
    wall_s: float | None
    cpu_s: float | None
    manifest_sha256: str


@dataclass(frozen=True)
class Restored:
    """A track with its jobs, each with its features, and the path at which its source should be."""

    track: RestoredTrack
    path: bytes
    shown: str
    jobs: tuple[tuple[RestoredJob, str | None], ...]


class Restoring:
    """Puts tracks into a ledger that holds nothing else and that no run has ever opened."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._track_id = 0
        self._job_id = 0

    def add(self, found: Sequence[Restored]) -> None:
        """Note tracks with their jobs, all `done`, in one transaction.

        Their paths, each of one track only, are noted as seen by no run: the next one reads the
        files again, and tells by their hash which they are.
        """
        track_rows, path_rows, job_rows, result_rows = [], [], [], []
        for one in found:
            self._track_id += 1
            track_rows.append({"id": self._track_id, **_columns(one.track)})
            path_rows.append(
                {
                    "path": one.path,
                    "shown": one.shown,
                    "track_id": self._track_id,
                    "size_bytes": one.track.size_bytes,
                    "mtime_ns": _NEVER_NS,
                    **dict.fromkeys(("ctime_ns", "inode", "device", "seen_run"), 0),
                    "probe_deaths": 0,
                    "missing": False,
                }
            )
            for job, features in one.jobs:
                self._job_id += 1
                job_rows.append(
                    {
                        "id": self._job_id,
                        "track_id": self._track_id,
                        "state": State.DONE,
                        "rank": self._track_id,
                        "audio_s": one.track.duration_s,
                        **_columns(job),
                        "deaths": 0,
                        "interruptions": 0,
                        "retried": False,
                    }
                )
                if features is not None:
                    result_rows.append({"job_id": self._job_id, "features": features})
        with self._transactions.begin() as tx:
            for table, rows in (
                (tracks, track_rows),
                (paths, path_rows),
                (jobs, job_rows),
                (results, result_rows),
            ):
                if rows:
                    tx.execute(insert(table), rows)

    def take_out(self, sha256: str) -> None:
        """Take a track out again: a better copy of its outputs was found."""
        track = select(tracks.c.id).where(tracks.c.sha256 == sha256).scalar_subquery()
        theirs = select(jobs.c.id).where(jobs.c.track_id == track)
        with self._transactions.begin() as tx:
            tx.execute(delete(results).where(results.c.job_id.in_(theirs)))
            tx.execute(delete(jobs).where(jobs.c.track_id == track))
            tx.execute(delete(paths).where(paths.c.track_id == track))
            tx.execute(delete(tracks).where(tracks.c.sha256 == sha256))


def _columns(row: RestoredTrack | RestoredJob) -> dict[str, object]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
