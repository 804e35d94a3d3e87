"""What the ledger answers to those who only read: status, tracks, one track whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, exists, select

from pipeline.errors import BadUsage
from pipeline.ledger.counting import Status, Today, count
from pipeline.ledger.plan import Planned
from pipeline.ledger.schema import attempts, jobs, paths, results, tracks
from stages.base import JsonValue

_NAMED_AT_MOST = 20
_ANY_DAY = Today()
_HASH_DIGITS_AT_LEAST = 4


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

    def status(
        self, planned: Sequence[Planned], separation: Planned | None, today: Today = _ANY_DAY
    ) -> Status:
        """Return the dataset in numbers."""
        with self._engine.connect() as connection:
            return count(connection, planned, separation, today)

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
        """Return the tracks that a name means: relative path, unique suffix or hash prefix.

        A path as it is on disk is found at once. The end of one, and a path that is only shown
        like that, take one pass over the paths (13 ms with 100,000 of them).
        """
        with self._engine.connect() as connection:
            exact = select(paths.c.track_id).where(paths.c.path == os.fsencode(name))
            found = connection.execute(exact).scalar()
            if found is not None:
                return [int(found)]
            ends = select(paths.c.track_id, paths.c.shown).where(
                paths.c.shown.endswith(name, autoescape=True)
            )
            named: dict[int, bool] = {}
            for track_id, shown in connection.execute(ends):
                if track_id is not None:
                    named[track_id] = named.get(track_id, False) or shown == name
            whole = [track_id for track_id, is_whole in named.items() if is_whole]
            return whole or sorted({*named, *self._by_hash(connection, name)})[:_NAMED_AT_MOST]

    def _by_hash(self, connection: Connection, prefix: str) -> list[int]:
        if len(prefix) < _HASH_DIGITS_AT_LEAST or not set(prefix) <= set("0123456789abcdef"):
            return []
        # "g" comes after every digit. A pattern would be compared with every track's hash.
        within = tracks.c.sha256.between(prefix, f"{prefix}g")
        seen = exists().where(paths.c.track_id == tracks.c.id)
        wanted = select(tracks.c.id).where(within, seen).limit(_NAMED_AT_MOST)
        return list(connection.execute(wanted).scalars())

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
