"""Raw SQL from the user, on a connection that can only look."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadUsage, PipelineError
from pipeline.ledger.connect import connect_reader, readable_file
from pipeline.ledger.trouble import broken, is_damage

_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
_STEPS_BETWEEN_LOOKS = 10_000

Value = str | int | float | bytes | None


@dataclass(frozen=True)
class Answer:
    """Column names, and rows as they are read."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Value, ...]]


def ask(path: Path, sql: str, *, limit_s: float) -> Iterator[Answer]:
    """Give the answer to one SELECT; a generator, so that the connection is closed after it.

    Read-only three times over: the file is opened read-only, `query_only` is set, and an authorizer
    lets nothing but reading through (no ATTACH, no PRAGMA, no extension).

    Raises:
        BadUsage: not a SELECT, wrong SQL, or longer than `limit_s`.
        LedgerDamaged: its content is no longer that of a database.
    """
    with readable_file(path) as readable:
        connection = connect_reader(readable)
        try:
            connection.execute("PRAGMA query_only=1")
            end = time.monotonic() + limit_s
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS_BETWEEN_LOOKS)
            connection.set_authorizer(_authorize)
            yield _answer(connection, sql, _Explainer(path, limit_s))
        finally:
            connection.close()


def _answer(connection: sqlite3.Connection, sql: str, explain: _Explainer) -> Answer:
    try:
        cursor = connection.execute(sql)
    except (sqlite3.Error, sqlite3.Warning, UnicodeError) as error:
        raise explain(error) from error
    if cursor.description is None:
        raise BadUsage("that is no question: give one SELECT.")
    return Answer(tuple(column[0] for column in cursor.description), _rows(cursor, explain))


def _rows(cursor: sqlite3.Cursor, explain: _Explainer) -> Iterator[tuple[Value, ...]]:
    try:
        yield from cursor
    except sqlite3.Error as error:
        raise explain(error) from error


def _authorize(action: int, one: str | None, two: str | None, *_: str | None) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (two or "").lower() in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


@dataclass(frozen=True)
class _Explainer:
    """Says of an error whether other SQL would avoid it."""

    path: Path
    limit_s: float

    def __call__(self, error: Exception) -> PipelineError:
        if is_damage(error):
            return broken(error, self.path)
        return _explained(error, self.limit_s)


def _explained(error: Exception, limit_s: float) -> BadUsage:
    text = "the query is not UTF-8" if isinstance(error, UnicodeError) else str(error)
    if "interrupted" in text:
        return BadUsage(
            f"the query took longer than {limit_s:g} s and was stopped. Raise --time-limit."
        )
    if any(word in text for word in ("not authorized", "prohibited", "denied")):
        return BadUsage(f"only SELECT on the ledger's tables is allowed here ({text}).")
    return BadUsage(
        f"{text.rstrip('.')}. The tables: runs, tracks, paths, jobs, attempts, results, speeds; the views: job, feature."
    )
