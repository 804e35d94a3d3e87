"""Says early that the disk will not do: better in the evening than in the morning."""

from __future__ import annotations

from pipeline.amounts import size
from pipeline.night import Night

_EVERY_S = 10.0


class Forecast:
    """Compares what the open jobs will write with what is free, while tracks are still found."""

    def __init__(self, night: Night) -> None:
        self._night = night
        self._again_s = 0.0
        self._over = False
        self._told_bytes = 0.0

    def look(self, *, last: bool) -> None:
        """Tell when more is needed than is free, and again when it has become twice as much.

        Args:
            last: all tracks are known now; after this nothing is looked at again.
        """
        night = self._night
        if self._over or (not last and night.clock() < self._again_s):
            return
        self._over, self._again_s = last, night.clock() + _EVERY_S
        work = night.ledger.outlook.open(night.run_id, night.config.selected)
        needed = night.allowance.sizes.needed_bytes(work, limit=night.config.limit)
        spare = night.allowance.room.spare_bytes()
        if needed <= max(spare, 2 * self._told_bytes):
            return
        self._told_bytes = needed
        free = night.allowance.room.free_bytes()
        night.tell(
            "disk_will_not_do",
            needed_bytes=round(needed),
            free_bytes=free,
            why=(
                f"the open work needs about {size(needed)}, and {size(free)} are free where "
                f"{night.config.out} is. The run stops before the disk is full; free some space, "
                "or name another --out"
            ),
        )
