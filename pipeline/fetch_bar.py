"""How far a fetch is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from pipeline.amounts import size

if TYPE_CHECKING:
    from typing import Never

    Bar = tqdm[Never]

_LINE_EVERY_S = 10.0


class FetchBar:
    """Shows one file after the other. A stream that is gone stops no fetch."""

    def __init__(
        self,
        stream: TextIO | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = _LINE_EVERY_S,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._every_s = every_s
        self._told = clock()
        self._name = ""
        self._bar: Bar | None = None
        self._terminal = stream is not None and not stream.closed and stream.isatty()

    def begin(self, name: str) -> None:
        """Show another file."""
        self.close()
        self._name = name
        self._told = self._clock()

    def move(self, done_bytes: int, total_bytes: int | None) -> None:
        """Show how much of it is there."""
        if self._terminal:
            self._move_bar(done_bytes, total_bytes)
        elif self._clock() - self._told >= self._every_s:
            self._told = self._clock()
            of = f" of {size(total_bytes)}" if total_bytes is not None else ""
            self.say(f"{self._name}: {size(done_bytes)}{of}")

    def _move_bar(self, done_bytes: int, total_bytes: int | None) -> None:
        try:
            if self._bar is None:
                self._bar = tqdm(
                    desc=self._name,
                    file=self._stream,
                    dynamic_ncols=True,
                    unit="B",
                    unit_scale=True,
                    initial=done_bytes,
                    total=total_bytes,
                )
            self._bar.total = total_bytes
            self._bar.update(done_bytes - self._bar.n)
        except (OSError, ValueError):
            self._terminal, self._stream = False, None

    def say(self, line: str) -> None:
        """Show a line of words."""
        try:
            if self._bar is not None:
                tqdm.write(line, file=self._stream)
            elif self._stream is not None:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def close(self) -> None:
        """Leave the bar of the last file as it stands."""
        if self._bar is not None:
            try:
                self._bar.close()
            except (OSError, ValueError):
                self._stream = None
            self._bar = None
