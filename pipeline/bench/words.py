"""How a measurement of separation is told: a table for people, JSON with stable keys for programs."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from importlib import metadata
from statistics import median
from typing import Any

from pipeline import __version__
from pipeline.bench.comparison import Likeness
from pipeline.bench.separation import PROMISED_DB, Measured
from pipeline.bench.ways import Way
from pipeline.machine import processor
from pipeline.texts import aligned, counted
from pipeline.threads import budget


def timings_s(measured: Measured, way: Way) -> list[float]:
    """Return what a way took, in the order of the rounds."""
    return [one.seconds[way] for one in measured.rounds]


def ratios(measured: Measured, rival: Way) -> list[float]:
    """Return how many times as long a rival took as ours did in the same round."""
    return [one.seconds[rival] / one.seconds[Way.OURS] for one in measured.rounds]


def audio_s(measured: Measured) -> float:
    """Return the length of all files together."""
    return sum(clip.duration_s for clip in measured.clips)


def shares_of_peak(measured: Measured) -> dict[str, float]:
    """Return the operations of the model over what the machine could do in ours' median time."""
    prepared = measured.prepared
    flop = sum(prepared.flop(clip.samples(prepared.sample_rate_hz)) for clip in measured.clips)
    flop_per_s = flop / median(timings_s(measured, Way.OURS))
    return {number: flop_per_s / peak for number, peak in prepared.peak_flop_per_s.items()}


def table(measured: Measured) -> str:
    """Return the measurement for people."""
    question = measured.question
    rows = [("", "seconds: median (all)", "times ours: median (all)")]
    for way in (*question.against, Way.OURS):
        against = "" if way is Way.OURS else _values(ratios(measured, way))
        rows.append((way, _values(timings_s(measured, way)), against))
    music = f"{counted(len(measured.clips), 'file')}, {audio_s(measured):.1f} s of music"
    speed = audio_s(measured) / median(timings_s(measured, Way.OURS))
    return "\n".join(
        [
            f"{music}; {question.model}, {question.precision}; {_machine(measured)}",
            "",
            *aligned(rows),
            "",
            f"ours: {speed:.2f} times real time, {_shares(measured)}",
            f"lowest SDR against {Way.APPLY_MODEL}: {_lowest(measured)}",
        ]
    )


def broken_promise(measured: Measured) -> str:
    """Return what is said when ours is not what Demucs gives."""
    return (
        f"error: {measured.question.precision} promises {PROMISED_DB:.0f} dB against Demucs, "
        f"and the lowest stem has {_lowest(measured)}. Please report this with the output of --json."
    )


def measured_json(measured: Measured) -> dict[str, Any]:
    """Return the measurement for programs."""
    question, prepared = measured.question, measured.prepared
    ways = (*question.against, Way.OURS)
    return {
        "bench": "separation",
        "started_utc": measured.started.isoformat(timespec="seconds"),
        "versions": {
            "nightshift": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "demucs")},
        },
        "processor": processor(),
        "threads": budget(),
        "device": prepared.device,
        "model": question.model,
        "precision": question.precision,
        "runs": question.runs,
        "files": [
            {"path": str(clip.path), "name": clip.name, "duration_s": clip.duration_s}
            for clip in measured.clips
        ],
        "audio_s": audio_s(measured),
        "seconds": {way: timings_s(measured, way) for way in ways},
        "median_s": {way: median(timings_s(measured, way)) for way in ways},
        "times_ours": {way: ratios(measured, way) for way in question.against},
        "median_times_ours": {way: median(ratios(measured, way)) for way in question.against},
        "times_real_time": audio_s(measured) / median(timings_s(measured, Way.OURS)),
        "flop_per_segment": [network.flop_per_segment for network in prepared.networks],
        "peak_flop_per_s": dict(prepared.peak_flop_per_s),
        "share_of_peak": shares_of_peak(measured),
        "lowest_sdr": _likeness_json(measured.lowest),
        "sdr": [[_likeness_json(one) for one in round.likenesses] for round in measured.rounds],
        "keeps_the_promise": measured.keeps_the_promise if measured.lowest else None,
    }


def _machine(measured: Measured) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "demucs"))
    return f"{measured.prepared.device}, {counted(budget(), 'thread')} of {processor()}; {versions}"


def _values(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


def _shares(measured: Measured) -> str:
    peaks = measured.prepared.peak_flop_per_s
    return " and ".join(
        f"{share:.1%} of the peak of {peaks[number] / 1e9:,.0f} GFLOP/s ({number})"
        for number, share in shares_of_peak(measured).items()
    )


def _lowest(measured: Measured) -> str:
    one = measured.lowest
    if one is None:
        return f"not compared, for want of {Way.APPLY_MODEL} in --against"
    if one.sdr_db == math.inf:
        return "none, no sample differs"
    path = next(clip.path for clip in measured.clips if clip.name == one.file)
    return f"{one.sdr_db:.1f} dB ({path.name}, {one.stem})"


def _likeness_json(one: Likeness | None) -> dict[str, Any] | None:
    """Return a likeness; JSON has no infinity: `sdr_db` is null where no sample differs, and where
    the reference alone is silent."""
    if one is None:
        return None
    sdr_db = one.sdr_db if math.isfinite(one.sdr_db) else None
    return {
        "name": one.file,
        "stem": one.stem,
        "sdr_db": sdr_db,
        "identical": one.sdr_db == math.inf,
    }
