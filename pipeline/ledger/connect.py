"""How SQLite is opened: for the one writer, and for everybody who only reads."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from pipeline.errors import LedgerBroken

FILE_NAME = "ledger.db"
BUSY_TIMEOUT_S = 30.0
JOURNAL_KEPT_BYTES = 16 << 20  # SQLite begins to fold it into the file at 4 MB
SQLITE_VERSION = sqlite3.sqlite_version_info
_PARTS = ("", "-wal")
_COPY_TRIES = 5


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
    connection.execute("PRAGMA fullfsync=1")  # macOS: plain fsync stops at the drive's cache
    connection.execute("PRAGMA foreign_keys=ON")
    # The WAL grows while a reader stays; without a limit the file never shrinks again.
    connection.execute(f"PRAGMA journal_size_limit={JOURNAL_KEPT_BYTES}")
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
    """Give `path`, or a copy of it where reading in place is impossible.

    Raises:
        LedgerBroken: it cannot even be opened.
    """
    if _opens(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nightshift-ledger-") as folder:
        yield _copied(path, Path(folder) / path.name)


def _copied(path: Path, copy: Path) -> Path:
    """Copy ledger and WAL as they are at one moment; a checkpoint in between would tear them."""
    for _ in range(_COPY_TRIES):
        before = _stats(path)
        for suffix in _PARTS:
            if os.path.exists(f"{path}{suffix}"):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        if _stats(path) == before:
            return copy
    raise LedgerBroken(f"{path} changes too fast to be copied. Try again, or stop the run.")


def _stats(path: Path) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for suffix in _PARTS:
        try:
            stat = os.stat(f"{path}{suffix}")
            found.append((stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return found


def _opens(path: Path) -> bool:
    connection = connect_reader(path)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        # Only these words mean "cannot make the -shm file"; damage and locks must be heard.
        return "unable to open" not in str(error) and "readonly" not in str(error)
    except sqlite3.DatabaseError:
        return True
    finally:
        connection.close()
    return True


def connect_reader(path: Path) -> sqlite3.Connection:
    """Return a read-only connection.

    Raises:
        LedgerBroken: the file cannot be opened.
    """
    uri = f"file://{quote(os.fsencode(os.path.realpath(path)))}?mode=ro"
    try:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    except sqlite3.Error as error:
        raise LedgerBroken(
            f"{path} cannot be opened for reading ({error}). Is it there, and yours?"
        ) from error


def _engine(creator: Callable[[], sqlite3.Connection]) -> Engine:
    return create_engine("sqlite://", creator=creator, poolclass=StaticPool)
