"""How a measurement of features is told: a table for people, JSON with stable keys for programs."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import metadata
from statistics import median
from typing import Any

from pipeline import __version__
from pipeline.bench.feature_ways import Way
from pipeline.bench.features import Measured, Took
from pipeline.machine import processor
from pipeline.texts import aligned, counted


def ratios(rival: Took, ours: Took, *, with_start: bool) -> list[float | None]:
    """Return how many times as long a rival took as ours did in the same round.

    Without the starts None where one of them took no longer than its start.
    """
    pairs = zip(
        _walls_s(rival, with_start=with_start), _walls_s(ours, with_start=with_start), strict=True
    )
    return [_over(theirs_s, ours_s) for theirs_s, ours_s in pairs]


def times_real_time(ours: Took, audio_s: float) -> list[float | None]:
    """Return how many seconds of music ours did in a second after its start; None as above."""
    return [_over(audio_s, wall_s) for wall_s in _walls_s(ours, with_start=False)]


def _walls_s(took: Took, *, with_start: bool) -> list[float]:
    start_s = 0.0 if with_start else took.start.wall_s
    return [one.wall_s - start_s for one in took.rounds]


def _over(dividend: float, divisor: float) -> float | None:
    return dividend / divisor if min(dividend, divisor) > 0 else None


def _audio_s(measured: Measured) -> float:
    return sum(clip.duration_s for clip in measured.clips)


def table(measured: Measured) -> str:
    """Return the measurement for people."""
    music = f"{counted(len(measured.clips), 'file')}, {_audio_s(measured):.1f} s of music"
    return "\n".join(
        [
            f"{music}; {_machine(measured)}",
            "",
            *aligned(_rows(measured)),
            "",
            *_speeds(measured),
            *_differences(measured),
        ]
    )


def _rows(measured: Measured) -> list[list[str]]:
    called = {threads: measured.question.ours(threads) for threads in measured.ours}
    columns = ["", "seconds: median (all)", "of it start", "CPU", "peak MB"]
    for name in called.values():
        columns += [f"times {name}", "without starts"]
    rows = [columns]
    for way, took in measured.rivals.items():
        rows.append([way, *_cells(took), *_times(took, measured.ours.values())])
    for threads, took in measured.ours.items():
        rows.append([called[threads], *_cells(took), *[""] * 2 * len(called)])
    return rows


def _cells(took: Took) -> list[str]:
    walls_s = _walls_s(took, with_start=True)
    return [
        f"{median(walls_s):.2f} ({', '.join(f'{wall_s:.2f}' for wall_s in walls_s)})",
        f"{took.start.wall_s:.2f}",
        f"{median(one.cpu_s / one.wall_s for one in took.rounds):.0%}",
        f"{max(one.peak_bytes for one in took.rounds) / 1e6:,.0f}",
    ]


def _times(rival: Took, ours: Iterable[Took]) -> list[str]:
    return [
        _median(ratios(rival, one, with_start=with_start))
        for one in ours
        for with_start in (True, False)
    ]


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):,.1f}" if len(known) == len(values) else "-"


def _machine(measured: Measured) -> str:
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in measured.question.subject.told
    )
    threads = " and ".join(counted(one, "thread") for one in measured.question.threads)
    return f"{threads} of {processor()}; {versions}"


def _speeds(measured: Measured) -> list[str]:
    speeds = {
        measured.question.ours(threads): _median(times_real_time(took, _audio_s(measured)))
        for threads, took in measured.ours.items()
    }
    return [f"{name}: {speed} times real time after its start" for name, speed in speeds.items()]


def _differences(measured: Measured) -> list[str]:
    return [
        f"{name}: differs by at most {largest:.1e}" for name, largest in _largest(measured).items()
    ]


def _largest(measured: Measured) -> dict[str, float]:
    largest: dict[str, float] = {}
    for one in measured.differences:
        largest[one.name] = max(one.largest, largest.get(one.name, 0.0))
    return largest


def measured_json(measured: Measured) -> dict[str, Any]:
    """Return the measurement for programs; ours by its number of threads, also where it is one."""
    question, audio_s = measured.question, _audio_s(measured)
    return {
        "bench": question.subject.name,
        "versions": {
            "nightshift": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in question.subject.told},
        },
        "processor": processor(),
        "threads": list(question.threads),
        "runs": question.runs,
        "files": [
            {"path": str(clip.path), "name": clip.name, "duration_s": clip.duration_s}
            for clip in measured.clips
        ],
        "audio_s": audio_s,
        "seconds": _by_way(measured, lambda took: _walls_s(took, with_start=True)),
        "cpu_seconds": _by_way(measured, lambda took: [one.cpu_s for one in took.rounds]),
        "peak_bytes": _by_way(measured, lambda took: [one.peak_bytes for one in took.rounds]),
        "start_seconds": _by_way(measured, lambda took: took.start.wall_s),
        "times_ours": _ratios(measured, with_start=True),
        "times_ours_without_starts": _ratios(measured, with_start=False),
        "times_real_time_after_start": _ours(measured, lambda one: times_real_time(one, audio_s)),
        "largest_difference": {
            # JSON has no infinity.
            name: largest if math.isfinite(largest) else None
            for name, largest in _largest(measured).items()
        },
    }


def _by_way(measured: Measured, of: Callable[[Took], object]) -> dict[str, object]:
    rivals = {str(way): of(took) for way, took in measured.rivals.items()}
    return {**rivals, Way.OURS: _ours(measured, of)}


def _ratios(measured: Measured, *, with_start: bool) -> dict[str, object]:
    return {
        way: _ours(measured, partial(ratios, rival, with_start=with_start))
        for way, rival in measured.rivals.items()
    }


def _ours(measured: Measured, of: Callable[[Took], object]) -> dict[str, object]:
    """Return something of ours by its number of threads, which JSON has as text."""
    return {str(threads): of(took) for threads, took in measured.ours.items()}
