"""What happens in a run, told to whoever shows or logs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from stages.base import JsonValue


@dataclass(frozen=True)
class Event:
    """One thing that happened. `facts` are ready for JSON."""

    kind: str
    facts: Mapping[str, JsonValue]


Emit: TypeAlias = Callable[[Event], None]
