"""What a loaded graph can be asked, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


class Network(Protocol):
    """A loaded graph.

    `runtime` says what runs it, `any_thread` whether any thread may call, `batch` how many rows it
    takes at once, None for any number: with fewer the rest is computed for nothing.
    """

    runtime: str
    any_thread: bool
    batch: int | None

    def run(self, batch: Rows) -> Mapping[str, Rows]:
        """Return each of the graph's outputs for a batch, shape `(len(batch), values)`."""


def filled_up(batch: Rows, wanted: int | None) -> Rows:
    """Return a batch of as many rows as a graph wants, zeros behind its own."""
    lacking = (wanted or 0) - len(batch)
    if lacking <= 0:
        return batch
    return np.concatenate([batch, np.zeros((lacking, *batch.shape[1:]), np.float32)])
