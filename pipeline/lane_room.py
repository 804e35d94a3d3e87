"""How much audio a lane has in its hands at once."""

from __future__ import annotations

import threading

from pipeline.order import WorkOrder

_SAMPLE_BYTES = 4
_STEMS = 4  # of most models; what counts is the order of magnitude


class Room:
    """Room for decoded tracks, taken first come, first served; one larger than all of it goes alone.

    Counted as if samples were kept whole, which most stages do not do: so three hours of music with
    four GiB, and short tracks never wait.
    """

    def __init__(self, room_bytes: int) -> None:
        self._bytes = room_bytes
        self._taken = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until there is room for so many bytes."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._bytes)
            self._taken += size

    def give_back(self, size: int) -> None:
        """Let the next one in."""
        with self._changed:
            self._taken -= size
            self._changed.notify_all()


def decoded_bytes(order: WorkOrder) -> int:
    """Return what the samples of a track take, 0 where nobody knows."""
    source = order.source
    facts = [source[name] for name in ("duration_s", "sample_rate_hz", "channels")]
    if not all(isinstance(fact, int | float) for fact in facts):
        return 0
    duration_s, rate_hz, channels = (float(fact) for fact in facts if isinstance(fact, int | float))
    samples = duration_s * rate_hz * (channels if order.scope == "mix" else 2 * _STEMS)
    return int(samples * _SAMPLE_BYTES)
