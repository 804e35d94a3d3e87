"""What every kind of GPU answers, in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class GpuSample:
    """One card at one moment; None where it does not say, or not now."""

    name: str
    utilisation_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None

    @property
    def says_anything(self) -> bool:
        """Whether there is a value that changes: a card that was lost has none."""
        values = (self.utilisation_percent, self.memory_used_bytes, self.temperature_c)
        return any(value is not None for value in (*values, self.power_w))


class Gpus(Protocol):
    """The cards that one library sees."""

    by: str
    """The library, by the name that pip knows; empty when there is none."""

    why: str
    """Why there are none; empty when there are some."""

    def sample(self) -> tuple[GpuSample, ...]:
        """Ask every card. A value that cannot be had is None; a card that is lost keeps its place."""

    def close(self) -> None:
        """Let the driver go."""


class NoGpus:
    """No card at all, and why."""

    by = ""

    def __init__(self, why: str) -> None:
        self.why = why

    def sample(self) -> tuple[GpuSample, ...]:
        """Give nothing."""
        return ()

    def close(self) -> None:
        """There is nothing to let go."""


class NoAnswer(Exception):
    """A library is there, but it, its driver or its cards are not to be had."""
