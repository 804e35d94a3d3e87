"""How much is looked at to file what the probe found, when one content has very many copies."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import config, lock
from pipeline.allowance import Allowance
from pipeline.artifacts import OutputFolder
from pipeline.identity import identity
from pipeline.ledger import Ledger
from pipeline.ledger.files import Files, KnownPath, Probed, SeenFile
from pipeline.machine import Machine
from pipeline.night import Night
from pipeline.pace import Pace
from pipeline.placing import place

COPIES = 300
LOOKED_AT = 20  # for each copy, at most: all of them for each would be 150


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    asked = config.load(tmp_path, environment={"NIGHTSHIFT_REGISTRY": "tests.fakes:ONE"})
    out = OutputFolder(asked.out)
    out.prepare()
    with Ledger.open(asked.out / "ledger.db") as ledger, selectors.DefaultSelector() as selector:
        yield Night(
            config=asked,
            out=out,
            ledger=ledger,
            lock=lock.acquire(asked.out, since_utc="now"),
            run_id=ledger.begin_run(host="here", pid=1, version="0", settings="{}"),
            recipes=[],
            threads=1,
            emit=lambda event: None,
            clock=lambda: 0.0,
            selector=selector,
            environment={},
            memory_bytes=1,
            allowance=Allowance.of(asked, Pace(dict)),
            machine=Machine.read(asked.out),
        )


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[KnownPath]:
    """The paths that the ledger was asked for, one after the other."""
    looked: list[KnownPath] = []
    real = Files.paths_of

    def counting(files: Files, track_id: int, **options: int) -> list[KnownPath]:
        found = real(files, track_id, **options)
        looked.extend(found)
        return found

    monkeypatch.setattr(Files, "paths_of", counting)
    return looked


def _place(night: Night, folder: str) -> None:
    """Take in and place every file of a folder, all of one content."""
    dataset = night.config.dataset
    for path in sorted((dataset / folder).iterdir()):
        stat, name = path.stat(), os.fsencode(path.relative_to(dataset))
        seen = SeenFile(name, os.fsdecode(name), *identity(stat), device=stat.st_dev)
        night.ledger.files.add(night.run_id, [seen])
    for known in night.ledger.files.to_probe(night.run_id, after=0, limit=COPIES):
        place(night, known, Probed("a" * 64, 0, 1.0, 8000, 1, "wav"))


def _copies(night: Night) -> Path:
    folder = night.config.dataset / "one"
    folder.mkdir()
    for number in range(COPIES):
        (folder / f"{number:04}").touch()
    return folder


def test_one_more_copy_of_a_content_looks_at_few_of_the_others(
    night: Night, looked_at: list[KnownPath]
) -> None:
    _copies(night)

    with night.ledger.together():
        _place(night, "one")

    assert len(looked_at) <= COPIES * LOOKED_AT
    track = night.ledger.files.track_of("a" * 64)
    assert track is not None
    assert track.folder == b"one/0000"


def test_copies_that_moved_together_are_not_all_looked_at_for_each(
    night: Night, looked_at: list[KnownPath]
) -> None:
    folder = _copies(night)
    with night.ledger.together():
        _place(night, "one")
    folder.rename(night.config.dataset / "two")
    looked_at.clear()

    with night.ledger.together():
        _place(night, "two")

    assert COPIES < len(looked_at) <= COPIES * LOOKED_AT, "the first one has to look at all"
    track = night.ledger.files.track_of("a" * 64)
    assert track is not None
    assert track.folder == b"two/0000"
