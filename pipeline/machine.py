"""What was decided once for this machine and must stay: it changes the last bits of results.

Kept in `machine.json` and recorded in every manifest as the numeric path, so that a resumed run
computes as the killed one did. Beside it: where the dataset is, and the hashes of weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.base import JsonValue

FILE_NAME = "machine.json"


@dataclass
class Machine:
    """The decisions of one machine, by the name of its processor."""

    path: Path
    dataset: str | None = None
    decided: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    weights: dict[str, list[JsonValue]] = field(default_factory=dict)
    ledger: list[JsonValue] | None = None  # size and time of the ledger as the last run left it

    @classmethod
    def read(cls, out: Path) -> Machine:
        """Read what was decided; a missing or broken file means that nothing was yet."""
        path = out / FILE_NAME
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            decided, weights = found["decided"], found["weights"]
            return cls(
                path,
                found.get("dataset"),
                {name: facts for name, facts in decided.items() if isinstance(facts, dict)},
                {name: facts for name, facts in weights.items() if _is_remembered(facts)},
                found.get("ledger"),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(path)

    def save(self, write: Callable[[Path, Mapping[str, JsonValue]], None]) -> None:
        """Write what was decided."""
        weights: dict[str, JsonValue] = {path: facts for path, facts in self.weights.items()}
        decided: dict[str, JsonValue] = {name: facts for name, facts in self.decided.items()}
        write(
            self.path,
            {
                "dataset": self.dataset,
                "decided": decided,
                "weights": weights,
                "ledger": self.ledger,
            },
        )

    def threads(self, *, asked: int | None, budget: int) -> int:
        """Return the number of threads to use: what the user asks, else what was decided before."""
        threads = asked or self.threads_kept() or budget
        self.decided.setdefault(processor(), {})["threads"] = threads
        return threads

    def threads_kept(self) -> int | None:
        """Return the number of threads that runs on this machine use, None before the first."""
        known = self.decided.get(processor(), {}).get("threads")
        return known if isinstance(known, int) and known > 0 else None

    def of_stage(self, stage: str) -> dict[str, JsonValue]:
        """Return what a stage decided on this machine before."""
        known = self.decided.get(processor(), {}).get(stage)
        return known if isinstance(known, dict) else {}

    def decide(self, stage: str, facts: dict[str, JsonValue]) -> None:
        """Remember what a stage decided on this machine, beside what it decided before."""
        self.decided.setdefault(processor(), {})[stage] = {**self.of_stage(stage), **facts}

    def sha256_of(self, path: Path) -> str:
        """Return a weight file's hash, read again only when its stat has changed.

        Raises:
            OSError: it cannot be read.
        """
        stat = os.stat(path)
        facts: list[JsonValue] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self.weights.get(str(path))
        if known is not None and known[:3] == facts:
            return str(known[3])
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.weights[str(path)] = [*facts, digest]
        return digest


def _is_remembered(facts: object) -> bool:
    return isinstance(facts, list) and len(facts) == 4


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return f"{platform.machine()} {line.partition(':')[2].strip()}"
    except OSError:
        pass
    return f"{platform.machine()} {platform.processor() or 'unknown'}"
