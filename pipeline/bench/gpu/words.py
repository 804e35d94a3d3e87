"""The findings of a card's measurement as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from pipeline.amounts import size
from pipeline.bench.gpu.brief import Row
from pipeline.texts import aligned

RIVAL = "cli-in-one-call"

Cells = Callable[[Row], Sequence[str]]


def table(answer: Mapping[str, Any]) -> str:
    """Return what was found."""
    rows: Sequence[Row] = answer["rows"]
    parts = [_machine(answer, rows)]
    for kind, (head, cells) in _TABLES.items():
        found = [row for row in rows if row["kind"] == kind and "problem" not in row]
        if found:
            parts.append("\n".join(aligned([head, *map(cells, found)])))
    parts += [_runs(rows), *_checks(rows)]
    return "\n\n".join(filter(None, parts))


def _machine(answer: Mapping[str, Any], rows: Sequence[Row]) -> str:
    found = next((row for row in rows if row["kind"] == "card"), None)
    said = f"{answer['model']} on {answer['device']}; {answer['threads']} threads of {answer['processor']}"
    if found is None:
        return said
    peaks = ", ".join(
        f"{name} {peak / 1e12:,.1f}" for name, peak in found["peak_flop_per_s"].items()
    )
    return f"{found['name']}, torch {found['torch']}; {said}\npeak in TFLOP/s: {peaks}"


def _db(value: float | None) -> str:
    return "identical" if value is None else f"{value:.1f}"


def _forward(row: Row) -> Sequence[str]:
    peak = row["peak_bytes"]
    return (
        row["network"],
        row["format"],
        row["how"],
        str(row["batch"]),
        f"{1000 * row['seconds']:.1f}",
        f"{row['times_real_time']:,.0f}",
        _db(row["sdr_db"]),
        size(peak) if peak is not None else "",
    )


def _track(row: Row) -> Sequence[str]:
    kept = ["yes" if row[key] else "no" for key in ("alone", "turned", "again")]
    return (row["format"], str(row["batch"]), _db(row["sdr_db"]), *kept)


def _memory(row: Row) -> Sequence[str]:
    by = "CPU" if row["on_cpu"] else f"batch {row['ended_batch']}"
    ratios = (_db(row["sdr_db"]), _db(row["next_sdr_db"]))
    return (f"{row['room_segments']:g}", size(row["limit_bytes"]), by, *ratios)


def _batch(row: Row) -> Sequence[str]:
    return (row["format"], str(row["batch"]), f"{row['seconds']:.1f}")


def _part(row: Row) -> Sequence[str]:
    threads = str(row["threads"]) if "threads" in row else ""
    return (row["part"], row.get("format", ""), threads, f"{row['times_real_time']:,.0f}")


_TABLES: dict[str, tuple[Sequence[str], Cells]] = {
    "batch": (("precision", "batch", "found in s"), _batch),
    "forward": (
        ("network", "format", "how", "batch", "ms", "times real time", "SDR dB", "memory"),
        _forward,
    ),
    "track": (
        ("whole track", "batch", "SDR dB", "same bits alone", "in another order", "again"),
        _track,
    ),
    "memory": (
        ("room for segments", "bytes", "computed by", "SDR dB", "SDR dB of the next"),
        _memory,
    ),
    "part": (("part alone", "format", "threads", "times real time"), _part),
}


def _runs(rows: Sequence[Row]) -> str:
    """Return whole processes, the median of their rounds, against Demucs' in the same round."""
    done = [row for row in rows if row["kind"] == "run" and "problem" not in row]
    head = ("files", "way", "seconds", "times real time", "times the CLI", "card at work", "memory")
    ways = dict.fromkeys((row["set"], row["way"]) for row in done)
    table = [_way(set_, way, done) for set_, way in ways]
    return "\n".join(aligned([head, *table])) if table else ""


def _way(set_: str, way: str, done: Sequence[Row]) -> Sequence[str]:
    rows = [row for row in done if (row["set"], row["way"]) == (set_, way)]
    theirs = {
        row["round"]: row["seconds"] for row in done if (row["set"], row["way"]) == (set_, RIVAL)
    }
    faster = [theirs[row["round"]] / row["seconds"] for row in rows if row["round"] in theirs]
    cards = [row["card"] for row in rows if row["card"] is not None]
    busy = [
        card["utilisation_percent"] for card in cards if card["utilisation_percent"] is not None
    ]
    used = [card["memory_used_bytes"] for card in cards if card["memory_used_bytes"] is not None]
    return (
        set_,
        way,
        _median([row["seconds"] for row in rows], ".1f"),
        _median([row["times_real_time"] for row in rows], ",.0f"),
        _median(faster, ".2f"),
        _median(busy, ".0f") + " %" if busy else "",
        size(max(used)) if used else "",
    )


def _median(values: Sequence[float], form: str) -> str:
    return format(median(values), form) if values else ""


def _checks(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["kind"] == "kill":
            yield (
                f"lane killed at work: {'yes' if row['killed_at_work'] else 'no, it was too quick'}; "
                f"{row['done']} of {row['tracks']} tracks done, {row['identical']} of "
                f"{row['stems']} stems identical, {row['seconds']:.1f} s instead of "
                f"{row['undisturbed_s']:.1f} s"
            )
        if "problem" in row:
            where = ", ".join(
                str(row[key])
                for key in ("section", "network", "format", "how", "batch")
                if key in row
            )
            yield f"{where}: {row['problem']}"
