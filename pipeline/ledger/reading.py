"""What the ledger answers to those who only read: status, tracks, one track whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, or_, select

from pipeline.errors import BadUsage
from pipeline.ledger.plan import Planned, stale
from pipeline.ledger.schema import State, attempts, jobs, paths, results, runs, tracks
from stages.base import JsonValue


@dataclass(frozen=True)
class JobCounts:
    """Jobs of one stage and scope by state, and what is known of their speed."""

    stage: str
    scope: str
    by_state: dict[str, int]
    stale: int
    remaining_audio_s: float
    wall_s_per_audio_s: float | None


@dataclass(frozen=True)
class Status:
    """A dataset in numbers."""

    tracks: int
    missing: int
    unreadable: int
    unprobed: int
    jobs: list[JobCounts]
    blocked: dict[str, str]  # stage -> why
    last_run: dict[str, JsonValue] | None

    @property
    def remaining_s(self) -> float | None:
        """Seconds until all that is open is done, None while a speed is unknown."""
        total = 0.0
        for counts in self.jobs:
            if not counts.remaining_audio_s:
                continue
            if counts.wall_s_per_audio_s is None:
                return None
            total += counts.remaining_audio_s * counts.wall_s_per_audio_s
        return total


@dataclass(frozen=True)
class JobLine:
    """One job of one track, as `tracks` lists it."""

    path: str
    stage: str
    scope: str
    state: str
    reason: str | None
    detail: str | None
    missing: bool = False


class Reading:
    """Questions to a ledger that is opened read-only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def status(self, planned: Sequence[Planned], separation: Planned | None) -> Status:
        """Count everything. One pass over the jobs, however many there are."""
        with self._engine.connect() as connection:
            present = select(paths.c.track_id).where(paths.c.missing.is_(False))
            count = _scalar(connection, select(func.count(func.distinct(paths.c.track_id))))
            there = _scalar(
                connection,
                select(func.count(func.distinct(paths.c.track_id))).where(
                    paths.c.missing.is_(False)
                ),
            )
            unreadable = _scalar(
                connection,
                select(func.count()).select_from(tracks)
                .where(tracks.c.problem.is_not(None), tracks.c.id.in_(present)),
            )  # fmt: skip
            waits = paths.c.track_id.is_(None) & paths.c.missing.is_(False)
            unhashed = _scalar(
                connection, select(func.count()).where(waits, paths.c.problem.is_not(None))
            )
            unprobed = _scalar(
                connection, select(func.count()).where(waits, paths.c.problem.is_(None))
            )
            return Status(
                tracks=count,
                missing=count - there,
                unreadable=unreadable + unhashed,
                unprobed=unprobed,
                jobs=self._job_counts(connection, planned, separation),
                blocked=self._blocked(connection),
                last_run=self._last_run(connection),
            )

    def _job_counts(
        self, connection: Connection, planned: Sequence[Planned], separation: Planned | None
    ) -> list[JobCounts]:
        rows = connection.execute(
            select(
                jobs.c.stage,
                jobs.c.scope,
                jobs.c.state,
                func.count().label("number"),
                func.sum(jobs.c.audio_s).label("audio_s"),
                func.sum(jobs.c.wall_s).label("wall_s"),
                func.sum(jobs.c.audio_s).filter(jobs.c.wall_s.is_not(None)).label("timed_audio_s"),
            ).group_by(jobs.c.stage, jobs.c.scope, jobs.c.state)
        ).all()
        known = {(one.stage, one.scope): one for one in planned}
        found = []
        for stage, scope in sorted({(row.stage, row.scope) for row in rows}):
            mine = [row for row in rows if (row.stage, row.scope) == (stage, scope)]
            job = known.get((stage, scope))
            found.append(
                JobCounts(
                    stage=stage,
                    scope=scope,
                    by_state={str(row.state): int(row.number) for row in mine},
                    stale=self._stale(connection, job, separation) if job else 0,
                    remaining_audio_s=sum(row.audio_s or 0.0 for row in mine if row.state in _OPEN),
                    wall_s_per_audio_s=_speed(mine),
                )
            )
        return found

    def _blocked(self, connection: Connection) -> dict[str, str]:
        why = (
            select(jobs.c.stage, func.max(jobs.c.detail))
            .where(jobs.c.state == State.BLOCKED)
            .group_by(jobs.c.stage)
        )
        return {str(stage): str(detail) for stage, detail in connection.execute(why)}

    def _stale(self, connection: Connection, job: Planned, separation: Planned | None) -> int:
        this = (jobs.c.stage == job.stage) & (jobs.c.scope == job.scope)
        return _scalar(
            connection,
            select(func.count()).where(this, jobs.c.state == State.DONE, stale(job, separation)),
        )

    def _last_run(self, connection: Connection) -> dict[str, JsonValue] | None:
        row = connection.execute(select(runs).order_by(runs.c.id.desc()).limit(1)).one_or_none()
        if row is None:
            return None
        kept = ("id", "host", "pid", "version", "started_utc", "ended_utc", "exit_code")
        return {name: getattr(row, name) for name in kept}

    def tracks(self, *, state: str | None = None, stage: str | None = None) -> Iterator[JobLine]:
        """Give the jobs in a state, by path; without one, all of them.

        Files that could not even be hashed have no jobs; they come first, as `unreadable`.
        """
        with self._engine.connect() as connection:
            if state in (None, "unreadable") and stage is None:
                unread = select(paths.c.shown, paths.c.problem).where(paths.c.problem.is_not(None))
                for row in connection.execute(unread.order_by(paths.c.path)):
                    yield JobLine(row.shown, "", "", "unreadable", "io", row.problem)
            wanted = (
                select(
                    paths.c.shown,
                    jobs.c.stage,
                    jobs.c.scope,
                    jobs.c.state,
                    jobs.c.reason,
                    jobs.c.detail,
                    paths.c.missing,
                )
                .join(tracks, tracks.c.id == jobs.c.track_id)
                .join(paths, paths.c.track_id == tracks.c.id)
                .order_by(paths.c.path, jobs.c.scope, jobs.c.stage)
            )
            if state == "unreadable":
                wanted = wanted.where(tracks.c.problem.is_not(None))
            elif state is not None:
                wanted = wanted.where(jobs.c.state == state)
            if stage is not None:
                wanted = wanted.where(jobs.c.stage == stage)
            for found in connection.execution_options(yield_per=1000).execute(wanted):
                yield JobLine(*found)

    def find(self, name: str) -> list[int]:
        """Return the tracks that a name means: relative path, unique suffix or hash prefix."""
        with self._engine.connect() as connection:
            exact = select(paths.c.track_id).where(
                paths.c.shown == name, paths.c.track_id.is_not(None)
            )
            found = list(connection.execute(exact.distinct()).scalars())
            if found:
                return found
            ends = [paths.c.shown.endswith(name, autoescape=True)]
            if len(name) >= 4 and set(name) <= set("0123456789abcdef"):
                by_hash = select(tracks.c.id).where(tracks.c.sha256.startswith(name))
                ends.append(paths.c.track_id.in_(by_hash))
            wanted = select(paths.c.track_id).where(or_(*ends), paths.c.track_id.is_not(None))
            return list(connection.execute(wanted.distinct().limit(20)).scalars())

    def show(self, name: str) -> dict[str, JsonValue]:
        """Return everything that is known of one track.

        Raises:
            BadUsage: no track, or several, go by that name.
        """
        found = self.find(name)
        if not found:
            raise BadUsage(
                f"no track goes by {name!r}. Give a relative path, its end, or the start of its hash."
            )
        if len(found) > 1:
            raise BadUsage(
                f"{len(found)} tracks go by {name!r}: {', '.join(self._names(found))}. Give more of the path."
            )
        with self._engine.connect() as connection:
            track = connection.execute(select(tracks).where(tracks.c.id == found[0])).one()
            return {
                "sha256": track.sha256,
                "size_bytes": track.size_bytes,
                "duration_s": track.duration_s,
                "sample_rate_hz": track.sample_rate_hz,
                "channels": track.channels,
                "codec": track.codec,
                "problem": track.problem,
                "problem_detail": track.problem_detail,
                "folder": track.folder.decode(errors="backslashreplace"),
                "paths": self._paths(connection, found[0]),
                "jobs": self._jobs(connection, found[0]),
            }

    def _names(self, track_ids: Sequence[int]) -> list[str]:
        wanted = (
            select(paths.c.shown).where(paths.c.track_id.in_(track_ids)).order_by(paths.c.shown)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(wanted.limit(5)).scalars())

    def _paths(self, connection: Connection, track_id: int) -> list[JsonValue]:
        wanted = select(paths.c.shown, paths.c.missing).where(paths.c.track_id == track_id)
        return [
            {"path": row.shown, "missing": row.missing}
            for row in connection.execute(wanted.order_by(paths.c.id))
        ]

    def _jobs(self, connection: Connection, track_id: int) -> list[JsonValue]:
        wanted = (
            select(jobs, results.c.features)
            .join(results, results.c.job_id == jobs.c.id, isouter=True)
            .where(jobs.c.track_id == track_id)
            .order_by(jobs.c.scope, jobs.c.stage)
        )
        return [_job(connection, row) for row in connection.execute(wanted).all()]


_OPEN = (State.PENDING, State.WAITING, State.RUNNING)


def _job(connection: Connection, row: Row[Any]) -> JsonValue:
    kept = (
        "stage", "scope", "state", "reason", "detail", "deaths", "interruptions", "fingerprint",
        "wall_s", "cpu_s", "peak_bytes", "manifest_sha256",
    )  # fmt: skip
    history = select(attempts).where(attempts.c.job_id == row.id).order_by(attempts.c.id)
    told = ("run_id", "started_utc", "ended_utc", "outcome", "signal", "phase", "detail")
    return {
        **{name: getattr(row, name) for name in kept},
        "attempts": [
            {name: getattr(one, name) for name in told} for one in connection.execute(history)
        ],
        "features": json.loads(row.features) if row.features else None,
    }


def _scalar(connection: Connection, wanted: object) -> int:
    return int(connection.execute(wanted).scalar_one())  # type: ignore[call-overload]


def _speed(rows: Sequence[Row[Any]]) -> float | None:
    wall_s = sum(row.wall_s or 0.0 for row in rows)
    audio_s = sum(row.timed_audio_s or 0.0 for row in rows)
    return wall_s / audio_s if audio_s else None
