"""What every start does before any work, and every end of a lane: files are the truth.

Killable itself: each step leaves a state that the same steps bring to the same end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from pipeline import manifest as manifests
from pipeline.artifacts import TMP, TRASH, OutputFolder, put_in_place, sync_folder


def recover(out: OutputFolder, *, only: Collection[str] | None = None) -> list[str]:
    """Finish or undo what a dead run left half done; return what was done, in words.

    In this order: whole attempts whose target is missing are published; targets still missing are
    put back from the trash; only then `.tmp` is emptied.

    Args:
        only: the attempts of a lane that ended, by name: another lane may be at work beside it.
    """
    said = []
    out.prepare()  # somebody may have deleted what is empty most of the time
    found = sorted((out.root / TMP).iterdir())
    attempts = found if only is None else [one for one in found if one.name in only]
    for attempt in attempts:
        target = _target(attempt, out)
        if target is not None and not target.exists():
            put_in_place(attempt, target, out=out)
            said.append(f"published {out.relative(target)}, which a dead run had finished")
    for attempt in attempts:
        # Without an atomic exchange the old version waits here, under the attempt's name.
        trashed = out.root / TRASH / attempt.name
        target = _target(trashed, out)
        if target is not None and not target.exists():
            put_in_place(trashed, target, out=out)
            said.append(f"put back {out.relative(target)}, which a dead run had set aside")
    _remove(attempts)
    sync_folder(out.root / TMP)
    return said


def _target(folder: Path, out: OutputFolder) -> Path | None:
    found = manifests.read(folder)
    if found is None:
        return None
    target = Path(os.path.normpath(out.root / found[0].folder))
    return target if target.is_relative_to(out.root) else None


def _remove(entries: Iterable[Path]) -> None:
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif os.path.lexists(entry):
            entry.unlink()
