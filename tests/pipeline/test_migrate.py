from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, inspect, text
from sqlalchemy.exc import OperationalError

from pipeline.errors import LedgerBroken
from pipeline.ledger import Ledger, migrate
from pipeline.ledger.connect import reader, writer
from pipeline.ledger.migrate import MIGRATIONS, check_readable, stamp
from pipeline.ledger.schema import HEAD, metadata

ROOT = Path(__file__).parents[2]
FIRST = {"runs", "tracks", "paths", "jobs", "attempts", "results"}  # of the first schema
TABLES = FIRST | {"speeds"}
VIEWS = {"job", "feature"}


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "ledger.db"
    Ledger.open(path).close()
    return path


@pytest.fixture
def ledger_file(tmp_path: Path, _made: Path) -> Path:
    """An empty ledger of today's schema that nobody holds."""
    return Path(shutil.copy(_made, tmp_path / "ledger.db"))


def _named(path: Path, kind: str) -> set[str]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = ?", [kind]).fetchall()
    connection.close()
    return {name for (name,) in rows if not name.startswith("sqlite_")}


def _execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def _refusal(path: Path) -> str:
    """Return what a run says of this file; the same file must not be read as a ledger either."""
    with pytest.raises(LedgerBroken, match=str(path)), reader(path) as engine:
        check_readable(engine, path)
    with pytest.raises(LedgerBroken) as refused:
        Ledger.open(path)
    return str(refused.value)


# ---- the schema


def test_a_fresh_file_gets_the_schema_and_its_stamp(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    Ledger.open(path).close()

    assert _named(path, "table") == TABLES | {"alembic_version"}
    assert _named(path, "view") == VIEWS
    with reader(path) as engine:
        assert stamp(engine, path) == HEAD


def test_a_file_of_length_zero_is_a_fresh_one(tmp_path: Path) -> None:
    """A run killed before its first commit leaves just that."""
    path = tmp_path / "ledger.db"
    path.touch()

    Ledger.open(path).close()

    assert _named(path, "table") == TABLES | {"alembic_version"}


def test_a_file_of_length_zero_is_nothing_to_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()

    with pytest.raises(LedgerBroken, match="has schema none"), reader(path) as engine:
        check_readable(engine, path)

    assert path.stat().st_size == 0


def test_the_migrations_end_at_the_tables_of_the_schema(ledger_file: Path) -> None:
    # Alembic leaves out its own table, and compares neither views nor check constraints: the
    # latter are compared below.
    with reader(ledger_file) as engine, engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )

        differences = compare_metadata(context, metadata)

    assert differences == []


def test_the_migrations_end_at_the_checks_of_the_schema(ledger_file: Path) -> None:
    with reader(ledger_file) as engine:
        looking = inspect(engine)
        found = {
            (table, check["name"], check["sqltext"])
            for table in TABLES
            for check in looking.get_check_constraints(table)
        }

    assert found == {
        (table.name, check.name, str(check.sqltext))
        for table in metadata.tables.values()
        for check in table.constraints
        if isinstance(check, CheckConstraint)
    }


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_migrations_follow_each_other_in_one_line() -> None:
    scripts = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())

    assert len(ScriptDirectory(str(MIGRATIONS)).get_heads()) == 1
    assert [script.revision for script in scripts] == sorted(
        (script.revision for script in scripts), reverse=True
    )


def test_opening_a_ledger_of_today_s_schema_keeps_what_is_in_it(ledger_file: Path) -> None:
    with Ledger.open(ledger_file) as ledger:
        ledger.begin_run(host="here", pid=1, version="0", settings="{}")

    with Ledger.open(ledger_file) as ledger:
        assert ledger.last_run() == 1
    assert {file.name for file in ledger_file.parent.iterdir()} == {"ledger.db"}


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    _execute(path, "CREATE TABLE alembic_version (version_num)", "CREATE TABLE results (x)")

    with pytest.raises(LedgerBroken, match=str(path)):
        Ledger.open(path)

    # `results` comes last: the tables before it were made, and taken back.
    assert _named(path, "table") == {"alembic_version", "results"}


def _with_later_migrations(folder: Path, monkeypatch: pytest.MonkeyPatch, *upgrades: str) -> None:
    """Let the product know migrations after its newest, each of one statement."""
    scripts = Path(shutil.copytree(MIGRATIONS, folder / "migrations"))
    before = HEAD
    for number, upgrade in enumerate(upgrades, start=1):
        revision = f"later{number}"
        (scripts / "versions" / f"{revision}.py").write_text(
            "from alembic import op\n"
            f"revision = '{revision}'\ndown_revision = '{before}'\n"
            f"def upgrade() -> None:\n    op.execute({upgrade!r})\n"
        )
        before = revision
    monkeypatch.setattr(migrate, "MIGRATIONS", scripts)
    monkeypatch.setattr(migrate, "HEAD", before)


def test_an_older_ledger_is_migrated_with_what_is_in_it_and_backed_up_before(
    ledger_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(ledger_file) as ledger:
        ledger.begin_run(host="here", pid=1, version="0", settings="{}")
    _with_later_migrations(
        tmp_path, monkeypatch, "CREATE TABLE moods (x)", "INSERT INTO moods VALUES ('calm')"
    )
    (backup := Path(f"{ledger_file}.before-later2")).write_text("of a migration that was killed")

    with Ledger.open(ledger_file) as ledger:
        assert ledger.last_run() == 1

    assert _named(ledger_file, "table") == TABLES | {"alembic_version", "moods"}
    assert _named(backup, "table") == TABLES | {"alembic_version"}
    with Ledger.open(ledger_file) as ledger, reader(ledger_file) as engine:
        assert stamp(engine, ledger_file) == "later2"
    monkeypatch.undo()
    with Ledger.open(backup) as ledger:
        assert ledger.last_run() == 1


def test_when_a_later_migration_fails_the_earlier_ones_are_taken_back(
    ledger_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_later_migrations(
        tmp_path, monkeypatch, "CREATE TABLE moods (x)", "INSERT INTO nowhere VALUES (1)"
    )

    with pytest.raises(LedgerBroken, match=f"{ledger_file}: the ledger cannot be used"):
        Ledger.open(ledger_file)

    assert _named(ledger_file, "table") == TABLES | {"alembic_version"}
    monkeypatch.undo()
    Ledger.open(ledger_file).close()


def test_an_older_ledger_is_not_read_before_a_run_has_migrated_it(
    ledger_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_later_migrations(tmp_path, monkeypatch, "CREATE TABLE moods (x)")
    before = ledger_file.read_bytes()

    with (
        pytest.raises(LedgerBroken, match=rf"has schema {HEAD}.*`pipeline run` migrates"),
        reader(ledger_file) as engine,
    ):
        check_readable(engine, ledger_file)

    assert ledger_file.read_bytes() == before


# ---- from the first schema to today's

MIGRATE = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from pipeline.ledger import Ledger

left = int(sys.argv[2])

def step(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", step)
event.listen(Engine, "commit", step)
Ledger.open(Path(sys.argv[1])).close()
"""
ROWS = (
    "INSERT INTO runs (id, host, pid, version, settings, started_utc) VALUES (1, 'h', 1, '0', '{}', '')",
    "INSERT INTO tracks (id, sha256, size_bytes, folder) VALUES (1, 'aa', 10, x'61')",
    "INSERT INTO paths (path, shown, size_bytes, mtime_ns, ctime_ns, inode, device, track_id, seen_run,"
    " missing, probe_deaths) VALUES (x'61', 'a', 10, 1, 1, 1, 1, 1, 1, 0, 0)",
    "INSERT INTO jobs (track_id, stage, scope, lane, state, rank, deaths, interruptions, retried)"
    " VALUES (1, 'loudness', 'mix', 'features', 'done', 1, 0, 0, 0)",
)


def _of_first_schema(path: Path) -> Path:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = writer(path)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    _execute(path, *ROWS)
    return path


def _content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in FIRST}
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return found


def test_a_ledger_of_the_first_schema_becomes_one_of_today_s_with_all_that_is_in_it(
    tmp_path: Path,
) -> None:
    path = _of_first_schema(tmp_path / "ledger.db")
    before = _content(path)

    Ledger.open(path).close()

    assert _content(path) == before
    with reader(path) as engine, engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert _content(Path(f"{path}.before-{HEAD}")) == before


def test_a_migration_killed_at_any_statement_is_done_by_the_next_start(tmp_path: Path) -> None:
    first = _of_first_schema(tmp_path / "first.db")
    before = _content(first)
    killed = []
    for step in range(1, 100):
        path = Path(shutil.copy(first, tmp_path / f"{step}.db"))
        done = subprocess.run([sys.executable, "-c", MIGRATE, path, str(step)], cwd=ROOT)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        with reader(path) as engine:
            killed.append(stamp(engine, path))

        Ledger.open(path).close()

        assert _content(path) == before
        with reader(path) as engine, engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    # Killed before the one commit it is the old schema, never something between.
    assert set(killed) == {"0001"}
    assert len(killed) > 8


# ---- what is no ledger of today


@pytest.mark.parametrize("revision", ["0004", "9999", "ffffffffffff"])
def test_a_newer_ledger_is_refused_and_not_touched(ledger_file: Path, revision: str) -> None:
    _execute(ledger_file, f"UPDATE alembic_version SET version_num = '{revision}'")
    before = ledger_file.read_bytes()

    message = _refusal(ledger_file)

    assert str(ledger_file) in message
    assert f"newer Nightshift (schema {revision}, this one knows {HEAD})" in message
    assert ledger_file.read_bytes() == before
    assert not list(ledger_file.parent.glob("*.before-*"))


def _text(whole: bytes) -> bytes:
    return b"Dear diary, tonight I prepared a dataset. " * 100


def _random(whole: bytes) -> bytes:
    return random.Random(7).randbytes(40_000)


def _short(whole: bytes) -> bytes:
    return b"abc"


def _header_only(whole: bytes) -> bytes:
    return whole[:100]


def _page_and_a_half(whole: bytes) -> bytes:
    return whole[:6000]


def _last_page_missing(whole: bytes) -> bytes:
    return whole[:-4096]


def _a_page_and_a_byte_missing(whole: bytes) -> bytes:
    # One byte alone may be one that nothing uses: the last page can be an index without rows.
    return whole[:-4097]


def _zeros(whole: bytes) -> bytes:
    return bytes(len(whole))


def _schema_overwritten(whole: bytes) -> bytes:
    return whole[:100] + b"\xff" * 3996 + whole[4096:]


@pytest.mark.parametrize(
    "damaged",
    [
        _text,
        _random,
        _short,
        _header_only,
        _page_and_a_half,
        _last_page_missing,
        _a_page_and_a_byte_missing,
        _zeros,
        _schema_overwritten,
    ],
)
def test_a_file_that_is_damaged_or_no_database_is_refused_by_name_and_kept(
    ledger_file: Path, damaged: Callable[[bytes], bytes]
) -> None:
    content = damaged(ledger_file.read_bytes())
    ledger_file.write_bytes(content)

    message = _refusal(ledger_file)

    assert message.startswith(f"{ledger_file} is damaged (")
    assert "pipeline rebuild" in message
    assert ledger_file.read_bytes() == content


def test_a_database_of_another_program_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    _execute(path, "CREATE TABLE songs (title)", "INSERT INTO songs VALUES ('Night Bus')")

    message = _refusal(path)

    assert message.startswith(f"{path} is a database, but not a ledger")
    assert _named(path, "table") == {"songs"}


def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    _execute(path, "CREATE TABLE songs (title)", "INSERT INTO songs VALUES ('Night Bus')")
    before = path.read_bytes()

    _refusal(path)

    assert path.read_bytes() == before


def test_a_folder_in_place_of_the_ledger_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.mkdir()

    with pytest.raises(LedgerBroken, match=str(path)):
        Ledger.open(path)


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir], ids=["missing", "a folder"])
def test_a_file_that_cannot_be_opened_for_reading_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "ledger.db"
    make(path)

    with pytest.raises(LedgerBroken, match=str(path)), reader(path) as engine:
        check_readable(engine, path)


# ---- how it is opened


def test_the_writer_keeps_every_commit_in_a_power_cut(tmp_path: Path) -> None:
    engine = writer(tmp_path / "ledger.db")
    with engine.connect() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    engine.dispose()

    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_the_writer_s_transactions_take_the_write_lock_at_once(ledger_file: Path) -> None:
    engine = writer(ledger_file)
    other = sqlite3.connect(ledger_file, timeout=0, isolation_level=None)

    with engine.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")

    other.execute("BEGIN IMMEDIATE")
    other.close()
    engine.dispose()


def test_a_reader_cannot_write(ledger_file: Path) -> None:
    with reader(ledger_file) as engine:
        connection = engine.connect()

        with pytest.raises(OperationalError, match="readonly database"):
            connection.execute(text("DELETE FROM runs"))

        connection.close()
