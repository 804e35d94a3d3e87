"""What every command shares that writes between runs: the lock, recovery, and words for errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import lock, surroundings
from pipeline.artifacts import TRACKS, OutputFolder
from pipeline.errors import BadUsage, Unfit
from pipeline.ledger.book import now_utc
from pipeline.recovery import recover


@dataclass(frozen=True)
class Held:
    """An output folder that nobody else writes to, and what recovery did in it."""

    out: OutputFolder
    lock: lock.HeldLock
    recovered: tuple[str, ...]


@contextmanager
def held(out: Path, *, recovering: bool = True) -> Iterator[Held]:
    """Take the run lock of an output folder and bring it to rest, as the start of a run does.

    Raises:
        DatasetBusy: a run is at work.
        BadUsage: it is no output folder.
        Unfit: the surroundings do not allow it.
    """
    if not (out / TRACKS).is_dir():
        raise BadUsage(f"{out} holds no outputs. Give the dataset, or --out as for `pipeline run`.")
    surroundings.check(out)
    try:
        mine = lock.acquire(out, since_utc=now_utc())
        folder = OutputFolder(out)
        done = recover(folder) if recovering else []
        yield Held(folder, mine, tuple(done))
    except OSError as error:
        raise Unfit(
            f"{error}. The command stopped; nothing is lost. Mend it and run the same command again."
        ) from error
