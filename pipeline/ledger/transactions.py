"""One transaction per ledger method, or several methods in one: each commit waits for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine


class Transactions:
    """Gives the methods of the ledger their transaction. For one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: Connection | None = None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give a transaction that is committed at the end, or the one that is open around it."""
        if self._open is not None:
            yield self._open
            return
        with self._engine.begin() as tx:
            yield tx

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make everything that is noted inside one transaction: all of it is kept, or none."""
        if self._open is not None:
            yield
            return
        with self._engine.begin() as tx:
            self._open = tx
            try:
                yield
            finally:
                self._open = None

    def dispose(self) -> None:
        """Close the connection."""
        self._engine.dispose()
