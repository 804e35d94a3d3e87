"""What SQLite's errors mean for the user: damage, a full disk, a broken one, or another program."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from pipeline.errors import LedgerBroken, LedgerDamaged

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FULL_BELOW_BYTES = 1 << 20  # SQLite calls it an I/O error when its shared memory does not fit
_AGAIN = "run the same command again: finished work is kept."


def broken(error: BaseException, path: Path) -> LedgerBroken:
    """Return what to raise for an error of the database, in words that can be acted on."""
    cause = getattr(error, "orig", None) or error
    code = _code(cause)
    if code in _DAMAGE:
        return LedgerDamaged(path, str(cause))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LedgerBroken(
            f"{path} is locked by another program ({cause}). Close whatever has it open for "
            f"writing (`fuser {path}` names it) and {_AGAIN}"
        )
    if code == sqlite3.SQLITE_FULL or _is_full(path):
        return LedgerBroken(f"{path}: the disk is full ({cause}). Free some space and {_AGAIN}")
    return LedgerBroken(
        f"{path}: the ledger cannot be used ({cause}). See whether the disk is well and the folder "
        f"yours, and {_AGAIN}"
    )


def check_pages(engine: Engine, path: Path) -> None:
    """Look for damage that reading alone might pass by.

    Raises:
        LedgerDamaged: there is some.
    """
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise LedgerDamaged(path, str(found))


def is_damage(error: BaseException) -> bool:
    """Say whether an error means that the file is no longer a database."""
    return _code(error) in _DAMAGE


def _code(error: object) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # without the extension of the code


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _FULL_BELOW_BYTES
    except OSError:
        return False


DATABASE_ERRORS = (DBAPIError, sqlite3.DatabaseError)
