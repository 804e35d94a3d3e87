"""The zoo's table: what must be found, as docs/zoo.md says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"
NOT_TAKEN = "not taken"

_HEADING = re.compile(r"## (F\d+): ")
_NAMED = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Verdict:
    """What became of an input: its state, and the reason of a failure or the flags of a success."""

    state: str
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.state} {', '.join(self.why)}".strip()


def expected(page: str | None = None) -> dict[str, Verdict]:
    """Return what must be found, by title, in the order of the page.

    Raises:
        ValueError: an input stands there twice.
    """
    found: dict[str, Verdict] = {}
    row = ""
    for line in (page if page is not None else PAGE.read_text(encoding="utf-8")).splitlines():
        if heading := _HEADING.match(line):
            row = heading[1]
        elif line.startswith("| `") and row:
            name, state, why = (cell.strip() for cell in line.split("|")[1:4])
            title = f"{row}/{name.strip('`')}"
            if title in found:
                raise ValueError(f"{title} stands twice in {PAGE.name}")
            found[title] = Verdict(state, tuple(_NAMED.findall(why)))
    return found
