"""Mean and highest value of all that a run's samples say, kept in a few numbers however long it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from pipeline.monitoring.gpu import GpuSample
from pipeline.monitoring.host import HostSample
from stages.base import JsonValue

_OF_HOST = ("machine_cpu_percent", "machine_memory_used_bytes", "run_cpu_cores", "run_memory_bytes")
_OF_GPU = tuple(
    one.name for one in fields(GpuSample) if one.name not in {"name", "memory_total_bytes"}
)


@dataclass
class Course:
    """One value over a run."""

    count: int = 0
    sum: float = 0.0
    highest: float = 0.0

    def add(self, value: float | None) -> None:
        """Take one more; None is none."""
        if value is not None:
            self.highest = max(self.highest, value) if self.count else value
            self.count += 1
            self.sum += value

    def told(self) -> dict[str, JsonValue] | None:
        """Return both, None when there never was a value."""
        if not self.count:
            return None
        digits = 0 if isinstance(self.highest, int) else 2  # bytes are whole
        return {"mean": round(self.sum / self.count, digits or None), "highest": self.highest}


@dataclass
class _Card:
    memory_total_bytes: int | None = None
    courses: dict[str, Course] = field(default_factory=lambda: {name: Course() for name in _OF_GPU})


class Load:
    """What a run took, on average and at most."""

    def __init__(self) -> None:
        self._samples = 0
        self._last: HostSample | None = None
        self._host = {name: Course() for name in _OF_HOST}
        self._cards: dict[tuple[int, str], _Card] = {}

    def add(self, host: HostSample) -> None:
        """Take one more sample of the machine."""
        self._samples += 1
        self._last = host
        for name, course in self._host.items():
            course.add(getattr(host, name))

    def add_cards(self, gpus: Iterable[GpuSample]) -> None:
        """Take one more answer of the cards; the same card is the one at the same place."""
        for place, gpu in enumerate(gpus):
            card = self._cards.setdefault((place, gpu.name), _Card())
            card.memory_total_bytes = gpu.memory_total_bytes or card.memory_total_bytes
            for name, course in card.courses.items():
                course.add(getattr(gpu, name))

    def told(self) -> dict[str, JsonValue] | None:
        """Return it ready for JSON; None for a run that was over before the first sample."""
        if self._last is None:
            return None
        cards: list[JsonValue] = [
            {
                "name": name,
                "memory_total_bytes": card.memory_total_bytes,
                **{key: course.told() for key, course in card.courses.items()},
            }
            for (_, name), card in self._cards.items()
        ]
        return {
            "samples": self._samples,
            "machine_memory_total_bytes": self._last.machine_memory_total_bytes,
            "cores": self._last.cores,
            **{key: course.told() for key, course in self._host.items()},
            "gpus": cards,
        }
