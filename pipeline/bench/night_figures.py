"""The figures of a night's measurement, and those that it is held against; as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from pipeline import __version__
from pipeline.bench.night import Measured, Took
from pipeline.bench.night_ways import Part, Side, Way
from pipeline.installed import version_of
from pipeline.machine import processor
from pipeline.threads import budget

NUMBERS_OF_FILES = (100, 1_000, 10_000, 100_000)

CLAIMED_FILES = 10_000
# "Combined Impact for 10,000 Files" of the founding documents, before and after: nobody measured it.
CLAIMED_H = {
    Part.SEPARATION.value: (27.0, 13.0),
    Part.TAGGING.value: (9.0, 1.0),
    Part.FEATURES.value: (1.1, 1.1),
    "sum": (37.0, 15.0),
}


def cores() -> int:
    """Return how many the machine has, whoever may use them."""
    return os.cpu_count() or 1


def mean_s(measured: Measured) -> float:
    """Return the mean length of the files."""
    return measured.audio_s / len(measured.clips)


def total_s(measured: Measured, side: Side) -> float:
    """Return what all parts took that both sides did."""
    return sum(measured.took[Way(part, side)].spent.wall_s for part in measured.parts)


def hours(measured: Measured, way: Way, files: int) -> float | None:
    """Return what so many files would take, of the asked length or else the mean one.

    None where it cannot be told: start was more than half of what all files took, so that the rest
    is mostly the error of both; or another length is asked for, and no second of music was seen to
    cost anything.
    """
    took, asked_s = measured.took[way], measured.question.length_s
    cost = took.cost
    if cost.start_s > took.seen.wall_s / 2 or (asked_s is not None and cost.per_audio_s == 0):
        return None
    return cost.of(files, files * (asked_s or mean_s(measured))) / 3600


def summed_hours(measured: Measured, ways: Iterable[Way], files: int) -> float | None:
    """Return what all of these ways would take; None where it cannot be told of one of them."""
    found = [hours(measured, way, files) for way in ways]
    known = [one for one in found if one is not None]
    return sum(known) if len(known) == len(found) else None


def times_ours(measured: Measured) -> dict[str, float]:
    """Return how many times as long as ours the naive ways took, by part and in all."""
    found = {
        str(part): measured.took[Way(part, Side.NAIVE)].spent.wall_s
        / measured.took[Way(part, Side.OURS)].spent.wall_s
        for part in measured.parts
    }
    return {**found, "sum": total_s(measured, Side.NAIVE) / total_s(measured, Side.OURS)}


def measured_json(measured: Measured) -> dict[str, Any]:
    """Return the measurement for programs."""
    question, found = measured.question, measured.fitness
    return {
        "bench": "night",
        "started_utc": measured.started.isoformat(timespec="seconds"),
        "versions": {
            "nightshift": __version__,
            "python": platform.python_version(),
            **{name: version_of(name) for name in found.told},
        },
        "processor": processor(),
        "cores": cores(),
        "threads": budget(),
        "load_before": measured.load,
        "device": measured.device,
        "model": question.model,
        "families": list(question.families),
        "weights": {part: dict(hashes) for part, hashes in found.weights.items()},
        "left_out": dict(found.left_out),
        "files": [
            {"path": str(clip.path), "name": clip.name, "duration_s": clip.duration_s}
            for clip in measured.clips
        ],
        "audio_s": measured.audio_s,
        "mean_s": mean_s(measured),
        "sample": list(measured.sample),
        "seconds": _by_way(measured, lambda took: took.spent.wall_s),
        "cpu_seconds": _by_way(measured, lambda took: took.spent.cpu_s),
        "peak_bytes": _by_way(measured, lambda took: took.spent.peak_bytes),
        "times_ours": times_ours(measured),
        "foretold": _by_way(measured, _foretold),
        "observed": _by_way(
            measured, lambda took: [asdict(one) for one in (*took.sample, *took.every)]
        ),
        "cost": _by_way(measured, lambda took: asdict(took.cost)),
        "length_s": question.length_s or mean_s(measured),
        "hours": {
            str(number): _by_way(measured, partial(_hours, measured, number))
            for number in NUMBERS_OF_FILES
        },
        "claimed_hours": {
            name: {Side.NAIVE: naive, Side.OURS: ours} for name, (naive, ours) in CLAIMED_H.items()
        },
    }


def _hours(measured: Measured, files: int, took: Took) -> float | None:
    return hours(measured, took.way, files)


def _foretold(took: Took) -> Mapping[str, float]:
    foretold_s = took.expected.of(took.seen.files, took.seen.audio_s)
    return {"seconds": foretold_s, "error": foretold_s / took.seen.wall_s - 1}


def _by_way(measured: Measured, of: Callable[[Took], object]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for way, took in measured.took.items():
        found.setdefault(way.part, {})[way.side] = of(took)
    return found
