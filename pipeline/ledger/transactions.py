"""One transaction per ledger method, or several methods in one: each commit waits for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine

from pipeline.ledger.trouble import DATABASE_ERRORS, broken


class Transactions:
    """Gives the methods of the ledger their transaction. For one thread."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._open: Connection | None = None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give a transaction that is committed at the end, or the one that is open around it."""
        if self._open is not None:
            yield self._open
            return
        with self._explained(), self._engine.begin() as tx:
            yield tx

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make everything that is noted inside one transaction: all of it is kept, or none."""
        if self._open is not None:
            yield
            return
        with self._explained(), self._engine.connect() as connection:
            connection.begin()
            self._open = connection
            try:
                yield
                connection.commit()
            finally:
                self._open = None  # leaving the connection rolls back what was not committed

    def commit_so_far(self) -> None:
        """Commit what is open and go on: files were changed that only this entry explains."""
        if self._open is not None:
            self._open.commit()
            self._open.begin()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Translate what the database says into what a user can act on."""
        try:
            yield
        except DATABASE_ERRORS as error:
            raise broken(error, self._path) from error

    def dispose(self) -> None:
        """Close the connection."""
        self._engine.dispose()
