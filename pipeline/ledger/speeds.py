"""How fast each stage was, by run, settings and device: what the time that is left is told from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from pipeline.ledger.plan import Planned
from pipeline.ledger.schema import State, jobs, speeds
from pipeline.ledger.transactions import Transactions
from stages.base import STEMS_FROM

Kind = tuple[str, str]
"""A stage and a scope."""

ENOUGH_JOBS = 10
"""A run that did fewer of a kind says little: with many tracks at once the first ends have it all."""

_RUNS = 50  # of which speeds are looked at, the newest
_STEMS = 4  # of a separation, where nothing is known yet: those of htdemucs


@dataclass(frozen=True)
class Took:
    """A job that is done, and the part of its lane's time that was its own."""

    stage: str
    scope: str
    recipe: str
    device: str
    model: str | None
    audio_s: float
    lane_s: float


@dataclass(frozen=True)
class Speed:
    """What jobs of one kind took in all, of their lane's time."""

    lane_s: float
    audio_s: float

    @property
    def per_audio_s(self) -> float:
        """Seconds for one of audio."""
        return self.lane_s / self.audio_s


class Speeds:
    """What a run learns of speeds, and what earlier ones did."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def note(self, run_id: int, took: Iterable[Took]) -> None:
        """Add jobs that are done to what the run took for their kind."""
        with self._transactions.begin() as tx:
            for one in took:
                first = upsert(speeds).values(
                    run_id=run_id, stage=one.stage, scope=one.scope, recipe=one.recipe,
                    device=one.device, model=one.model, jobs=1, audio_s=one.audio_s,
                    lane_s=one.lane_s,
                )  # fmt: skip
                more = {
                    name: speeds.c[name] + first.excluded[name]
                    for name in ("jobs", "audio_s", "lane_s")
                }
                key = ["run_id", "stage", "scope", "recipe", "device"]
                tx.execute(first.on_conflict_do_update(index_elements=key, set_=more))

    def learnt(self, planned: Sequence[Planned], *, device: str) -> dict[Kind, Speed]:
        """Return what `learnt` does."""
        with self._transactions.begin() as connection:
            return learnt(connection, planned, device=device, of_jobs=lambda: of_jobs(connection))


def learnt(
    connection: Connection,
    planned: Sequence[Planned],
    *,
    device: str,
    of_jobs: Callable[[], Mapping[Kind, Speed]],
) -> dict[Kind, Speed]:
    """Return how fast the stages are that settings ask for, as far as runs have shown it.

    The newest run counts that did enough jobs with these settings, else with this model. A ledger
    that was made anew has no runs: there what the jobs say of themselves counts.

    Args:
        device: as a run asks for it. A separation on another one says nothing; `auto` takes any.
        of_jobs: gives what the jobs say; it reads an index of all of them.
    """
    rows = _newest_first(connection)
    found = {
        (job.stage, job.scope): speed
        for job in planned
        if (speed := _of_runs(rows, job, device)) is not None
    }
    timed = {(row.stage, row.scope) for row in rows}
    if any((job.stage, job.scope) not in timed for job in planned):
        before = of_jobs()
        found |= {kind: speed for kind, speed in before.items() if kind not in timed}
    return found


def _newest_first(connection: Connection) -> Sequence[Row[Any]]:
    newest = select(func.coalesce(func.max(speeds.c.run_id), 0)).scalar_subquery()
    wanted = select(speeds).where(speeds.c.run_id > newest - _RUNS, speeds.c.audio_s > 0)
    return connection.execute(wanted.order_by(speeds.c.run_id.desc())).all()


def _of_runs(rows: Sequence[Row[Any]], job: Planned, device: str) -> Speed | None:
    mine = [
        row
        for row in rows
        if (row.stage, row.scope, row.model) == (job.stage, job.scope, job.model)
        and (job.stage != STEMS_FROM or _is_meant(row.device, device))
    ]
    as_asked = [row for row in mine if row.recipe == job.recipe] or mine
    enough = [row for row in as_asked if row.jobs >= ENOUGH_JOBS] or as_asked
    return Speed(enough[0].lane_s, enough[0].audio_s) if enough else None


def _is_meant(used: str, asked: str) -> bool:
    kind = asked.partition(":")[0].replace("rocm", "cuda")  # as torch calls them both
    return asked == "auto" or used.partition(":")[0] == kind


def of_jobs(connection: Connection) -> dict[Kind, Speed]:
    """Return what the jobs that are done took, each by itself."""
    wanted = (
        select(jobs.c.stage, jobs.c.scope, func.sum(jobs.c.wall_s), func.sum(jobs.c.audio_s))
        .where(jobs.c.state == State.DONE, jobs.c.wall_s.is_not(None), jobs.c.audio_s > 0)
        .group_by(jobs.c.stage, jobs.c.scope)
    )
    return {
        (str(stage), str(scope)): Speed(float(wall_s), float(audio_s))
        for stage, scope, wall_s, audio_s in connection.execute(wanted)
    }


def seconds_left(
    open_s: Mapping[Kind, float], found: Mapping[Kind, Speed], *, overlap: bool
) -> float | None:
    """Return how long work will take, None while a speed is unknown.

    Stems that nobody measured yet are taken to be four times the mix.

    Args:
        open_s: seconds of audio that are to be done, by kind.
        overlap: whether separation is done beside the rest: then the longer of the two counts.
    """
    took = {kind: expected_s(kind, audio_s, found) for kind, audio_s in open_s.items() if audio_s}
    known = {kind: seconds for kind, seconds in took.items() if seconds is not None}
    return together_s(known, overlap=overlap) if len(known) == len(took) else None


def together_s(seconds: Mapping[Kind, float], *, overlap: bool) -> float:
    """Return how long kinds of work take together: one after another, or beside one another."""
    separation = sum(one for (stage, _), one in seconds.items() if stage == STEMS_FROM)
    rest = sum(one for (stage, _), one in seconds.items() if stage != STEMS_FROM)
    return max(separation, rest) if overlap else separation + rest


def expected_s(kind: Kind, audio_s: float, found: Mapping[Kind, Speed]) -> float | None:
    """Return how long work of one kind takes its lane, None while that is unknown."""
    stage, scope = kind
    if kind in found:
        return audio_s * found[kind].per_audio_s
    if scope == "stems" and (stage, "mix") in found:
        return audio_s * found[stage, "mix"].per_audio_s * _STEMS
    return None
