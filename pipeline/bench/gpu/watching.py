"""What the cards do while a process works: the same samples for every way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.bench.gpu.brief import Row
from pipeline.monitoring.cards import Cards
from pipeline.monitoring.gpu import GpuSample

_EVERY_S = 0.25


@contextmanager
def watched(cards: Cards) -> Iterator[Sequence[tuple[GpuSample, ...]]]:
    """Sample cards until it is left; give the samples, which grow meanwhile."""
    samples: list[tuple[GpuSample, ...]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(_EVERY_S) and not cards.why:
            if cards.hear(time.monotonic()) and cards.last:
                samples.append(cards.last)
            cards.ask()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield samples
    finally:
        over.set()
        looking.join()
        cards.close()


def busiest(samples: Sequence[tuple[GpuSample, ...]]) -> Row | None:
    """Return mean utilisation and most memory of the busiest card.

    From the first sample in which it is at work to the last: loading is none of the separation's.
    Without utilisation, as in MIG mode, it is null. None where no card was seen at work.
    """
    if not samples:
        return None
    count = min(map(len, samples))
    courses = [[sample[place] for sample in samples] for place in range(count)]
    course = max(courses, key=_work, default=[])
    used = [card.memory_used_bytes for card in course if card.memory_used_bytes is not None]
    busy = [place for place, card in enumerate(course) if card.utilisation_percent]
    within = course[busy[0] : busy[-1] + 1] if busy else []
    told = [one.utilisation_percent for one in within if one.utilisation_percent is not None]
    if not busy and not used:
        return None
    return {
        "name": course[0].name,
        "samples": len(told),
        "utilisation_percent": sum(told) / len(told) if told else None,
        "memory_used_bytes": max(used, default=None),
    }


def _work(course: list[GpuSample]) -> tuple[float, int]:
    """Return what a card did: utilisation, else the memory it had."""
    return (
        sum(card.utilisation_percent or 0.0 for card in course),
        max(card.memory_used_bytes or 0 for card in course),
    )
