"""Where a frozen graph is, and which of its nodes matter. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GraphFile:
    """A frozen graph with what its description says of it.

    `predictions` is the node that gives a value for each of `classes`; a backbone may have none.
    """

    path: Path
    input: str
    predictions: str | None
    embeddings: str | None
    classes: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, Path]:
        """The graph and its description."""
        return self.path, self.path.with_suffix(".json")

    @property
    def outputs(self) -> tuple[str, ...]:
        """The nodes that are asked for."""
        return tuple(node for node in (self.predictions, self.embeddings) if node is not None)
