"""What a run shows while it works: a bar for each lane and one in all; a line now and then off a terminal.

Counts seconds of audio, not tracks: tracks differ in length, and a time left by count lies.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from pipeline.events import Event
from pipeline.texts import duration

if TYPE_CHECKING:
    from typing import Never

    Bar = tqdm[Never]

_LINE_EVERY_S = 30.0
_FORMAT = "{desc:<20}{percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s of audio, {remaining} left"
# Seconds of audio pass at another speed in each lane: here the time comes from what each took.
_FORMAT_IN_ALL = "{desc:<20}{percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s of audio{postfix}"
_IN_ALL = "in all"
_ENDED = ("job_done", "job_adopted", "job_failed")


class Progress:
    """Listens to a run. Whatever the terminal does, the run goes on: a closed one is forgotten."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = _LINE_EVERY_S,
    ) -> None:
        chosen: TextIO | None = stream if stream is not None else sys.stderr
        self._dead = chosen is None  # a service without standard streams
        self._stream = chosen if chosen is not None else io.StringIO()
        self._clock = clock
        self._every_s = every_s
        self._bars: dict[str, Bar] = {}
        self._done_s: dict[str, float] = {}
        self._jobs = 0
        self._left = ""  # how long it will still take, in words
        self._told = clock()
        self._terminal = not self._stream.closed and self._stream.isatty()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self._dead:
            return
        try:
            self._show(event)
        except (OSError, ValueError):
            self._dead = True  # the terminal is gone; the night goes on

    def _show(self, event: Event) -> None:
        facts = event.facts
        name = f"{facts.get('lane')} ({facts.get('scope')})"
        if event.kind == "todo":
            self._grow(name, _number(facts["left_s"]))
        elif event.kind == "todo_in_all":
            self._grow(_IN_ALL, _number(facts["left_s"]))
        elif event.kind == "time_left":
            self._expect(facts["left_s"])
        elif event.kind == "progress":
            self._move(name, _number(facts["done_s"]))
        elif event.kind in _ENDED:
            self._ended(name, _number(facts.get("audio_s")))
        line = told(event)
        if line is not None:
            self._say(line)

    def _grow(self, name: str, left_s: float) -> None:
        if not self._terminal or (not left_s and name not in self._bars):
            return
        if name not in self._bars:
            self._bars[name] = tqdm(
                desc=name,
                file=self._stream,
                dynamic_ncols=True,
                smoothing=0,
                position=len(self._bars),
                bar_format=_FORMAT_IN_ALL if name == _IN_ALL else _FORMAT,
                total=left_s,
            )
        self._bars[name].total = self._done_s.get(name, 0.0) + left_s
        self._bars[name].refresh()

    def _expect(self, left_s: object) -> None:
        self._left = f"about {duration(_number(left_s))} left" if left_s is not None else ""
        if _IN_ALL in self._bars:
            self._bars[_IN_ALL].set_postfix_str(self._left)

    def _move(self, name: str, done_s: float) -> None:
        bar = self._bars.get(name)
        if bar is not None:
            # Several stages go over the same seconds: never back, never beyond.
            bar.n = min(max(bar.n, self._done_s.get(name, 0.0) + done_s), bar.total or 0.0)
            bar.refresh()

    def _ended(self, name: str, audio_s: float) -> None:
        self._jobs += 1
        for bar in (name, _IN_ALL):
            self._done_s[bar] = self._done_s.get(bar, 0.0) + audio_s
            self._move(bar, 0.0)
        now = self._clock()
        if not self._terminal and now - self._told >= self._every_s:
            self._told = now
            done = ", ".join(
                f"{lane}: {seconds:.0f} s of audio"
                for lane, seconds in self._done_s.items()
                if lane != _IN_ALL
            )
            left = f"; {self._left}" if self._left else ""
            self._say(f"{self._jobs} jobs so far; {done}{left}")

    def _say(self, line: str) -> None:
        if self._bars:
            tqdm.write(line, file=self._stream)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Leave the bars as they stand."""
        for bar in self._bars.values():
            try:
                bar.close()
            except (OSError, ValueError):
                return


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def told(event: Event) -> str | None:
    """Return the line that a person is told of an event, None for those that only count."""
    if event.kind == "job_failed":
        return _failed(event)
    template = _LINES.get(event.kind)
    return template.format(**event.facts) if template is not None else None


def _failed(event: Event) -> str:
    facts = event.facts
    detail = str(facts["detail"] or "").partition("\n")[0][:300]
    return (
        f"failed: {facts['path']}: {facts['stage']} ({facts['scope']}): {facts['reason']}: {detail}"
    )


_LINES = {
    "recovered": "recovered: {what}",
    "interrupted_found": "the last run was cut short: {jobs} jobs go back in the queue",
    "ledger_damaged": "the ledger is damaged ({cause}): kept as {kept}, and made anew from the outputs",
    "output_error": "{path}: {stage} could not be written ({detail}); tried once more from scratch",
    "output_changed": "not as it was published: {folder}: {file}: {how}",
    "outputs_missing": "{jobs} outputs are gone or were changed, and are made anew",
    "unreadable": "unreadable: {path}: {why}",
    "stage_blocked": "blocked: {stage}: {why}",
    "left_out": "left out: {files} × {reason} ({examples})",
    "lane_died": "the {lane} lane ended by itself ({how}); it is started again",
    "lane_recycled": "the {lane} lane has grown too large and is started afresh",
    "source_changed": "changed while it was worked on, looked at again: {path}",
    "moved": "moved: its outputs follow {to}",
    "replaced": "replaced: the old outputs of {folder} are in .trash",
    "limit_reached": "{tracks} tracks are taken up, as many as --limit allows; no more are begun",
    "time_is_up": "it is {until}: the track in hand is finished or given up in a moment",
    "disk_short": "no more is begun, the track in hand is finished: {why}",
    "disk_will_not_do": "warning: {why}",
    "journal_large": "warning: {why}",
    "stopping": "stopping: the track in hand is finished or given up in a moment; once more stops at once",
}
