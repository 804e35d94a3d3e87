"""What a claim hands out: the jobs of one track and scope, and all that a lane must know of it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from pipeline.ledger.schema import State, attempts, jobs, paths, tracks
from stages.base import STEMS_FROM


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
    identity: tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode
    duration_s: float | None
    sample_rate_hz: int | None
    channels: int | None
    codec: str | None
    jobs: tuple[Job, ...]
    upstream: str | None  # stems: fingerprint of the separation


def fingerprint_of(sha256: str, recipe: str, upstream: str | None) -> str:
    """Return the hash of everything that decides a job's output."""
    return hashlib.sha256(f"{sha256}\n{recipe}\n{upstream or ''}".encode()).hexdigest()


def begin_attempts(
    tx: Connection,
    run_id: int,
    scope: str,
    taken: Sequence[tuple[int, int, str, str]],
    started_utc: str,
) -> Work | None:
    """Begin an attempt for each job that a claim took of one track.

    Args:
        taken: id, track, stage and recipe of the jobs.

    Returns:
        None when no path holds the track any more: its jobs wait for a run that finds it again.
    """
    track_id = taken[0][1]
    track = tx.execute(select(tracks).where(tracks.c.id == track_id)).one()
    path = tx.execute(
        select(paths)
        .where(paths.c.track_id == track_id)
        .order_by(paths.c.missing, paths.c.seen_run.desc(), paths.c.id)
        .limit(1)
    ).one_or_none()
    if path is None:
        # Its file turned into another content meanwhile; the next scan tells which.
        idle = {"state": State.PENDING, "queued_run": None}
        tx.execute(update(jobs).where(jobs.c.id.in_([row[0] for row in taken])).values(**idle))
        return None
    upstream = _separation_fingerprint(tx, track_id) if scope == "stems" else None
    claimed = tuple(
        Job(
            job_id,
            stage,
            scope,
            recipe,
            fingerprint_of(track.sha256, recipe, upstream),
            secrets.token_hex(8),
        )
        for job_id, _, stage, recipe in sorted(taken)
    )
    for job in claimed:
        tx.execute(
            insert(attempts).values(
                job_id=job.id, run_id=run_id, token=job.attempt, started_utc=started_utc
            )
        )
    return Work(
        track_id=track_id,
        sha256=track.sha256,
        folder=track.folder,
        path=path.path,
        identity=(path.size_bytes, path.mtime_ns, path.ctime_ns, path.inode),
        duration_s=track.duration_s,
        sample_rate_hz=track.sample_rate_hz,
        channels=track.channels,
        codec=track.codec,
        jobs=claimed,
        upstream=upstream,
    )


def _separation_fingerprint(tx: Connection, track_id: int) -> str:
    return str(
        tx.execute(
            select(jobs.c.fingerprint).where(
                jobs.c.track_id == track_id, jobs.c.stage == STEMS_FROM, jobs.c.scope == "mix"
            )
        ).scalar_one()
    )
