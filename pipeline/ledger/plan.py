"""Which jobs a track has, and which of them a run wants: the statements that others share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, exists, insert, literal, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from pipeline.ledger.schema import State, jobs, stage_unindexed, tracks
from stages.base import STEMS_FROM


@dataclass(frozen=True)
class Planned:
    """One kind of job that today's settings ask for.

    `blocked` says why the stage cannot start; without weights there is no `recipe` either. `model`:
    of stages that have one, by name.
    """

    stage: str
    scope: str
    lane: str
    recipe: str | None
    blocked: str | None = None
    model: str | None = None


def add_jobs(tx: Connection, planned: Sequence[Planned]) -> None:
    """Add the jobs that the tracks do not have yet."""
    for job in planned:
        there = exists().where(
            jobs.c.track_id == tracks.c.id, jobs.c.stage == job.stage, jobs.c.scope == job.scope
        )
        usable, unusable = (_first_state(job.scope, usable=usable) for usable in (True, False))
        rows = select(
            tracks.c.id,
            literal(job.stage),
            literal(job.scope),
            literal(job.lane),
            case((tracks.c.problem.is_(None), usable.value), else_=unusable.value),
            tracks.c.id,
            literal(job.recipe),
            tracks.c.duration_s,
            tracks.c.problem,
            tracks.c.problem_detail,
            literal(0),
            literal(0),
            literal(False),
        ).where(~there)
        columns = (
            "track_id", "stage", "scope", "lane", "state", "rank", "recipe", "audio_s",
            "reason", "detail", "deaths", "interruptions", "retried",
        )  # fmt: skip
        tx.execute(insert(jobs).from_select(columns, rows))


def add_first_jobs(
    tx: Connection,
    planned: Sequence[Planned],
    track_id: int,
    *,
    audio_s: float | None,
    problem: tuple[str | None, str | None],
) -> None:
    """Add the jobs of a track that was just added. As `add_jobs`, in one statement that is built once."""
    reason, detail = problem
    rows = [
        {
            "track_id": track_id, "stage": job.stage, "scope": job.scope, "lane": job.lane,
            "state": _first_state(job.scope, usable=reason is None), "rank": track_id,
            "recipe": job.recipe, "audio_s": audio_s, "reason": reason, "detail": detail,
            "deaths": 0, "interruptions": 0, "retried": False,
        }
        for job in planned
    ]  # fmt: skip
    if rows:
        tx.execute(_ADD, rows)


def _first_state(scope: str, *, usable: bool) -> State:
    if scope == "mix":
        return State.PENDING if usable else State.FAILED
    return State.WAITING if usable else State.SKIPPED


_ADD = insert(jobs)


def queue(tx: Connection, run_id: int, track_ids: Collection[int], stages: Iterable[str]) -> None:
    """Let a run claim the stems jobs that a separation has opened, in the separation's place."""
    if not track_ids:
        return
    other = jobs.alias()
    place = select(other.c.rank).where(
        other.c.track_id == jobs.c.track_id, other.c.stage == STEMS_FROM, other.c.scope == "mix"
    )
    tx.execute(
        update(jobs)
        .where(
            jobs.c.track_id.in_(track_ids),
            jobs.c.scope == "stems",
            jobs.c.state.in_([State.PENDING, State.WAITING]),
            stage_unindexed.in_(list(stages)),
        )
        .values(queued_run=run_id, rank=place.scalar_subquery())
    )


def release_stems(tx: Connection, track_ids: Collection[int] | None) -> None:
    """Bring the stems jobs of these tracks (None: all) in line with their separation's state."""
    mine: list[ColumnElement[bool]] = [jobs.c.scope == "stems"]
    if track_ids is not None:
        mine.append(jobs.c.track_id.in_(track_ids))
    separated = separation_of(jobs.c.track_id, State.DONE)
    failed = separation_of(jobs.c.track_id, State.FAILED)
    open_states = jobs.c.state.in_([State.WAITING, State.SKIPPED])
    tx.execute(
        update(jobs).where(*mine, open_states, separated)
        .values(state=State.PENDING, reason=None, detail=None)
    )  # fmt: skip
    tx.execute(
        update(jobs).where(*mine, jobs.c.state == State.WAITING, failed)
        .values(state=State.SKIPPED, reason="separation_failed", detail=None)
    )  # fmt: skip
    tx.execute(
        update(jobs)
        .where(
            *mine,
            or_(
                and_(jobs.c.state == State.PENDING, ~separated),
                and_(jobs.c.state == State.SKIPPED, ~failed, jobs.c.reason == "separation_failed"),
            ),
        )
        .values(state=State.WAITING, reason=None, detail=None)
    )


def separation_of(track_id: ColumnElement[int], state: State) -> ColumnElement[bool]:
    """Say whether the track's separation is in this state."""
    other = jobs.alias()
    return exists().where(
        other.c.track_id == track_id,
        other.c.stage == STEMS_FROM,
        other.c.scope == "mix",
        other.c.state == state,
    )


def stale(job: Planned, separation: Planned | None) -> ColumnElement[bool]:
    """Say whether a published job is not the one that today's settings ask for.

    A stems job is stale too when its stems were, or will be, made anew.
    """
    if job.recipe is None:
        return literal(False)
    differs: ColumnElement[bool] = jobs.c.recipe.is_distinct_from(job.recipe)
    if job.scope == "mix":
        return differs
    other = jobs.alias()
    source = (other.c.track_id == jobs.c.track_id) & (other.c.stage == STEMS_FROM)
    newer = exists().where(source, other.c.fingerprint.is_distinct_from(jobs.c.upstream))
    if separation is None or separation.recipe is None:
        return or_(differs, newer)
    outdated = exists().where(source, other.c.recipe != separation.recipe)
    return or_(differs, newer, outdated)
