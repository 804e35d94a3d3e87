"""`pipeline gc`: what is trashed, left over, and on request what is stale or without a source.

Never a file of the user: only what manifests list goes, and what it leaves in the trash is named.

Killable, in this order for published outputs: the proof is withdrawn, so that nobody adopts what is
half gone; the files go, the manifest after them; then the ledger is told. A start that finds a job
done without its proof opens it, as it does with outputs that somebody deleted; a second gc finds the
job as it was and ends what the first began. What lies in the trash no ledger knows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TypeVar

from pipeline import manifest as manifests
from pipeline.artifacts import TMP, TRACKS, TRASH, withdraw
from pipeline.between import Held, held
from pipeline.config import RunConfig
from pipeline.errors import Unfit
from pipeline.ledger import Ledger
from pipeline.ledger.connect import FILE_NAME
from pipeline.ledger.keeping import Gone, Keeping, look_at
from pipeline.machine import Machine
from pipeline.published import places_of
from pipeline.rebuilding import NEW_NAME, PARTS
from pipeline.recipe import recipes, separation_of
from pipeline.recovery import recover
from pipeline.scan import display
from pipeline.sweeping import (
    Sweep,
    is_folder,
    remove_empty,
    sweep_file,
    sweep_outputs,
    sweep_trashed_outputs,
    sweep_trashed_track,
)
from stages.base import Scope

_AT_ONCE = (
    100  # jobs whose outputs go before the ledger is told: one commit waits for the disk once
)
_OUR_NAME = re.compile(r"(track-)?[0-9a-f]{16}")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Removed:
    """One folder or file that went, or would go: why, where, and how many files and bytes."""

    kind: str  # tmp, trash, left_over, stale or missing
    path: str
    files: int
    bytes: int


@dataclass
class Collected:
    """What a collection removed, or would remove, and which files of the user it met."""

    dry_run: bool
    recovered: list[str] = field(default_factory=list)
    removed: list[Removed] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """The room that is free now."""
        return sum(one.bytes for one in self.removed)


def collect(config: RunConfig, *, stale: bool, missing: bool, dry_run: bool) -> Collected:
    """Remove what nobody needs any more; with `dry_run` only say what that is.

    Args:
        stale: also published outputs that today's settings do not ask for.
        missing: also outputs of tracks whose source is gone, and the tracks.

    Raises:
        DatasetBusy: a run is at work.
        Unfit: no source at all is there.
    """
    with held(config.out, recovering=False) as mine:
        collection = Collection(config, mine, dry_run=dry_run)
        collection.tmp()
        ledger = config.out / FILE_NAME
        if stale or missing:
            with _keeping(ledger, dry_run=dry_run) as keeping:
                if missing:
                    collection.missing(keeping)
                if stale:
                    collection.stale(keeping)
        collection.trash()
        collection.left_over()
        return collection.collected


@contextmanager
def _keeping(ledger: Path, *, dry_run: bool) -> Iterator[Keeping]:
    if dry_run:
        with look_at(ledger) as keeping:
            yield keeping
        return
    with Ledger.open(ledger) as opened:
        yield opened.keeping


class Collection:
    """One collection, kind after kind."""

    def __init__(self, config: RunConfig, mine: Held, *, dry_run: bool) -> None:
        self._config = config
        self._mine = mine
        self._root = mine.out.root
        self._dry_run = dry_run
        self.collected = Collected(dry_run)

    def tmp(self) -> None:
        """What recovery throws away: attempts that are not whole, or come too late."""
        for entry in _entries(self._root / TMP):
            found = manifests.read(entry)
            live = self._live(found[0].folder) if found is not None else None
            if live is None or live.exists():
                self._note("tmp", entry, *_count(entry))
        if not self._dry_run:
            self.collected.recovered = recover(self._mine.out)

    def trash(self) -> None:
        """Old versions; what no manifest there lists stays."""
        for entry in _entries(self._root / TRASH):
            known = manifests.remembered(entry)
            if not _OUR_NAME.fullmatch(entry.name) or not is_folder(entry):
                self.collected.kept.append(self._shown(entry))
            elif known:
                live = self._live(known[0].folder)
                self._carry_out("trash", entry, sweep_trashed_outputs(entry, twin=live))
            else:
                self._carry_out("trash", entry, sweep_trashed_track(entry))

    def left_over(self) -> None:
        """What a killed rebuild left."""
        for part in PARTS:
            path = self._root / f"{NEW_NAME}{part}"
            if os.path.lexists(path):
                self._carry_out("left_over", path, sweep_file(path))

    def missing(self, keeping: Keeping) -> None:
        """Outputs of tracks that the last run did not find, and that are not there now either."""
        gone = [track for track in keeping.gone() if self._is_gone(track)]
        if gone and not keeping.any_present():
            raise Unfit(
                f"no file of {self._config.dataset} is there. Is its disk mounted? Nothing was "
                "removed. If all of it is meant to go, delete the output folder."
            )
        for part in _parts(gone):
            for track in part:
                self._unpublish_track(track)
            if not self._dry_run:
                keeping.forget([track.id for track in part])

    def _unpublish_track(self, track: Gone) -> None:
        marks = (manifests.FILE_NAME, manifests.ODD_NAME)
        for place in places_of(self._mine.out, track.folder, marks=marks):
            self._unpublish("missing", place.path)
        # What a collection emptied that was killed then has no manifest to be found by.
        for stage, scope in product(self._config.declarations, Scope):
            self._remove_empty(self._mine.out.stage(track.folder, stage, scope))

    def stale(self, keeping: Keeping) -> None:
        """Outputs that are not as today's settings ask, by the same rule as `status`."""
        asked = recipes(self._config, Machine.read(self._root))
        planned = [recipe.planned() for recipe in asked]
        outdated = keeping.stale(planned, separation_of(asked))
        for part in _parts(list(keeping.some(outdated))):
            for kept in part:
                folder = self._mine.out.stage(kept.folder, kept.stage, kept.scope)
                self._unpublish("stale", folder)
            if not self._dry_run:
                keeping.reopen([kept.id for kept in part], forget_features=True)

    def _unpublish(self, kind: str, folder: Path) -> None:
        if not self._dry_run:
            self._mine.lock.check()
            withdraw(folder)
        if folder.is_dir():
            self._carry_out(kind, folder, sweep_outputs(folder))
        self._remove_empty(folder.parent)

    def _remove_empty(self, folder: Path) -> None:
        if not self._dry_run:
            remove_empty(folder, up_to=self._root / TRACKS)

    def _carry_out(self, kind: str, path: Path, sweep: Sweep) -> None:
        self.collected.kept += [self._shown(foreign) for foreign in sweep.foreign]
        if not self._dry_run:
            self._mine.lock.check()
            sweep.carry_out()
        if sweep.files:
            self._note(kind, path, len(sweep.files), sweep.bytes)

    def _note(self, kind: str, path: Path, files: int, size_bytes: int) -> None:
        self.collected.removed.append(Removed(kind, self._shown(path), files, size_bytes))

    def _live(self, folder: str) -> Path | None:
        """Return where a manifest was published, None if that is nowhere in the output folder."""
        path = Path(os.path.normpath(self._root / folder))
        return path if path.is_relative_to(self._root / TRACKS) else None

    def _is_gone(self, track: Gone) -> bool:
        """Say whether no file of a track is there; a folder that cannot be read proves nothing."""
        dataset = os.fsencode(self._config.dataset)
        return all(_is_absent(os.path.join(dataset, path)) for path in track.paths)

    def _shown(self, path: Path) -> str:
        return display(os.fsencode(self._mine.out.relative(path)))


def _is_absent(path: bytes) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _count(path: Path) -> tuple[int, int]:
    """Return how many files there are in a folder, and their bytes."""
    files = [entry for entry in (path, *path.rglob("*")) if not is_folder(entry)]
    return len(files), sum(os.lstat(entry).st_size for entry in files)


def _parts(items: list[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
