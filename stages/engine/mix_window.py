"""The part of a mix that is being separated: read on as it is needed, forgotten when it is done."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.base import Reason, TrackUnusable
from stages.mix import MAX_BLOCK_SAMPLES, Mix


class MixWindow:
    """A stretch of a mix in memory; positions are samples of the mix."""

    def __init__(self, mix: Mix) -> None:
        self._mix = mix
        self._blocks = mix.blocks()
        self._held = np.empty((2, 2 * MAX_BLOCK_SAMPLES), dtype=np.float32)
        self._start = 0  # position of the first sample held
        self._end = 0

    def close(self) -> None:
        """Stop reading."""
        self._blocks.close()

    def cut(self, first: int, samples: int) -> NDArray[np.float32]:
        """Return a new array `(2, samples)` from `first` on; what lies outside of the mix is zero.

        Raises:
            TrackUnusable: the mix cannot be read on.
        """
        self._read_to(min(first + samples, self._mix.samples))
        piece = np.zeros((2, samples), dtype=np.float32)
        start, end = max(first, 0), min(first + samples, self._mix.samples)
        assert start >= self._start, "asked for what was forgotten"
        if start < end:
            held = self._held[:, start - self._start : end - self._start]
            piece[:, start - first : end - first] = held
        return piece

    def forget(self, before: int) -> None:
        """Let go of what lies before a position."""
        before = min(before, self._end)
        if before > self._start:
            left = self._end - before
            # The overlap of both is copied in order by numpy.
            self._held[:, :left] = self._held[:, before - self._start : self._end - self._start]
            self._start = before

    def finish(self) -> None:
        """Read to the very end, where it shows whether the file is still what it was.

        Raises:
            TrackUnusable: it is not.
        """
        self._read_to(self._mix.samples)
        if self._end > self._mix.samples or next(self._blocks, None) is not None:
            raise self._changed("more")

    def _read_to(self, end: int) -> None:
        while self._end < end:
            block = next(self._blocks, None)
            if block is None:
                raise self._changed("less")
            self._append(block)

    def _append(self, block: NDArray[np.float32]) -> None:
        used = self._end - self._start
        needed = used + block.shape[1]
        if needed > self._held.shape[1]:
            grown = np.empty((2, 2 * needed), dtype=np.float32)
            grown[:, :used] = self._held[:, :used]
            self._held = grown
        self._held[:, used:needed] = block
        self._end += block.shape[1]

    def _changed(self, how: str) -> TrackUnusable:
        return TrackUnusable(
            Reason.IO,
            f"the file changed while it was read: {how} than the {self._mix.samples} samples it had",
        )
