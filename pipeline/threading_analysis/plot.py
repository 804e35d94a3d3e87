"""The plot: for every subject how fast it gets with threads, beside the cores that it keeps busy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.machine import processor
from pipeline.texts import counted
from pipeline.threading_analysis.analysis import Measured, Trial, Tried, way_in_words
from pipeline.threading_analysis.brief import Way
from pipeline.threading_analysis.judging import points
from pipeline.threading_analysis.svg import bar, document, dot, line, text

_COLUMNS = 4
_WIDTH, _HEIGHT = 260.0, 190.0  # of a panel
_LEFT, _TOP, _RIGHT, _BOTTOM = 34.0, 30.0, 16.0, 36.0  # of its frame within it
_HEAD = 76.0
_LONGEST_NAME = 30  # letters that fit above a panel
_BAR, _GROUP = 10.0, 40.0
_LABEL_Y, _BARS_Y = 12.0, 16.0
_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #333 }
.title { font-size: 16px; font-weight: 600 }   .head { font-size: 11.5px; font-weight: 600 }
.faint { fill: #666 } .small { font-size: 9.5px; fill: #666 } .page { fill: #fff } .frame { fill: none; stroke: #ccc }
.grid { fill: none; stroke: #e6e6e6 } .ideal { fill: none; stroke: #999; stroke-dasharray: 4 3 }
.speed { fill: none; stroke: #0b62a4; stroke-width: 2 } .speed-mark { fill: #0b62a4 }
.cpu { fill: none; stroke: #e07b00; stroke-width: 2 }
.cpu-mark { fill: #fff; stroke: #e07b00; stroke-width: 2 } .cpu-bar { fill: #f3b266 }
"""


def drawn(measured: Measured) -> str:
    """Return the plot as SVG."""
    panels_end = _HEAD + _HEIGHT * -(-len(measured.tried) // _COLUMNS)
    with_pools = [tried for tried in measured.tried if _side_by_side(tried)]
    shapes = list(_heading(measured))
    for number, tried in enumerate(measured.tried):
        row, column = divmod(number, _COLUMNS)
        shapes += _Panel(tried, column * _WIDTH, _HEAD + row * _HEIGHT).shapes()
    bars, end = _bars(with_pools, panels_end)
    width = _WIDTH * _COLUMNS
    return document(width, end + 10, style=_STYLE, shapes=[*shapes, *bars])


def _short(name: str) -> str:
    """Return a name that fits above its panel: a long call without its library."""
    return name if len(name) <= _LONGEST_NAME else name.rpartition(".")[2]


def _heading(measured: Measured) -> Iterator[str]:
    cores = counted(measured.budget, "core")
    yield text(12, 24, f"CPU use is not speed-up: {cores} of {processor()}", kind="title")
    yield dot(18, 42, kind="speed-mark")
    yield text(28, 46, "times as fast as with one thread")
    yield dot(218, 42, kind="cpu-mark")
    yield text(228, 46, "cores in use (1 is 100 % CPU)")
    yield line([(412, 42), (436, 42)], kind="ideal")
    yield text(442, 46, "as many times as fast as there are threads")
    yield text(
        12, 64, "By the number of threads that the libraries may start; one track.", kind="faint"
    )


class _Panel:
    """One subject: two lines over the number of threads, and two marks where none is set."""

    def __init__(self, tried: Tried, x: float, y: float) -> None:
        found = points(tried)
        self._name = _short(tried.subject.name)
        self._threads = sorted(threads for threads in found if threads is not None)
        self._found = found
        values = [value for point in found.values() for value in (point.speed, point.cores)]
        self._highest = max(*values, *self._threads) * 1.1
        self._left, self._right = x + _LEFT, x + _WIDTH - _RIGHT
        self._top, self._bottom = y + _TOP, y + _HEIGHT - _BOTTOM

    def shapes(self) -> Iterator[str]:
        """Give what is seen of it."""
        width, height = self._right - self._left, self._bottom - self._top
        yield text(self._left, self._top - 8, self._name, kind="head")
        yield from self._grid()
        yield bar(self._left, self._top, width, height, kind="frame")
        yield line([(self._x(one), self._y(one)) for one in self._threads], kind="ideal")
        for kind, values in (
            ("cpu", {threads: point.cores for threads, point in self._found.items()}),
            ("speed", {threads: point.speed for threads, point in self._found.items()}),
        ):
            yield line([(self._x(one), self._y(values[one])) for one in self._threads], kind=kind)
            for threads, value in values.items():
                yield dot(self._x(threads), self._y(value), kind=f"{kind}-mark")

    def _grid(self) -> Iterator[str]:
        for value in _ticks(self._highest):
            yield line([(self._left, self._y(value)), (self._right, self._y(value))], kind="grid")
            yield text(self._left - 6, self._y(value) + 4, f"{value:g}", anchor="end")
        for threads in (*self._threads, None):
            if threads in self._found:
                words = "not set" if threads is None else str(threads)
                yield text(self._x(threads), self._bottom + 16, words, anchor="middle")

    def _x(self, threads: int | None) -> float:
        places: list[int | None] = [*self._threads, None]
        return self._left + (places.index(threads) + 0.5) * (self._right - self._left) / len(places)

    def _y(self, value: float) -> float:
        return self._bottom - value / self._highest * (self._bottom - self._top)


def _ticks(highest: float) -> list[float]:
    """Return at most five round values from 0 on."""
    step = next(step for step in (0.5, 1, 2, 4, 8, 16, 32, 64, 128, 1024) if highest / step < 5)
    return [number * step for number in range(int(highest / step) + 1)]


def _side_by_side(tried: Tried) -> list[Trial]:
    return [trial for trial in tried.trials if trial.way is not Way.ALONE]


def _bars(found: Sequence[Tried], top: float) -> tuple[list[str], float]:
    """Return bars for many tracks side by side, and where they end."""
    if not found:
        return [], top
    shapes = [
        text(
            12,
            top + 8,
            "Many tracks side by side: times as many in a second as one process with one thread does, and cores in use.",
            kind="faint",
        )
    ]
    row_y = top + 16
    for start in range(0, len(found), _COLUMNS):
        row = found[start : start + _COLUMNS]
        for column, tried in enumerate(row):
            shapes += _bar_panel(tried, column * _WIDTH, row_y)
        row_y += 40 + _GROUP * max(len(_side_by_side(tried)) for tried in row)
    return shapes, row_y


def _bar_panel(tried: Tried, x: float, y: float) -> Iterator[str]:
    trials = _side_by_side(tried)
    most = max(value for trial in trials for value in (tried.speed_up(trial), trial.cost.cores))
    room = _WIDTH - _RIGHT - _LEFT - 30
    yield text(x + _LEFT, y + 20, tried.subject.name, kind="head")
    for number, trial in enumerate(trials):
        upper = y + 26 + number * _GROUP
        words = way_in_words(trial.way, trial.workers, trial.threads)
        yield text(x + _LEFT, upper + _LABEL_Y, words)
        for place, (value, kind) in enumerate(
            ((tried.speed_up(trial), "speed-mark"), (trial.cost.cores, "cpu-bar"))
        ):
            at = upper + _BARS_Y + place * _BAR
            yield bar(x + _LEFT, at, room * value / most, _BAR - 1, kind=kind)
            yield text(
                x + _LEFT + room * value / most + 4, at + _BAR - 1, f"{value:.2f}", kind="faint"
            )
