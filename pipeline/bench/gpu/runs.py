"""Whole processes on whole datasets: `pipeline run` at each precision, and Demucs' own command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.bench.gpu.brief import Row
from pipeline.bench.gpu.watching import busiest, watched
from pipeline.bench.processes import spent
from pipeline.bench.samples import Dataset
from pipeline.bench.ways import Precision, Task, Way, commands
from pipeline.errors import NotMeasured
from pipeline.monitoring.cards import Cards
from stages.stem_formats import StemFormat

_SOUNDS = {".wav", ".flac", ".mp3"}


@dataclass(frozen=True)
class Kind:
    """A way; where it is ours at a precision, into files of a format."""

    way: Way
    precision: Precision = Precision.EXACT
    format: StemFormat = "wav32f"

    @property
    def name(self) -> str:
        """How it is told."""
        return f"ours, {self.precision}, {self.format}" if self.way is Way.OURS else str(self.way)


# Both sides write 32-bit WAV; what other files cost is seen where the card is the fastest.
KINDS = (
    Kind(Way.CLI_IN_ONE_CALL),
    *(Kind(Way.OURS, precision) for precision in Precision),
    Kind(Way.OURS, Precision.FAST, "flac24"),
    Kind(Way.OURS, Precision.FAST, "mp3"),
)


@dataclass(frozen=True)
class Place:
    """Where all ways work, and what they are told.

    Args:
        stems: of the model.
        batches: the segments at once, by precision: found once, since every run is a first one.
    """

    task: Task
    folder: Path
    stems: int
    batches: Mapping[str, int]
    environment: Mapping[str, str]


def measure(
    name: str, dataset: Dataset, place: Place, *, rounds: int, say: Callable[[str], None]
) -> Iterator[Row]:
    """Give what each way took for a dataset, all ways in turn, a row for each process.

    `card`: what the busiest card did meanwhile, null where none was seen.
    """
    for number in range(1, rounds + 1):
        say(f"{name}: round {number} of {rounds}")
        for kind in KINDS:
            facts: Row = {"kind": "run", "set": name, "way": kind.name, "round": number}
            try:
                found = _once(kind, dataset, place)
            except NotMeasured as error:
                yield {**facts, "problem": str(error)}
                continue
            say(f"  {kind.name} {found['seconds']:.1f} s")
            speed = dataset.audio_s / found["seconds"]
            yield {
                **facts,
                "files": len(dataset.clips),
                "audio_s": dataset.audio_s,
                "times_real_time": speed,
                **found,
            }


def _once(kind: Kind, dataset: Dataset, place: Place) -> Row:
    out = place.folder / "out"
    os.sync()  # what the one before left to be written is not to be paid by this one
    try:
        with watched(Cards(place.environment)) as samples:
            used = spent(
                _commands(kind, dataset, place, out), environment=place.environment, what=kind.name
            )
        sounds = [path for path in out.rglob("*") if path.suffix in _SOUNDS]
        found = sum(path.is_file() for path in sounds)  # a track's folder has a suffix too
    finally:
        shutil.rmtree(out, ignore_errors=True)
    expected = place.stems * len(dataset.clips)
    if found != expected:
        raise NotMeasured(kind.name, "it did not do all", f"{found} of {expected} stems")
    return {
        "seconds": used.wall_s,
        "cpu_s": used.cpu_s,
        "peak_bytes": used.peak_bytes,
        "batch": place.batches.get(kind.precision) if kind.way is Way.OURS else None,
        "card": busiest(samples),
    }


def _commands(kind: Kind, dataset: Dataset, place: Place, out: Path) -> list[list[str]]:
    names = tuple(clip.name for clip in dataset.clips)
    asked = replace(place.task, dataset=dataset.folder, names=names, precision=kind.precision)
    found = commands(kind.way, asked, out)
    if kind.way is Way.OURS:
        found[0] += ["--set", f"separation.format={kind.format}"]
        found[0] += batch_of(place.batches, kind.precision)
    return found


def batch_of(batches: Mapping[str, int], precision: Precision) -> list[str]:
    """Return the words that tell a run its batch, none where it was not found."""
    batch = batches.get(precision)
    return [] if batch is None else ["--set", f"separation.batch={batch}"]
