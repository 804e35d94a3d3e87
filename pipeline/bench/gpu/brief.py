"""What a process that measures a card is asked, as a line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""One finding, ready for JSON. `problem` stands in it where there is none, and why."""


NO_NUMBER_DB = -999.0
"""Stands for a ratio that JSON has no number for: of samples that are none, or against silence."""


@dataclass(frozen=True)
class Brief:
    """The model and the device, and what is to be done with them.

    Args:
        device: as a user names it.
        formats: numbers that are computed with, see `formats.py`.
        batches: segments at once, smallest first.
        hows: how forwards are started, see `forwards.py`.
        files: audio, each readable.
        runs: how often each thing is timed at least.
    """

    model: str
    device: str
    formats: tuple[str, ...]
    batches: tuple[int, ...]
    hows: tuple[str, ...]
    files: tuple[Path, ...]
    runs: int

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps({**asdict(self), "files": [str(file) for file in self.files]})

    @classmethod
    def from_json(cls, text: str) -> Brief:
        """Return what `to_json` gave."""
        said = json.loads(text)
        listed = {name: tuple(said[name]) for name in ("formats", "batches", "hows")}
        return cls(**{**said, **listed, "files": tuple(map(Path, said["files"]))})
