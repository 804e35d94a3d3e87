from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.errors import BadUsage
from pipeline.ledger import Ledger, connect
from pipeline.ledger.connect import reader, writer
from pipeline.ledger.files import Probed, SeenFile
from pipeline.ledger.jobs import Published
from pipeline.ledger.plan import Planned
from pipeline.ledger.query import Value, ask
from pipeline.ledger.reading import Reading

ROOT = Path(__file__).parents[2]
LOUDNESS = Planned("loudness", "mix", "features", "a" * 64)
FEATURES = {
    "mix": {"integrated_lufs": -14.25, "true_peak_dbtp": None},
    "null_reasons": {"mix": {"true_peak_dbtp": "silence"}},
}
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {what} FROM n"
# A mount namespace of its own, so that nothing has to be undone however the test ends.
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3" "$1"'
ASK_IN_PLACE = """
import sys
from pathlib import Path
from pipeline.ledger.query import ask
place = Path(sys.argv[1])
try:
    (place / "written").touch()
    print("writable")
except OSError:
    print([list(answer.rows) for answer in ask(place / "ledger.db", "SELECT path FROM job", limit_s=9)])
"""


def _add_track(ledger: Ledger, name: str, *, done: bool = False) -> None:
    number = len(name)
    seen = SeenFile(name.encode(), name, 1000, number, number, number, 1)
    run_id = ledger.begin_run(host="here", pid=1, version="0", settings="{}")
    ledger.files.add(run_id, [seen])
    (known,) = ledger.files.to_probe(run_id, after=0, limit=10)
    probed = Probed(name.encode().hex().ljust(64, "0"), 1000, 240.0, 44_100, 2, "flac")
    ledger.files.add_track(run_id, known.id, probed, name.encode(), [LOUDNESS])
    if done:
        work = ledger.jobs.claim(run_id, lane="features", scope="mix")
        assert work is not None
        published = Published("b" * 64, json.dumps(FEATURES), wall_s=2.0)
        ledger.jobs.done(work.jobs[0], published, upstream=None)


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "ledger.db"
    with Ledger.open(path) as ledger:
        _add_track(ledger, "one.flac", done=True)
        _add_track(ledger, "second.flac")
    return path


@pytest.fixture
def ledger_file(tmp_path: Path, _made: Path) -> Path:
    """A ledger of two tracks, one of them done, that nobody holds."""
    return Path(shutil.copy(_made, tmp_path / "ledger.db"))


def _ask(path: Path, sql: str, *, limit_s: float = 20.0) -> list[tuple[Value, ...]]:
    (rows,) = [list(answer.rows) for answer in ask(path, sql, limit_s=limit_s)]
    return rows


def _last_of(path: Path, sql: str, *, limit_s: float) -> None:
    for answer in ask(path, sql, limit_s=limit_s):
        deque(answer.rows, maxlen=1)


# ---- what is answered


def test_a_select_gives_columns_and_rows(ledger_file: Path) -> None:
    sql = "SELECT shown AS name, size_bytes FROM paths ORDER BY id"

    answers = [(answer.columns, list(answer.rows)) for answer in ask(ledger_file, sql, limit_s=20)]

    assert answers == [(("name", "size_bytes"), [("one.flac", 1000), ("second.flac", 1000)])]


def test_an_answer_without_rows_still_names_its_columns(ledger_file: Path) -> None:
    (answer,) = ask(ledger_file, "SELECT id AS number FROM runs WHERE id < 0", limit_s=20)

    assert answer.columns == ("number",)


def test_the_view_job_tells_of_each_job_by_path(ledger_file: Path) -> None:
    rows = _ask(ledger_file, "SELECT path, stage, scope, state, duration_s, codec, wall_s FROM job")

    assert sorted(rows) == [
        ("one.flac", "loudness", "mix", "done", 240.0, "flac", 2.0),
        ("second.flac", "loudness", "mix", "pending", 240.0, "flac", None),
    ]


def test_the_view_feature_has_one_row_for_each_value(ledger_file: Path) -> None:
    rows = _ask(ledger_file, "SELECT path, stage, scope, source, name, value FROM feature")

    assert rows == [
        ("one.flac", "loudness", "mix", "mix", "integrated_lufs", -14.25),
        ("one.flac", "loudness", "mix", "mix", "true_peak_dbtp", None),
    ]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("VALUES (7)", 7),
        ("SELECT 1;", 1),
        ("  -- how many?\nSELECT count(*) FROM jobs", 2),
        ("WITH a(x) AS (SELECT 5) SELECT x FROM a", 5),
        ("SELECT 'Robert''); DROP TABLE runs; --'", "Robert'); DROP TABLE runs; --"),
        ("SELECT round(avg(duration_s), 1) FROM tracks", 240.0),
        ("SELECT path FROM paths WHERE id = 1", b"one.flac"),
    ],
)
def test_anything_that_only_reads_is_answered(ledger_file: Path, sql: str, value: Value) -> None:
    assert _ask(ledger_file, sql) == [(value,)]


# ---- what is refused


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO runs DEFAULT VALUES",
        "REPLACE INTO results VALUES (1, '{}')",
        "UPDATE jobs SET state = 'done'",
        "DELETE FROM jobs",
        "WITH a AS (SELECT 1) DELETE FROM jobs",
        "DROP TABLE runs",
        "DROP VIEW job",
        "ALTER TABLE runs ADD COLUMN more",
        "CREATE TABLE more (x)",
        "CREATE TEMP TABLE more (x)",
        "CREATE TEMP VIEW more AS SELECT 1",
        "CREATE TEMP TRIGGER t AFTER INSERT ON runs BEGIN SELECT 1; END",
        "CREATE INDEX more ON runs (host)",
        "ATTACH 'other.db' AS other",
        "DETACH main",
        "PRAGMA query_only = 0",
        "PRAGMA user_version",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "SELECT * FROM pragma_table_info('jobs')",
        "SELECT load_extension('evil')",
        "SELECT LOAD_EXTENSION('evil', 'main')",
        "SELECT fts3_tokenizer('simple')",
        "BEGIN IMMEDIATE",
        "SAVEPOINT here",
        "ANALYZE",
        "REINDEX",
    ],
)
def test_whatever_could_change_something_is_refused(ledger_file: Path, sql: str) -> None:
    before = ledger_file.read_bytes()

    with pytest.raises(BadUsage, match="only SELECT on the ledger's tables is allowed"):
        _ask(ledger_file, sql)

    assert ledger_file.read_bytes() == before


@pytest.mark.parametrize(
    "sql", ["VACUUM", "VACUUM INTO 'copy.db'", "SELECT writefile('copy.db', 'x')"]
)
def test_nothing_writes_a_file_beside_the_ledger(
    ledger_file: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    monkeypatch.chdir(ledger_file.parent)

    with pytest.raises(BadUsage):
        _ask(ledger_file, sql)

    assert {file.name for file in ledger_file.parent.iterdir()} <= {
        "ledger.db",
        "ledger.db-wal",
        "ledger.db-shm",
    }


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE runs"])
def test_several_statements_are_refused(ledger_file: Path, sql: str) -> None:
    with pytest.raises(BadUsage, match="only execute one statement"):
        _ask(ledger_file, sql)

    assert _ask(ledger_file, "SELECT count(*) FROM runs") == [(2,)]


@pytest.mark.parametrize("sql", ["", "   ", "-- nothing", ";"])
def test_nothing_asked_is_refused(ledger_file: Path, sql: str) -> None:
    with pytest.raises(BadUsage, match="give one SELECT"):
        _ask(ledger_file, sql)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("SELECT tempo FROM jobs", "no such column: tempo"),
        ("SELECT * FROM songs", "no such table: songs"),
        ("SELECT ?", "Incorrect number of bindings"),
        ("SELECT 'a\0b'", "null character"),
        ("SELECT CAST(x'ff' AS TEXT)", "Could not decode to UTF-8"),
        pytest.param("SELECT '\udcff'", "UTF-8"),
    ],
)
def test_wrong_sql_is_explained_with_the_tables_there_are(
    ledger_file: Path, sql: str, why: str
) -> None:
    with pytest.raises(BadUsage) as refused:
        _ask(ledger_file, sql)

    assert why in str(refused.value)
    assert "runs, tracks, paths, jobs, attempts, results, speeds; the views: job, feature" in str(
        refused.value
    )


@pytest.mark.parametrize("what", ["count(*)", "i + 0 AS i"])
def test_an_endless_query_is_stopped_at_its_limit(ledger_file: Path, what: str) -> None:
    """The first gives no row before it is stopped, the second never ends giving rows."""
    started = time.monotonic()

    with pytest.raises(BadUsage, match=r"longer than 0\.3 s .*--time-limit"):
        _last_of(ledger_file, ENDLESS.format(what=what), limit_s=0.3)

    assert 0.3 <= time.monotonic() - started < 5


# ---- beside a live run


def test_a_query_sees_the_last_commit_while_a_writer_holds_a_transaction(ledger_file: Path) -> None:
    engine = writer(ledger_file)
    with engine.begin() as tx:
        tx.execute(text("UPDATE jobs SET state = 'failed'"))

        assert _ask(ledger_file, "SELECT DISTINCT state FROM job ORDER BY 1") == [
            ("done",),
            ("pending",),
        ]

    assert _ask(ledger_file, "SELECT DISTINCT state FROM job") == [("failed",)]
    engine.dispose()


def test_a_writer_commits_while_a_query_is_being_read(ledger_file: Path) -> None:
    engine = writer(ledger_file)
    for answer in ask(ledger_file, "SELECT state FROM job", limit_s=20):
        first = next(answer.rows)
        with engine.begin() as tx:
            tx.execute(text("UPDATE jobs SET state = 'failed'"))
        rest = list(answer.rows)
    engine.dispose()

    assert sorted([first, *rest]) == [("done",), ("pending",)]


def test_a_query_does_not_change_the_ledger(ledger_file: Path) -> None:
    before = ledger_file.read_bytes()

    _ask(ledger_file, "SELECT * FROM job")

    assert ledger_file.read_bytes() == before


# ---- where it cannot be opened in place


@pytest.fixture
def newest_in_wal(tmp_path: Path) -> Iterator[Path]:
    """Ledger and WAL of a live run, without `-shm`; the newest commit is in the WAL alone."""
    live, place = tmp_path / "live", tmp_path / "place"
    live.mkdir()
    place.mkdir()
    with Ledger.open(live / "ledger.db") as ledger:
        _add_track(ledger, "newest.flac")
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(live / name, place / name)
        yield place / "ledger.db"


def _can_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = [*_unshare(), "sh", "-c", READ_ONLY, "sh", str(folder), sys.executable, ""]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def _unshare() -> list[str]:
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "-r"]


def test_a_ledger_on_read_only_media_is_read_with_the_commits_of_its_wal(
    newest_in_wal: Path,
) -> None:
    place = newest_in_wal.parent
    if not _can_mount(place):
        pytest.skip("this system lets nobody mount")

    asked = subprocess.run(
        [*_unshare(), "sh", "-c", READ_ONLY, "sh", str(place), sys.executable, ASK_IN_PLACE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (asked.stdout, asked.stderr) == ("[[('newest.flac',)]]\n", "")
    assert {file.name for file in place.iterdir()} == {"ledger.db", "ledger.db-wal"}


def test_the_copy_has_the_commits_that_only_the_wal_has(
    newest_in_wal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on read-only media, for systems where none can be made.
    monkeypatch.setattr(connect, "_opens", lambda path: False)

    assert _ask(newest_in_wal, "SELECT path FROM job") == [("newest.flac",)]
    with reader(newest_in_wal) as engine:
        assert Reading(engine).find("newest.flac") == [1]
    assert {file.name for file in newest_in_wal.parent.iterdir()} == {
        "ledger.db",
        "ledger.db-wal",
    }


def test_without_its_wal_the_ledger_lacks_those_commits(newest_in_wal: Path) -> None:
    """The two tests above prove something only as long as this one holds."""
    Path(f"{newest_in_wal}-wal").unlink()

    with sqlite3.connect(f"file:{newest_in_wal}?immutable=1", uri=True) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()

    assert tables == []


def test_the_copy_is_gone_when_the_query_is_answered(
    ledger_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(connect, "_opens", lambda path: False)

    for answer in ask(ledger_file, "SELECT path FROM job", limit_s=20):
        held = list(temporary.iterdir())
        list(answer.rows)

    assert [folder.name.startswith("nightshift-ledger-") for folder in held] == [True]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        b"with space and 100%.d",
        b"question?mode=rwc#x",
        b"\xff\xfe",
        "Музыка".encode(),
        b"a'b\"c",
    ],
)
def test_a_ledger_is_read_whatever_its_folder_is_called(
    ledger_file: Path, tmp_path: Path, name: bytes
) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    path = Path(shutil.copy(ledger_file, folder))

    assert _ask(path, "SELECT count(*) FROM job") == [(2,)]


def test_a_ledger_is_read_by_a_path_with_two_slashes(ledger_file: Path) -> None:
    assert _ask(Path(f"/{ledger_file}"), "SELECT count(*) FROM job") == [(2,)]
