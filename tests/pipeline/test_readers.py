"""Somebody who reads the ledger for hours: the run goes on, and the journal becomes small again."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.journal import Journal
from pipeline.ledger import Ledger
from pipeline.ledger.connect import JOURNAL_KEPT_BYTES, connect_reader
from pipeline.ledger.files import SeenFile

ROWS = 10_000
AT_ONCE = 25
GB = 1 << 30


def _write(ledger: Ledger, first: int, count: int) -> float:
    """Write so many rows, a few to a transaction; return the seconds that the slowest one took."""
    slowest_s = 0.0
    for number in range(first, first + count, AT_ONCE):
        started = time.monotonic()
        ledger.files.add(1, [_seen(number + place) for place in range(AT_ONCE)])
        slowest_s = max(slowest_s, time.monotonic() - started)
    return slowest_s


def _seen(number: int) -> SeenFile:
    # As random as the names of music are: neighbours in time are none in the index.
    name = f"{number * 7919 % 104_729:06} {'x' * 60}.flac"
    return SeenFile(name.encode(), name, 1000, number, number, number, 1)


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM paths").fetchone()[0])


@pytest.mark.parametrize("row", ["C5"])
def test_a_reader_that_stays_holds_no_writer_up_and_its_end_gives_the_room_back(
    tmp_path: Path, row: str
) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(path) as ledger:
        _write(ledger, 0, AT_ONCE)
        staying = connect_reader(path)
        staying.execute("BEGIN")
        assert _count(staying) == AT_ONCE

        slowest_s = _write(ledger, AT_ONCE, ROWS)

        assert slowest_s < 10  # it would have waited 30 s for a lock, and then failed
        assert _count(staying) == AT_ONCE
        grown = ledger.journal_bytes()
        assert JOURNAL_KEPT_BYTES < grown < ROWS / AT_ONCE * 250_000
        staying.close()
        _write(ledger, AT_ONCE + ROWS, 3 * AT_ONCE)
        assert ledger.journal_bytes() <= JOURNAL_KEPT_BYTES
        # All but the newest is in the file itself, which is all that `immutable` looks at.
        folded = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
        assert _count(folded) >= AT_ONCE + ROWS
        folded.close()


def test_without_a_reader_the_journal_stays_small(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        _write(ledger, 0, 3000)

        assert 0 < ledger.journal_bytes() <= JOURNAL_KEPT_BYTES


def test_a_closed_ledger_has_no_journal(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        _write(ledger, 0, AT_ONCE)

    assert ledger.journal_bytes() == 0


def test_a_large_journal_is_told_once_and_again_when_it_has_doubled() -> None:
    told: list[int] = []
    now: dict[str, float] = {}

    def tell(kind: str, **facts: Any) -> None:
        assert (kind, "Close it" in facts["why"]) == ("journal_large", True)
        told.append(facts["bytes"])

    ledger = SimpleNamespace(journal_bytes=lambda: now["bytes"])
    night: Any = SimpleNamespace(clock=lambda: now["s"], tell=tell, ledger=ledger)
    journal = Journal(night)
    for now_s, journal_bytes in (
        (0, GB - 1),
        (59, GB),  # it was looked at within this minute
        (60, GB),
        (120, 2 * GB - 1),
        (180, 2 * GB),
        (240, 3 * GB),
    ):
        now |= {"s": now_s, "bytes": journal_bytes}
        journal.look()

    assert told == [GB, 2 * GB]
