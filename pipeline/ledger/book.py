"""The ledger as the supervisor holds it: one writer, one connection, each method a transaction."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, func, insert, select, update

from pipeline.ledger.connect import reader, writer
from pipeline.ledger.files import Files
from pipeline.ledger.jobs import Jobs
from pipeline.ledger.keeping import Keeping
from pipeline.ledger.migrate import bring_up_to_date, stamp
from pipeline.ledger.outlook import Outlook
from pipeline.ledger.queue import Queue
from pipeline.ledger.ranks import Ranks
from pipeline.ledger.restoring import Restoring
from pipeline.ledger.schema import runs
from pipeline.ledger.speeds import Speeds
from pipeline.ledger.transactions import Transactions
from pipeline.ledger.trouble import DATABASE_ERRORS, broken, check_pages


def now_utc() -> str:
    """Return the time of day for people; nothing is ordered or timed by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Ledger:
    """Tracks, jobs and runs of one dataset. Only the holder of the run lock may open one."""

    def __init__(
        self,
        engine: Engine,
        path: Path,
        *,
        clock: Callable[[], str] = now_utc,
        order: str = "found",
    ) -> None:
        self._transactions = Transactions(engine, path)
        self._clock = clock
        self._path = path
        self.files = Files(self._transactions, Ranks(order))
        self.queue = Queue(self._transactions, clock)
        self.jobs = Jobs(self._transactions, clock)
        self.keeping = Keeping(self._transactions)
        self.restoring = Restoring(self._transactions)
        self.outlook = Outlook(self._transactions)
        self.speeds = Speeds(self._transactions)
        self.together = self._transactions.together
        self.commit_so_far = self._transactions.commit_so_far

    @classmethod
    def open(cls, path: Path, *, order: str = "found", examine: bool = False) -> Ledger:
        """Open or create the ledger, and bring its schema up to date.

        Args:
            examine: look through all of it for damage first, one pass over the file.
            order: in which a run claims its tracks, one of `ranks.ORDERS`.

        Raises:
            LedgerBroken: of a newer version, not a ledger, or not to be opened.
            LedgerDamaged: its content is no longer that of a database.
        """
        try:
            if path.exists() and path.stat().st_size:
                # By reading only: opening for writing would change a file that is not ours.
                with reader(path) as found:
                    stamp(found, path)
            engine = writer(path)
            try:
                if examine:
                    check_pages(engine, path)
                bring_up_to_date(engine, path)
            except BaseException:
                engine.dispose()
                raise
        except (OSError, *DATABASE_ERRORS) as error:
            raise broken(error, path) from error
        return cls(engine, path, order=order)

    @staticmethod
    def seal(path: Path) -> list[int] | None:
        """Return by what a closed ledger is known to be the one that was closed; None without one."""
        try:
            stat = path.stat()
        except OSError:
            return None
        return [stat.st_size, stat.st_mtime_ns]

    def close(self) -> None:
        """Close the connection; SQLite then folds the WAL into the file."""
        self._transactions.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin_run(self, *, host: str, pid: int, version: str, settings: str) -> int:
        """Note that a run began; return its number."""
        row = insert(runs).values(
            host=host, pid=pid, version=version, settings=settings, started_utc=self._clock()
        )
        with self._transactions.begin() as tx:
            return int(tx.execute(row.returning(runs.c.id)).scalar_one())

    def end_run(self, run_id: int, *, exit_code: int) -> None:
        """Note that a run ended, and how."""
        ended = update(runs).where(runs.c.id == run_id)
        with self._transactions.begin() as tx:
            tx.execute(ended.values(ended_utc=self._clock(), exit_code=exit_code))

    def journal_bytes(self) -> int:
        """Return the size of what is committed but not yet folded into the file."""
        try:
            return os.stat(f"{self._path}-wal").st_size
        except OSError:
            return 0

    def last_run(self) -> int:
        """Return the number of the newest run, 0 when there was none."""
        with self._transactions.begin() as connection:
            return int(
                connection.execute(select(func.coalesce(func.max(runs.c.id), 0))).scalar_one()
            )
