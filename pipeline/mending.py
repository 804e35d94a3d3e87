"""What the user asks of the ledger between runs. It writes, so it takes the run lock."""

from __future__ import annotations

from pathlib import Path

from pipeline import lock
from pipeline.errors import BadUsage
from pipeline.ledger import Ledger
from pipeline.ledger.book import now_utc
from pipeline.ledger.connect import FILE_NAME, reader
from pipeline.ledger.reading import Reading


def retry(out: Path, *, stage: str | None, track: str | None) -> int:
    """Put failed jobs back in the queue; return how many.

    Raises:
        DatasetBusy: a run is at work.
        BadUsage: no track, or several, go by that name.
    """
    lock.acquire(out, since_utc=now_utc())
    track_ids = _named(out / FILE_NAME, track) if track is not None else None
    with Ledger.open(out / FILE_NAME) as ledger:
        return ledger.queue.retry(stage=stage, track_ids=track_ids)


def _named(path: Path, name: str) -> list[int]:
    with reader(path) as engine:
        found = Reading(engine).find(name)
    if len(found) != 1:
        raise BadUsage(
            f"{len(found)} tracks go by {name!r}. Give a relative path, its end, or its hash."
        )
    return found
