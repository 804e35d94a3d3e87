"""`pipeline verify`: every published output against its manifest and the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.between import Held, held
from pipeline.inspection import Finding, Inspector
from pipeline.ledger import Ledger, State
from pipeline.ledger.connect import FILE_NAME
from pipeline.manifest import Wrong
from pipeline.published import published


@dataclass(frozen=True)
class Verified:
    """How the outputs were found. `jobs` were looked at, `opened` of them will be made anew."""

    recovered: tuple[str, ...]
    jobs: int
    opened: int
    hashed: bool
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> list[Finding]:
        """What is wrong; an output that the ledger does not know yet is not."""
        return [finding for finding in self.findings if finding.what != Wrong.NOT_IN_LEDGER]

    @property
    def exit_code(self) -> int:
        """The exit code that tells it to the shell."""
        return 1 if self.wrong else 0


def verify(out: Path, *, hash_all: bool, tell: Callable[[int], None]) -> Verified:
    """Look at the outputs of every job that is done, and at those of which the ledger knows nothing.

    What is wrong is opened again, so that the next run makes it anew; see `inspection`.

    Args:
        hash_all: whether to read every file, and not only those that look touched.
        tell: is called with the number of jobs looked at, now and then.

    Raises:
        DatasetBusy: a run is at work.
    """
    with held(out) as mine, Ledger.open(out / FILE_NAME) as ledger:
        inspector = Inspector(mine.out, mine.lock, hash_all=hash_all)
        number = 0
        for number, kept in enumerate(ledger.keeping.every(), 1):
            inspector.look(kept)
            tell(number)
        opened = inspector.reopen(ledger.keeping)
        _strangers(mine, ledger, inspector)
        return Verified(mine.recovered, number, opened, hash_all, tuple(inspector.findings))


def _strangers(mine: Held, ledger: Ledger, inspector: Inspector) -> None:
    for places in published(mine.out):
        states = ledger.keeping.states_in(places[0].folder)
        for place in places:
            state = states.get((place.stage, place.scope))
            if state is State.DONE:
                continue
            known_as = f"the ledger says {state}" if state else "the ledger knows of no such job"
            inspector.look_at_stranger(place.folder, place.stage, place.scope, known_as=known_as)
