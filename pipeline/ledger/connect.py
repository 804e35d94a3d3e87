"""How SQLite is opened: for the one writer, and for everybody who only reads."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool

FILE_NAME = "ledger.db"
BUSY_TIMEOUT_S = 30.0
SQLITE_VERSION = sqlite3.sqlite_version_info


def writer(path: Path) -> Engine:
    """Return the engine of the one writer; the caller holds the run lock."""
    engine = _engine(lambda: _connect_writer(path))

    # pysqlite begins transactions late and by itself; taking the write lock at once is what makes
    # each ledger method one transaction.
    @event.listens_for(engine, "begin")
    def begin_immediate(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    return engine


def _connect_writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    # WAL with synchronous=FULL keeps every committed row in a power cut; WAL with NORMAL loses
    # them all, DELETE with FULL the last one (measured, docs/recovery.md).
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


@contextmanager
def reader(path: Path) -> Iterator[Engine]:
    """Give an engine that can only read, and never blocks or changes a live run.

    On media where SQLite cannot open its `-shm` file, ledger and WAL are copied to a temporary
    folder: `immutable=1` would ignore the WAL, and with it the newest commits.
    """
    with readable_file(path) as readable:
        engine = _engine(lambda: connect_reader(readable))
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def readable_file(path: Path) -> Iterator[Path]:
    """Give `path`, or a copy of it where reading in place is impossible."""
    if _opens(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nightshift-ledger-") as folder:
        copy = Path(folder) / path.name
        for suffix in ("", "-wal"):
            source = Path(f"{path}{suffix}")
            if source.exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        yield copy


def _opens(path: Path) -> bool:
    connection = connect_reader(path)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        # Only this message means "cannot make the -shm file"; damage and locks must be heard.
        return "unable to open" not in str(error) and "readonly" not in str(error)
    except sqlite3.DatabaseError:
        return True
    finally:
        connection.close()
    return True


def connect_reader(path: Path) -> sqlite3.Connection:
    """Return a read-only connection."""
    uri = f"file:{quote(os.fsencode(path))}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _engine(creator: object) -> Engine:
    return create_engine("sqlite://", creator=creator, poolclass=StaticPool)
