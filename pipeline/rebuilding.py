"""`pipeline rebuild`: the ledger from the manifests alone.

The new ledger is made whole under another name, then the old one is set aside, then the new one
takes its place. Killed before that, the old one is where it was; killed between, there is none, and
a run that finds none adopts what is published, without computing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import set_aside, sync_folder
from pipeline.between import held
from pipeline.config import RunConfig
from pipeline.errors import LedgerBroken
from pipeline.ledger import Ledger
from pipeline.ledger.connect import FILE_NAME
from pipeline.proofs import Left, Search

NEW_NAME = "ledger.rebuilding.db"
PARTS = ("", "-wal", "-shm")


@dataclass(frozen=True)
class Rebuilt:
    """What the new ledger holds, and where the old one is, if there was one."""

    recovered: tuple[str, ...]
    tracks: int
    jobs: int
    set_aside: str | None
    left: tuple[Left, ...]


def rebuild(config: RunConfig) -> Rebuilt:
    """Make the ledger of an output folder anew; the old one is kept under another name.

    Raises:
        DatasetBusy: a run is at work.
        BadUsage: it is no output folder.
    """
    with held(config.out) as mine:
        new, old = config.out / NEW_NAME, config.out / FILE_NAME
        _remove(new)  # of a rebuild that was killed
        search = Search(config, mine.out)
        with Ledger.open(new) as ledger:
            search.fill(ledger)
        if os.path.exists(f"{new}-wal"):
            raise LedgerBroken(f"{new} is held open by another program. Close it and try again.")
        mine.lock.check()
        had_one = any(os.path.lexists(f"{old}{part}") for part in PARTS)
        # A log without its ledger goes too: SQLite would replay it into the new one.
        kept = set_aside(old, mark="before-rebuild")
        os.rename(new, old)
        sync_folder(config.out)
        return Rebuilt(
            recovered=mine.recovered,
            tracks=len(search.homes),
            jobs=sum(home.jobs for home in search.homes.values()),
            set_aside=str(kept) if had_one else None,
            left=tuple(search.left),
        )


def _remove(ledger: Path) -> None:
    for part in PARTS:
        Path(f"{ledger}{part}").unlink(missing_ok=True)
