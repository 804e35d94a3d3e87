"""All that a ledger knows of files, tracks and their jobs, read through once: for `plan`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select

from pipeline.ledger.connect import reader
from pipeline.ledger.migrate import check_readable
from pipeline.ledger.plan import Planned
from pipeline.ledger.schema import jobs, paths, tracks
from pipeline.ledger.speeds import Kind, Speed, learnt, of_jobs


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file that a run has met. `seen_as` is its size, mtime_ns, ctime_ns and inode then."""

    path: bytes
    track_id: int | None
    seen_as: tuple[int, int, int, int]
    missing: bool


@dataclass(frozen=True, slots=True)
class KnownContent:
    """A track. `problem` says why no stage can use it, if so."""

    id: int
    sha256: str
    duration_s: float | None
    problem: str | None
    folder: bytes


@dataclass(frozen=True, slots=True)
class KnownJob:
    """A job, and what decides whether it is done again."""

    track_id: int
    stage: str
    scope: str
    state: str
    recipe: str | None
    upstream: str | None
    fingerprint: str | None
    reason: str | None
    retried: bool


class Known:
    """The rows of a ledger that is opened read-only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def files(self) -> Iterator[KnownFile]:
        """Give every path."""
        stat = (paths.c.size_bytes, paths.c.mtime_ns, paths.c.ctime_ns, paths.c.inode)
        wanted = select(paths.c.path, paths.c.track_id, paths.c.missing, *stat)
        with self._engine.connect() as connection:
            for path, track_id, missing, *seen_as in connection.execute(wanted):
                size, mtime, ctime, inode = seen_as
                yield KnownFile(path, track_id, (size, mtime, ctime, inode), missing)

    def tracks(self) -> Iterator[KnownContent]:
        """Give every track."""
        wanted = select(
            tracks.c.id, tracks.c.sha256, tracks.c.duration_s, tracks.c.problem, tracks.c.folder
        )
        with self._engine.connect() as connection:
            for row in connection.execute(wanted):
                yield KnownContent(*row)

    def jobs(self) -> Iterator[KnownJob]:
        """Give every job, those of a track one after the other."""
        wanted = select(
            jobs.c.track_id, jobs.c.stage, jobs.c.scope, jobs.c.state, jobs.c.recipe,
            jobs.c.upstream, jobs.c.fingerprint, jobs.c.reason, jobs.c.retried,
        ).order_by(jobs.c.track_id)  # fmt: skip
        with self._engine.connect() as connection:
            for row in connection.execution_options(stream_results=True).execute(wanted):
                yield KnownJob(*row)

    def speeds(self, planned: Sequence[Planned], *, device: str) -> dict[Kind, Speed]:
        """Return how fast the stages are that settings ask for, as far as runs have shown it."""
        with self._engine.connect() as connection:
            return learnt(connection, planned, device=device, of_jobs=lambda: of_jobs(connection))


@contextmanager
def known(path: Path) -> Iterator[Known | None]:
    """Open what a ledger knows, None where there is no ledger yet.

    Raises:
        LedgerBroken: it cannot be read, or is newer than this program.
    """
    if not path.exists():
        yield None
        return
    with reader(path) as engine:
        check_readable(engine, path)
        yield Known(engine)
