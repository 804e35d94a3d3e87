"""How a measurement of features is told: a table for people, JSON with stable keys for programs."""

from __future__ import annotations

import platform
from importlib import metadata
from statistics import median
from typing import Any

from pipeline import __version__
from pipeline.bench.features import Measured, Way
from pipeline.machine import processor
from pipeline.texts import counted

_LIBRARIES = ("librosa", "pyloudnorm", "numpy", "scipy")


def walls_s(measured: Measured, way: Way) -> list[float]:
    """Return what a way took by the clock, in the order of the rounds."""
    return [one[way].wall_s for one in measured.rounds]


def ratios(measured: Measured, rival: Way, *, with_start: bool) -> list[float]:
    """Return how many times as long a rival took as ours did in the same round."""
    starts = measured.starts
    return [
        (one[rival].wall_s - (0 if with_start else starts[rival].wall_s))
        / (one[Way.OURS].wall_s - (0 if with_start else starts[Way.OURS].wall_s))
        for one in measured.rounds
    ]


def table(measured: Measured) -> str:
    """Return the measurement for people."""
    question = measured.question
    rows = [("", "seconds: median (all)", "of it start", "CPU", "times ours", "without starts")]
    for way in (*question.against, Way.OURS):
        walls = walls_s(measured, way)
        cpu = median(one[way].cpu_s / one[way].wall_s for one in measured.rounds)
        rows.append(
            (
                way,
                f"{median(walls):.2f} ({', '.join(f'{wall:.2f}' for wall in walls)})",
                f"{measured.starts[way].wall_s:.2f}",
                f"{cpu:.0%}",
                "" if way is Way.OURS else _times(measured, way, with_start=True),
                "" if way is Way.OURS else _times(measured, way, with_start=False),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    audio_s = sum(clip.duration_s for clip in measured.clips)
    music = f"{counted(len(measured.clips), 'file')}, {audio_s:.1f} s of music"
    return "\n".join([f"{music}; {_machine(measured)}", "", *lines, "", *_differences(measured)])


def _times(measured: Measured, rival: Way, *, with_start: bool) -> str:
    return f"{median(ratios(measured, rival, with_start=with_start)):.1f}"


def _machine(measured: Measured) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)
    return f"{counted(measured.question.threads, 'thread')} of {processor()}; {versions}"


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
    """Return the measurement for programs."""
    question = measured.question
    ways = (*question.against, Way.OURS)
    return {
        "bench": "features",
        "versions": {
            "nightshift": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _LIBRARIES},
        },
        "processor": processor(),
        "threads": question.threads,
        "runs": question.runs,
        "files": [
            {"path": str(clip.path), "name": clip.name, "duration_s": clip.duration_s}
            for clip in measured.clips
        ],
        "seconds": {way: walls_s(measured, way) for way in ways},
        "cpu_seconds": {way: [one[way].cpu_s for one in measured.rounds] for way in ways},
        "start_seconds": {way: measured.starts[way].wall_s for way in ways},
        "times_ours": {way: ratios(measured, way, with_start=True) for way in question.against},
        "times_ours_without_starts": {
            way: ratios(measured, way, with_start=False) for way in question.against
        },
        "largest_difference": _largest(measured),
    }
