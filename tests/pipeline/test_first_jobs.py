"""The jobs of a track that is new are those that a start would add to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.ledger import Ledger
from pipeline.ledger.files import Probed, SeenFile
from pipeline.ledger.plan import Planned

PLANNED = [
    Planned("loudness", "mix", "features", "0" * 64),
    Planned("loudness", "stems", "features", "1" * 64),
    Planned("separation", "mix", "separation", None, blocked="no weights"),
]
GOOD = Probed("a" * 64, 1000, 12.5, 44_100, 2, "flac")
BAD = Probed("b" * 64, 1000, problem="bad_header", problem_detail="rate 0")


def _jobs(file: Path, probed: Probed, *, at_once: list[Planned], at_start: list[Planned]) -> object:
    with Ledger.open(file) as ledger:
        run = ledger.begin_run(host="here", pid=1, version="0", settings="{}")
        ledger.files.add(run, [SeenFile(b"a.flac", "a.flac", 1, 2, 3, 4, 5)])
        (path,) = ledger.files.to_probe(run, after=0, limit=1)
        ledger.files.add_track(run, path.id, probed, b"a.flac", at_once, stages=[])
        if at_start:
            ledger.queue.requeue(at_start)
    connection = sqlite3.connect(file)
    try:
        return connection.execute("SELECT * FROM jobs ORDER BY stage, scope").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("probed", [GOOD, BAD], ids=["readable", "unreadable"])
def test_the_jobs_of_a_new_track_are_those_that_a_start_would_add(
    tmp_path: Path, probed: Probed
) -> None:
    new = _jobs(tmp_path / "new.db", probed, at_once=PLANNED, at_start=[])
    later = _jobs(tmp_path / "later.db", probed, at_once=[], at_start=PLANNED)

    assert new == later
    assert len(new) == 3  # type: ignore[arg-type]
