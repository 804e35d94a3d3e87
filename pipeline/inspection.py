"""Whether published outputs still are what was published, and what becomes of those that are not.

Nothing is deleted here. An odd version loses its proof, so that nobody takes it for an output; it
stays in its place until the next version is published, and lies in the trash from then on.

Killable: the proof goes before the ledger is told, and a start that finds a job done without its
proof opens it. Of a changed separation what was made from it goes first, for the same reason: found
again, the separation is still the changed one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import manifest as manifests
from pipeline.artifacts import OutputFolder, settle, withdraw
from pipeline.ledger.keeping import Keeping, Kept
from pipeline.ledger.work import fingerprint_of
from pipeline.lock import HeldLock
from pipeline.manifest import Examined, Trouble, Wrong
from pipeline.scan import display
from stages.base import STEMS_FROM, Scope

_GONE = {Wrong.MANIFEST_MISSING, Wrong.FILE_MISSING, Wrong.OTHER_VERSION}
"""What says nothing against features that were made from a separation before."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, and where."""

    track: str
    stage: str
    scope: str
    folder: str
    file: str
    what: Wrong
    detail: str


class Inspector:
    """Holds outputs against their manifests and the ledger, and remembers what it found."""

    def __init__(self, out: OutputFolder, lock: HeldLock, *, hash_all: bool = False) -> None:
        self._out = out
        self._lock = lock
        self._hash_all = hash_all
        self._spoilt: dict[int, bytes] = {}  # tracks whose separation was changed
        self._lost: list[int] = []
        self.findings: list[Finding] = []

    def look(self, kept: Kept) -> None:
        """Look at the outputs of a job that is done."""
        if kept.scope == Scope.STEMS and kept.track_id in self._spoilt:
            return  # told with the separation
        folder = self._out.stage(kept.folder, kept.stage, kept.scope)
        examined = manifests.examine(folder, hash_all=self._hash_all)
        troubles = list(examined.troubles)
        if examined.sha256 not in (None, kept.manifest_sha256):
            troubles.append(_other_manifest(kept, examined))
        if not troubles:
            self._settle(folder, examined)
            return
        self._lost.append(kept.id)
        self._note(kept.folder, kept.stage, kept.scope, troubles)
        if kept.stage == STEMS_FROM and not {trouble.what for trouble in troubles} <= _GONE:
            self._spoil(kept)
        if [trouble.what for trouble in troubles] != [Wrong.OTHER_VERSION]:
            self._withdraw(folder)

    def look_at_stranger(self, folder: bytes, stage: str, scope: str, *, known_as: str) -> None:
        """Look at a published folder that is nothing to the ledger, or not done."""
        path = self._out.stage(folder, stage, scope)
        examined = manifests.examine(path, hash_all=self._hash_all)
        if examined.troubles:
            self._note(folder, stage, scope, examined.troubles)
            self._withdraw(path)
            return
        told = Trouble(Wrong.NOT_IN_LEDGER, manifests.FILE_NAME, known_as)
        self._note(folder, stage, scope, [told])

    def reopen(self, keeping: Keeping) -> int:
        """Open in the ledger what was found wrong; return how many jobs that are, stems apart."""
        keeping.reopen(self._lost, stems_of=self._spoilt)
        return len(self._lost)

    def _settle(self, folder: Path, examined: Examined) -> None:
        """All is well, a file of the user beside it included: the next start need not look again."""
        if examined.stamp_ns != examined.newest_ns:
            with suppress(PermissionError):  # of another user; it is only looked at again
                settle(folder, examined.newest_ns)

    def _spoil(self, kept: Kept) -> None:
        self._spoilt[kept.track_id] = kept.folder
        stems = self._out.track(kept.folder) / "stems"
        made = Trouble(
            Wrong.MADE_FROM_CHANGED, manifests.FILE_NAME, "made from stems that were changed since"
        )
        for folder in sorted(stems.iterdir()) if stems.is_dir() else ():
            if (folder / manifests.FILE_NAME).exists():
                self._note(kept.folder, folder.name, Scope.STEMS, [made])
                self._withdraw(folder)

    def _withdraw(self, folder: Path) -> None:
        self._lock.check()
        withdraw(folder)

    def _note(self, folder: bytes, stage: str, scope: str, troubles: Sequence[Trouble]) -> None:
        place = os.fsencode(self._out.relative(self._out.stage(folder, stage, scope)))
        for trouble in troubles:
            self.findings.append(
                Finding(
                    track=display(folder),
                    stage=stage,
                    scope=str(scope),
                    folder=display(place),
                    file=display(os.fsencode(trouble.file)),
                    what=trouble.what,
                    detail=display(trouble.detail.encode(errors="surrogateescape")),
                )
            )


def _other_manifest(kept: Kept, examined: Examined) -> Trouble:
    """Tell a manifest that was changed from one of a version that this ledger never saw.

    The latter was published after the copy of the ledger that somebody put back: it speaks for
    itself, and is adopted if it is what today's settings ask for.
    """
    found = examined.manifest
    assert found is not None
    itself = (
        found.source.get("sha256") == kept.sha256
        and (found.stage, found.scope) == (kept.stage, kept.scope)
        and found.fingerprint == fingerprint_of(kept.sha256, found.recipe, found.upstream)
    )
    what = Wrong.MANIFEST_CHANGED
    if itself and found.fingerprint != kept.fingerprint and not examined.troubles:
        what = Wrong.OTHER_VERSION
    detail = f"SHA-256 {examined.sha256}, the ledger has {kept.manifest_sha256}"
    return Trouble(what, manifests.FILE_NAME, detail)


def notice(out: OutputFolder, lock: HeldLock, keeping: Keeping) -> tuple[int, list[Finding]]:
    """Find what happened to outputs behind our back, and open those jobs: every start does.

    By the times of files first, which reads none; only what looks touched is examined.

    Returns:
        How many jobs were opened, and all that was found.
    """
    suspects = keeping.suspects(out.is_untouched)
    inspector = Inspector(out, lock)
    for kept in keeping.some(suspects):
        inspector.look(kept)
    return inspector.reopen(keeping), inspector.findings
