"""What a measurement of lanes beside one another says: a table for people, JSON for programs."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

from pipeline.bench.overlap import SERIAL, Measured
from pipeline.bench.processes import Spent
from pipeline.texts import aligned, counted


def table(measured: Measured) -> str:
    """Return it as a table: medians of the rounds."""
    question = measured.question
    rows = [("way", "s", "× serial", "cores in use", "context switches")]
    serial_s = measured.median_s(SERIAL)
    for way, rounds in measured.rounds.items():
        took_s = measured.median_s(way)
        rows.append(
            (
                way,
                f"{took_s:.1f}",
                f"{serial_s / took_s:.2f}",
                f"{_median(rounds, 'cpu_s') / took_s:.2f} of {measured.cores}",
                f"{_median(rounds, 'switches'):,.0f}",
            )
        )
    return "\n".join(
        [
            f"{counted(len(measured.clips), 'file')}, {measured.audio_s:.0f} s of music; "
            f"{', '.join(question.stages)} of mix and stems; a simulated device "
            f"{question.speed:g} times as fast as real time, which alone takes {measured.device_s:.1f} s; "
            f"median of {counted(question.runs, 'run')}",
            "",
            *aligned(rows),
        ]
    )


def measured_json(measured: Measured) -> dict[str, Any]:
    """Return it for programs."""
    question = measured.question
    return {
        "bench": "overlap",
        "files": [
            {"path": str(clip.path), "name": clip.name, "duration_s": clip.duration_s}
            for clip in measured.clips
        ],
        "audio_s": measured.audio_s,
        "speed": question.speed,
        "device_s": measured.device_s,
        "stages": list(question.stages),
        "runs": question.runs,
        "cores": measured.cores,
        "ways": {
            way: {
                "median_s": measured.median_s(way),
                "times_serial": measured.median_s(SERIAL) / measured.median_s(way),
                "rounds": [asdict(one) for one in rounds],
            }
            for way, rounds in measured.rounds.items()
        },
    }


def _median(rounds: tuple[Spent, ...], what: str) -> float:
    return float(statistics.median(getattr(one, what) for one in rounds))
