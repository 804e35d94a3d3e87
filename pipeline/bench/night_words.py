"""How a night's measurement is told: tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline import __version__
from pipeline.bench.night import Measured, Took, busy
from pipeline.bench.night_figures import (
    CLAIMED_FILES,
    CLAIMED_H,
    NUMBERS_OF_FILES,
    cores,
    mean_s,
    summed_hours,
    total_s,
)
from pipeline.bench.night_ways import Part, Side, Way
from pipeline.installed import version_of
from pipeline.machine import processor
from pipeline.texts import aligned, counted
from pipeline.threads import budget

_TOGETHER = "together: one run of ours with all of it, and features of the stems"
_NAIVE = {
    Part.SEPARATION: "a demucs process for each file, without shifts; 16-bit WAV",
    Part.TAGGING: "one script that loads Essentia's graphs anew for each file",
    Part.FEATURES: "one script that loads the file anew for each feature",
}


def table(measured: Measured) -> str:
    """Return the measurement for people."""
    parts = [
        _head(measured),
        _seconds(measured),
        _foretold(measured),
        _many(measured),
        _claims(measured),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def _head(measured: Measured) -> Iterable[str]:
    question = measured.question
    files = counted(len(measured.clips), "file")
    yield f"{files}, {measured.audio_s:.1f} s of music, {mean_s(measured):.1f} s each in the mean"
    if Part.SEPARATION in measured.parts:
        yield f"separation: {question.model}, exact, on {measured.device}{_short_hashes(measured, Part.SEPARATION)}"
    if Part.TAGGING in measured.parts:
        yield f"tagging: {', '.join(question.families)}{_short_hashes(measured, Part.TAGGING)}"
    yield from (f"{part}: left out. {why}" for part, why in measured.fitness.left_out.items())
    versions = [f"{name} {version_of(name)}" for name in measured.fitness.told if version_of(name)]
    yield f"{processor()}, {counted(budget(), 'core')} to use of {cores()}; no limit of threads was set"
    yield f"nightshift {__version__}, {', '.join(versions)}"
    if measured.is_busy:
        yield f"NOT IDLE: {busy(measured.load)}"


def _short_hashes(measured: Measured, part: Part) -> str:
    weights = measured.fitness.weights[part]
    shown = [f"{name} {sha256[:8]}" for name, sha256 in weights.items() if name[-5:] != ".json"]
    return f"; weights, the same for both: {', '.join(shown)}"


def _seconds(measured: Measured) -> Iterable[str]:
    rows = [[f"all {len(measured.clips)} files, measured", "naive s", "ours s", "times ours"]]
    for part in measured.parts:
        naive, ours = (measured.took[Way(part, side)].spent.wall_s for side in Side)
        rows.append([part, _number(naive), _number(ours), _number(naive / ours)])
    if len(measured.parts) > 1:
        naive, ours = (total_s(measured, side) for side in Side)
        rows.append(["sum", _number(naive), _number(ours), _number(naive / ours)])
    together = measured.took.get(Way(Part.TOGETHER, Side.OURS))
    if together is not None:
        rows.append([_TOGETHER, "not done", _number(together.spent.wall_s), ""])
    yield from aligned(rows)
    yield ""
    yield from (f"naive {part}: {_NAIVE[part]}" for part in measured.parts)
    more = {Part.SEPARATION: "stems as 24-bit FLAC, ", Part.FEATURES: "more features, "}
    gives = "".join(words for part, words in more.items() if part in measured.parts)
    yield f"ours: one `pipeline run` for each row; {gives}a ledger, manifests, and it can go on"


def _foretold(measured: Measured) -> Iterable[str]:
    yield (
        f"How near is what is foretold? From {counted(len(measured.sample), 'file')}, whole and cut "
        "to a quarter; then measured on all"
    )
    rows = [["", "foretold s", "measured s", "off by"]]
    for way, took in measured.took.items():
        foretold_s = took.expected.of(took.seen.files, took.seen.audio_s)
        off = foretold_s / took.seen.wall_s - 1
        rows.append([str(way), _number(foretold_s), _number(took.seen.wall_s), f"{off:+z.0%}"])
    yield from aligned(rows)


def _many(measured: Measured) -> Iterable[str]:
    length_s = measured.question.length_s or mean_s(measured)
    yield (
        f"Hours for so many files of {length_s:.1f} s: start + files x (s a file + length x s a second "
        "of music)"
    )
    heads = [f"{number:,} files" for number in NUMBERS_OF_FILES]
    rows = [["", "start s", "s a file", "s a second", *heads]]
    for way, took in measured.took.items():
        if way.part is not Part.TOGETHER:
            rows.append([str(way), *_cost(took), *_hours(measured, [way])])
    if len(measured.parts) > 1:
        for side in Side:
            summed = [Way(part, side) for part in measured.parts]
            rows.append([f"sum, {side}", "", "", "", *_hours(measured, summed)])
    together = Way(Part.TOGETHER, Side.OURS)
    if together in measured.took:
        took = measured.took[together]
        rows.append([str(together), *_cost(took), *_hours(measured, [together])])
    yield from aligned(rows)
    if any("-" in row for row in rows):
        yield (
            "-: cannot be told. Its start was more than half of what all files took, or seconds of "
            "music could not be told from files: give more files, or longer ones, on an idle machine."
        )
    longest_s = max(clip.duration_s for clip in measured.clips)
    if length_s > 1.5 * longest_s:
        yield f"No file was that long: the longest that was measured has {longest_s:.1f} s."


def _cost(took: Took) -> list[str]:
    cost = took.cost
    start = "in each" if took.way.is_per_file else _number(cost.start_s)
    return [start, f"{cost.per_file_s:.3f}", f"{cost.per_audio_s:.4f}"]


def _hours(measured: Measured, ways: Sequence[Way]) -> list[str]:
    return [_known(summed_hours(measured, ways, number)) for number in NUMBERS_OF_FILES]


def _claims(measured: Measured) -> Iterable[str]:
    yield (
        f"{CLAIMED_FILES:,} files, hours: what the project's founding documents claimed, of a GPU, "
        "24 cores, and songs of a length they do not say"
    )
    rows = [["", "claimed: naive", "ours", "times", "here: naive", "ours", "times"]]
    for name, claimed in CLAIMED_H.items():
        parts = list(measured.parts) if name == "sum" else [name]
        if name == "sum" and len(measured.parts) < len(_NAIVE):
            continue
        rows.append(
            [name, *map(_number, (*claimed, claimed[0] / claimed[1])), *_here(measured, parts)]
        )
    yield from aligned(rows)


def _here(measured: Measured, parts: Sequence[str]) -> list[str]:
    if any(part not in measured.parts for part in parts):
        return ["not measured", "", ""]
    naive, ours = (
        summed_hours(measured, [Way(Part(part), side) for part in parts], CLAIMED_FILES)
        for side in Side
    )
    times = naive / ours if naive is not None and ours is not None else None
    return [_known(naive), _known(ours), _known(times)]


def _known(value: float | None) -> str:
    return "-" if value is None else _number(value)


def _number(value: float) -> str:
    """Return a number with as many places as a timing is good for."""
    if value < 10:
        return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
