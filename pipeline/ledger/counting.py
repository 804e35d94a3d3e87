"""A dataset in numbers: what `status` tells, from one pass over an index of the jobs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select

from pipeline.ledger.plan import Planned, stale
from pipeline.ledger.schema import State, jobs, paths, runs, tracks
from pipeline.ledger.speeds import Kind, Speed, learnt, seconds_left
from stages.base import STEMS_FROM, JsonValue

_OPEN = (State.PENDING, State.WAITING, State.RUNNING)


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
class Today:
    """What the time left goes by: what settings ask for, and whether a run is at work."""

    device: str = "auto"
    overlap: bool = False
    at_work: bool = False


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
    remaining_s: float | None  # until all that is open is done, None while a speed is unknown


def count(
    connection: Connection,
    planned: Sequence[Planned],
    separation: Planned | None,
    today: Today,
) -> Status:
    """Count everything that there is in a ledger."""
    waits = paths.c.track_id.is_(None) & paths.c.missing.is_(False)
    unhashed = select(func.count()).where(waits, paths.c.problem.is_not(None))
    unprobed = select(func.count()).where(waits, paths.c.problem.is_(None))
    counts = _job_counts(connection, planned, separation)
    last_run = _last_run(connection)
    return Status(
        tracks=_scalar(connection, select(func.count(func.distinct(paths.c.track_id)))),
        missing=_missing(connection),
        unreadable=_unreadable(connection) + _scalar(connection, unhashed),
        unprobed=_scalar(connection, unprobed),
        jobs=counts,
        blocked=_blocked(connection, counts),
        last_run=last_run,
        remaining_s=_remaining_s(connection, counts, planned, last_run, today),
    )


def _missing(connection: Connection) -> int:
    """Count the tracks all of whose paths are missing."""
    other = paths.alias()
    present = exists().where(other.c.track_id == paths.c.track_id, other.c.missing.is_(False))
    gone = select(func.count(func.distinct(paths.c.track_id)))
    return _scalar(connection, gone.where(paths.c.missing.is_(True), ~present))


def _unreadable(connection: Connection) -> int:
    """Count the tracks that no stage can read, by their header alone."""
    present = exists().where(paths.c.track_id == tracks.c.id, paths.c.missing.is_(False))
    wanted = select(func.count()).select_from(tracks)
    return _scalar(connection, wanted.where(tracks.c.problem.is_not(None), present))


def _job_counts(
    connection: Connection, planned: Sequence[Planned], separation: Planned | None
) -> list[JobCounts]:
    rows = _rows(connection)
    known = {(one.stage, one.scope): one for one in planned}
    separations = {row.recipe for row in rows if row.stage == STEMS_FROM} - {None}
    outdated = separation is not None and bool(separations - {separation.recipe})
    found = []
    for stage, scope in sorted({(row.stage, row.scope) for row in rows}):
        mine = [row for row in rows if (row.stage, row.scope) == (stage, scope)]
        job = known.get((stage, scope))
        if job is None:
            not_as_asked = 0
        elif scope == "stems" and outdated:
            not_as_asked = _stale_one_by_one(connection, job, separation)
        else:
            not_as_asked = _stale(mine, job)
        found.append(
            JobCounts(
                stage=stage,
                scope=scope,
                by_state=_by_state(mine),
                stale=not_as_asked,
                remaining_audio_s=sum(row.audio_s or 0.0 for row in mine if row.state in _OPEN),
                wall_s_per_audio_s=_speed(mine),
            )
        )
    return found


def _rows(connection: Connection) -> Sequence[Row[Any]]:
    """Sum up the jobs; every column named here lies in the index `jobs_by_state`."""
    summed = select(
        jobs.c.stage,
        jobs.c.scope,
        jobs.c.state,
        jobs.c.recipe,
        func.count().label("number"),
        func.sum(jobs.c.audio_s).label("audio_s"),
        func.sum(jobs.c.wall_s).label("wall_s"),
        func.sum(jobs.c.audio_s).filter(jobs.c.wall_s.is_not(None)).label("timed_audio_s"),
    )
    each = summed.group_by(jobs.c.stage, jobs.c.scope, jobs.c.state, jobs.c.recipe)
    return connection.execute(each).all()


def _by_state(rows: Sequence[Row[Any]]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for row in rows:
        counted[str(row.state)] += int(row.number)
    return dict(counted)


def _stale(rows: Sequence[Row[Any]], job: Planned) -> int:
    """Count what is done and not as today's settings ask.

    Of stems jobs that are done none was made from another separation than its track's: the ledger
    opens them in the transaction that notes a new one.
    """
    if job.recipe is None:
        return 0
    others = [row for row in rows if row.state == State.DONE and row.recipe != job.recipe]
    return sum(int(row.number) for row in others)


def _stale_one_by_one(connection: Connection, job: Planned, separation: Planned | None) -> int:
    """Count stems jobs that are done, while settings ask for another separation of some tracks."""
    this = (jobs.c.stage == job.stage) & (jobs.c.scope == job.scope)
    done = jobs.c.state == State.DONE
    return _scalar(connection, select(func.count()).where(this, done, stale(job, separation)))


def _blocked(connection: Connection, counts: Sequence[JobCounts]) -> dict[str, str]:
    """Return why stages are blocked: one job of each tells it."""
    why = {}
    for one in counts:
        if one.by_state.get(State.BLOCKED):
            theirs = (jobs.c.stage == one.stage) & (jobs.c.scope == one.scope)
            wanted = select(jobs.c.detail).where(theirs, jobs.c.state == State.BLOCKED)
            why[one.stage] = str(connection.execute(wanted.limit(1)).scalar_one())
    return why


def _remaining_s(
    connection: Connection,
    counts: Sequence[JobCounts],
    planned: Sequence[Planned],
    last_run: Mapping[str, JsonValue] | None,
    today: Today,
) -> float | None:
    """Return the time for what is open; of the stages that the run at work does, if there is one."""
    run = last_run if today.at_work else None
    asked = run["stages"] if run is not None else None
    wanted = [one for one in planned if not isinstance(asked, list) or one.stage in asked]
    kinds = {(one.stage, one.scope) for one in wanted}
    mine = {(one.stage, one.scope): one for one in counts if (one.stage, one.scope) in kinds}

    def of_counts() -> dict[Kind, Speed]:
        return {
            kind: Speed(one.wall_s_per_audio_s, 1.0)
            for kind, one in mine.items()
            if one.wall_s_per_audio_s is not None
        }

    speeds = learnt(connection, wanted, device=today.device, of_jobs=of_counts)
    open_s = {kind: one.remaining_audio_s for kind, one in mine.items()}
    overlap = bool(run["overlap"]) if run is not None else today.overlap
    return seconds_left(open_s, speeds, overlap=overlap)


def _last_run(connection: Connection) -> dict[str, JsonValue] | None:
    row = connection.execute(select(runs).order_by(runs.c.id.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    kept = ("id", "host", "pid", "version", "started_utc", "ended_utc", "exit_code")
    asked = json.loads(row.settings)
    return {
        **{name: getattr(row, name) for name in kept},
        "stages": list(asked.get("stages", ())),
        **{name: asked.get(name) for name in ("threads", "overlap", "device")},
    }


def _scalar(connection: Connection, wanted: object) -> int:
    return int(connection.execute(wanted).scalar_one())  # type: ignore[call-overload]


def _speed(rows: Sequence[Row[Any]]) -> float | None:
    wall_s = sum(row.wall_s or 0.0 for row in rows)
    audio_s = sum(row.timed_audio_s or 0.0 for row in rows)
    return wall_s / audio_s if audio_s else None
