"""Blocks on their way from the thread that makes them to the one that wants them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

Block = TypeVar("Block")

# Made ahead of whom the blocks are for; at most a MiB each.
_BLOCKS_AHEAD = 4


def from_thread(
    produce: Callable[[Callable[[Block], None]], None], *, name: str
) -> Generator[Block, None, None]:
    """Yield what `produce` gives, and raise what it raises, from a thread of its own."""
    handover: _Handover[Block] = _Handover()
    # A daemon, or a generator that nobody closed would keep the process from ending.
    thread = threading.Thread(target=handover.run, args=(produce,), name=name, daemon=True)
    thread.start()
    try:
        while (block := handover.next()) is not None:
            yield block
    finally:
        handover.abandon()
        if thread is not threading.current_thread():  # the garbage collector runs anywhere
            thread.join()


class _Abandoned(Exception):
    """Nobody wants more blocks. Never leaves the thread."""


class _Handover(Generic[Block]):
    """A few blocks on their way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._blocks: deque[Block] = deque()
        self._ended = False
        self._abandoned = False
        self._error: BaseException | None = None

    def run(self, produce: Callable[[Callable[[Block], None]], None]) -> None:
        """Let `produce` give its blocks; the body of the thread."""
        error: BaseException | None = None
        try:
            produce(self._give)
        except _Abandoned:
            pass
        except BaseException as caught:
            error = caught  # raised where the blocks are awaited
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def next(self) -> Block | None:
        """Return the next block, None after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._ended)
            if self._blocks:
                self._changed.notify_all()
                return self._blocks.popleft()
        if self._error is not None:
            raise self._error
        return None

    def abandon(self) -> None:
        """End the thread at its next block."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def _give(self, block: Block) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or len(self._blocks) < _BLOCKS_AHEAD)
            if self._abandoned:
                raise _Abandoned
            self._blocks.append(block)
            self._changed.notify_all()
