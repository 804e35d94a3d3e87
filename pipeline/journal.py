"""Says when the ledger's journal grows without end: somebody has been reading for very long."""

from __future__ import annotations

from pipeline.amounts import size
from pipeline.night import Night

_EVERY_S = 60.0
_LARGE_BYTES = 1 << 30
# SQLite gives the room of the journal back when no reader needs what is in it any more. Until then
# a job adds 40 to 160 kB (with 1,000,000 in the ledger): a hundred thousand in a night are 5 GB.


class Journal:
    """Looks at the size of the journal now and then."""

    def __init__(self, night: Night) -> None:
        self._night = night
        self._again_s = 0.0
        self._told_bytes = 0

    def look(self) -> None:
        """Tell when it is large, and again when it has become twice as large."""
        night = self._night
        if night.clock() < self._again_s:
            return
        self._again_s = night.clock() + _EVERY_S
        journal_bytes = night.ledger.journal_bytes()
        if journal_bytes < max(_LARGE_BYTES, 2 * self._told_bytes):
            return
        self._told_bytes = journal_bytes
        night.tell(
            "journal_large",
            bytes=journal_bytes,
            why=(
                f"the ledger's journal has grown to {size(journal_bytes)}, because a program has been "
                "reading the ledger all the while. Close it and the room is given back: a pager "
                "after `pipeline tracks` or `pipeline query`, or a database browser"
            ),
        )
