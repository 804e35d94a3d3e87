"""Rows that come a few at a time, and are one array in the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_CHUNK_BYTES = 4 * 2**20


class Growing:
    """Rows of one shape. If their number was known rightly, nothing is copied twice.

    Args:
        shape: of a row; `()` where a row is one value.
        expected: how many will come, if known. May be wrong.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, expected: int = 0) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._chunks: list[NDArray[Any]] = []
        self._filled = 0
        self._expected = expected
        self.count = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Append a copy of some rows."""
        while len(rows):
            if not self._chunks or self._filled == len(self._chunks[-1]):
                self._chunks.append(self._chunk())
                self._filled = 0
            free = self._chunks[-1][self._filled : self._filled + len(rows)]
            free[:] = rows[: len(free)]
            self._filled += len(free)
            self.count += len(free)
            rows = rows[len(free) :]

    def chunks(self) -> list[NDArray[Any]]:
        """Return all rows in arrays as they lie."""
        if not self._chunks:
            return []
        return [*self._chunks[:-1], self._chunks[-1][: self._filled]]

    def joined(self) -> NDArray[Any]:
        """Return all rows as one array, and keep none."""
        chunks, self._chunks = self.chunks(), []
        if len(chunks) == 1:
            return chunks[0]
        whole = np.empty((self.count, *self._shape), self._dtype)
        start = 0
        while chunks:
            chunk = chunks.pop(0)  # let go of one after the other
            whole[start : start + len(chunk)] = chunk
            start += len(chunk)
        return whole

    def _chunk(self) -> NDArray[Any]:
        width = self._dtype.itemsize * int(np.prod(self._shape))
        rows = max(1, _CHUNK_BYTES // width)
        if not self._chunks:
            rows = self._expected or rows  # what is not written to takes no memory
        return np.empty((rows, *self._shape), self._dtype)
