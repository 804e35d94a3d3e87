"""Which tracks come first: a job's rank, computed when a run queues it, so that a claim reads an index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection, Update, and_, bindparam, case, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from pipeline.ledger.schema import State, jobs, paths, stage_unindexed, tracks

INTERRUPTIONS_IN_A_ROW = 3
_END = 1 << 62  # from here on: tracks that three runs in a row did not survive
_ROUND = 1 << 40  # after three more, behind the others that did the same
_MAX_MS = (1 << 30) - 1  # twelve days
_MAX_MTIME_S = (1 << 34) - 1  # the year 2514


@dataclass(frozen=True)
class Ranked:
    """What the place of a track depends on. `id` tells apart what is equal otherwise."""

    id: int
    sha256: str
    duration_s: float | None
    mtime_ns: int
    met: int


def _ms(track: Ranked) -> int:
    return min(round((track.duration_s or 0.0) * 1000), _MAX_MS)


def _low(track: Ranked, bits: int) -> int:
    return track.id & ((1 << bits) - 1)


def _newest(track: Ranked) -> int:
    seconds = max(0, min(track.mtime_ns // 1_000_000_000, _MAX_MTIME_S))
    return (_MAX_MTIME_S - seconds) << 27 | _low(track, 27)


ORDERS: Mapping[str, Callable[[Ranked], int]] = {
    "found": lambda track: track.id,
    "path": lambda track: track.met,
    # Equal lengths are common (clips of 30 s): without the id a claim would read all of them.
    "shortest": lambda track: _ms(track) << 32 | _low(track, 32),
    "longest": lambda track: (_MAX_MS - _ms(track)) << 32 | _low(track, 32),
    "newest": _newest,
    "random": lambda track: int(track.sha256[:15], 16),
}
"""Rank of a track by the name of the order. Below 2**62."""


class Ranks:
    """Puts tracks into a run's queue, each in its place.

    For the order `path` it must be told what the scan meets, in the order of the scan.
    """

    def __init__(self, order: str = "found") -> None:
        self._order = order
        self._met = 0
        self._places: dict[bytes, int] = {}  # of files that no track is known for yet

    def meet(self, found: Iterable[bytes]) -> None:
        """Note files as the scan meets them."""
        if self._order == "path":
            for path in found:
                self._met += 1
                self._places[path] = self._met

    def queue(
        self,
        tx: Connection,
        run_id: int,
        track_ids: Collection[int],
        stages: Iterable[str],
        *,
        path_id: int | None = None,
    ) -> None:
        """Let a run claim the open jobs of these tracks, in these stages.

        Args:
            path_id: the one path that is new of them: a content may have many thousand copies.
        """
        wanted = tuple(stages)
        places = [
            {"of_track": track_id, "new_rank": place, "new_run": run_id}
            for track_id, place in self._ranks(tx, track_ids, path_id).items()
        ]
        if places and wanted:
            tx.execute(_queueing(wanted), places)

    def _ranks(
        self, tx: Connection, track_ids: Collection[int], path_id: int | None
    ) -> dict[int, int]:
        if self._order == "found":
            return {track_id: track_id for track_id in track_ids}
        wanted = (
            select(
                tracks.c.id, tracks.c.sha256, tracks.c.duration_s, paths.c.path, paths.c.mtime_ns
            )
            .join(paths, paths.c.track_id == tracks.c.id)
            .where(tracks.c.id.in_(track_ids))
        )
        if path_id is not None:
            wanted = wanted.where(paths.c.id == path_id)
        found: dict[int, int] = {}
        for track_id, sha256, duration_s, path, mtime_ns in tx.execute(wanted):
            met = self._places.pop(path, self._met + 1)
            rank = ORDERS[self._order](Ranked(track_id, sha256, duration_s, mtime_ns, met))
            found[track_id] = min(rank, found.get(track_id, rank))
        return found


@cache  # to build it takes longer than to execute it
def _queueing(stages: tuple[str, ...]) -> Update:
    """Return the statement that queues one track's jobs.

    One track at a time, by its index: for many at once SQLite reads all jobs of the stages.
    """
    run: ColumnElement[int] = bindparam("new_run", type_=jobs.c.queued_run.type)
    new: ColumnElement[int] = bindparam("new_rank", type_=jobs.c.rank.type)
    # A duplicate that is met later does not push its track back.
    before = and_(jobs.c.queued_run == run, jobs.c.rank < new)
    rank = case((before, jobs.c.rank), else_=new)
    # What three runs in a row did not survive goes to the end, so that it cannot stop every night.
    rounds = jobs.c.interruptions // INTERRUPTIONS_IN_A_ROW
    at_the_end = _END + rounds * _ROUND + jobs.c.track_id
    deadly = jobs.c.interruptions >= INTERRUPTIONS_IN_A_ROW
    mine = jobs.c.track_id == bindparam("of_track")
    is_open = or_(jobs.c.state == State.PENDING, jobs.c.state == State.WAITING)
    return (
        update(jobs)
        .where(mine, is_open, or_(*(stage_unindexed == stage for stage in stages)))
        .values(queued_run=run, rank=case((deadly, at_the_end), else_=rank))
    )
