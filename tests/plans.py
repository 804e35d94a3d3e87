"""How SQLite would find the rows of a statement: what is executed is heard, and its plan read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event

BIG = ("jobs", "attempts", "results", "paths")
"""The tables that grow with a dataset and that nothing may walk through for one job or one track."""

_ALIAS = re.compile(r"\b(jobs|attempts|results|paths) AS (\w+)")


@dataclass(frozen=True)
class Step:
    """One step of a plan: which table, and how its rows are found."""

    table: str
    how: str

    @property
    def is_whole(self) -> bool:
        """Say whether it reads a whole table or index.

        `(column>?)` alone is one too: that is `column IS NOT NULL`, or all that is left of a list.
        """
        return self.how.startswith("SCAN") or re.search(r"\(\w+>\?\)$", self.how) is not None


@dataclass(frozen=True)
class Statement:
    """A statement that was executed, with its plan."""

    sql: str
    plan: tuple[Step, ...]

    def whole(self) -> set[str]:
        """Return the big tables that it reads whole."""
        return {step.table for step in self.plan if step.is_whole and step.table in BIG}


@contextmanager
def heard(engine: Engine | type[Engine]) -> Iterator[list[Statement]]:
    """Give a list that fills with what an engine, or every engine, executes inside."""
    statements: list[Statement] = []

    def hear(connection: Any, cursor: Any, sql: str, values: Any, context: Any, many: bool) -> None:
        if sql.split(None, 1)[0] not in ("BEGIN", "PRAGMA"):
            first = values[0] if many else values
            rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {sql}", first).fetchall()
            statements.append(Statement(sql, _steps(sql, [row[3] for row in rows])))

    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", hear)


def _steps(sql: str, lines: list[str]) -> tuple[Step, ...]:
    tables = {alias: table for table, alias in _ALIAS.findall(sql)}
    found = []
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind in ("SCAN", "SEARCH"):
            name = rest.split(" ", 1)[0]
            found.append(Step(tables.get(name, name), line))
    return tuple(found)
