"""Bringing a ledger to today's schema: created, migrated, or refused when it is newer."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from pipeline.errors import LedgerBroken
from pipeline.ledger.schema import HEAD
from pipeline.ledger.trouble import DATABASE_ERRORS, broken

MIGRATIONS = Path(__file__).parent / "migrations"


def bring_up_to_date(engine: Engine, path: Path) -> None:
    """Create or migrate the schema in one transaction; an older ledger is backed up first.

    Raises:
        LedgerBroken: not a ledger, damaged, or made by a newer Nightshift.
    """
    found = stamp(engine, path)
    if found == HEAD:
        return
    if found is not None:
        if found not in _known_revisions():
            raise LedgerBroken(
                f"{path} was written by a newer Nightshift (schema {found}, this one knows {HEAD}). "
                "Upgrade Nightshift, or use another --out."
            )
        _back_up(engine, Path(f"{path}.before-{HEAD}"))
    _upgrade(engine)


def check_readable(engine: Engine, path: Path) -> None:
    """Make sure that a ledger can be read by those who may not migrate it.

    Raises:
        LedgerBroken: empty, damaged, older or newer.
    """
    found = stamp(engine, path)
    if found != HEAD:
        raise LedgerBroken(
            f"{path} has schema {found or 'none'}, this Nightshift reads {HEAD}. "
            "`pipeline run` migrates an older ledger; a newer one needs a newer Nightshift."
        )


def stamp(engine: Engine, path: Path) -> str | None:
    """Return the schema's revision, None for an empty file.

    Raises:
        LedgerBroken: the file is damaged or is something else.
    """
    try:
        with engine.connect() as connection:
            names = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
            if not names:
                return None
            if "alembic_version" not in names:
                raise LedgerBroken(
                    f"{path} is a database, but not a ledger of Nightshift. Use another --out."
                )
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            return str(version) if version is not None else None
    except DATABASE_ERRORS as error:
        raise broken(error, path) from error


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}


def _back_up(engine: Engine, backup: Path) -> None:
    backup.unlink(missing_ok=True)
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("VACUUM INTO ?", (str(backup),))
    finally:
        raw.close()


def _upgrade(engine: Engine) -> None:
    from alembic.command import upgrade
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        upgrade(config, "head")
