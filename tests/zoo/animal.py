"""One input of the zoo: what it is called, how it is made, and under which name it lies there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Animal:
    """A file that is bad or odd, for one row of the fault matrix.

    `make` writes it to the path it is given, whose name is plain and whose extension is that of
    `name`. `file_name` is what it is called in the zoo, where that is the odd thing about it.
    """

    row: str
    name: str
    make: Callable[[Path], object]
    file_name: bytes | None = None

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{self.row}/{self.name}"

    @property
    def path(self) -> bytes:
        """Where it lies, relative to the zoo."""
        return os.fsencode(self.row) + b"/" + (self.file_name or os.fsencode(self.name))

    def write(self, zoo: Path, scratch: Path) -> None:
        """Make it, and put it into its place."""
        made = scratch / f"animal{Path(self.name).suffix}"
        self.make(made)
        place = os.path.join(os.fsencode(zoo), self.path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as stream:
            stream.write(made.read_bytes())
        for left in scratch.iterdir():
            left.unlink()
