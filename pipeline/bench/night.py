"""Is a night of many files what a few of them let expect? Naive ways and ours, whole processes.

First on a sample, from which the time for all files is foretold; then on all files, against which
what was foretold is held.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.bench.clips import Clip, gather
from pipeline.bench.extrapolation import Cost, Observation, fit
from pipeline.bench.night_fitness import Fitness, fitness
from pipeline.bench.night_ways import Part, Side, Task, Way
from pipeline.bench.night_work import Bench
from pipeline.bench.preparing import prepare
from pipeline.bench.processes import Spent
from pipeline.bench.samples import Dataset, Samples, take
from pipeline.errors import BadUsage
from pipeline.texts import counted, duration
from pipeline.threads import variables

_IDLE_LOAD = 0.5
"""What a desktop without work comes to, and one more process does not."""


@dataclass(frozen=True)
class Question:
    """What is to be measured. `sample`: how many of the files, at most half of them."""

    files: tuple[Path, ...]
    parts: tuple[Part, ...]
    model: str
    families: tuple[str, ...]
    device: str
    sample: int = 10
    length_s: float | None = None


@dataclass(frozen=True)
class Took:
    """What a way took: on the sample, and on all files, there also in all."""

    way: Way
    sample: tuple[Observation, ...]
    every: tuple[Observation, ...]
    spent: Spent

    @property
    def expected(self) -> Cost:
        """The cost by the sample alone."""
        return _cost(self.way, self.sample)

    @property
    def seen(self) -> Observation:
        """All files as one observation."""
        return Observation(
            files=sum(one.files for one in self.every),
            audio_s=sum(one.audio_s for one in self.every),
            wall_s=self.spent.wall_s,
        )

    @property
    def cost(self) -> Cost:
        """The cost by everything that was seen; of all files it is what they took."""
        return _cost(self.way, (*self.sample, *self.every)).through(self.seen)


def _cost(way: Way, observations: Sequence[Observation]) -> Cost:
    return fit(observations, has_start=not way.is_per_file)


@dataclass(frozen=True)
class Measured:
    """The answer, in the order in which the ways were run.

    `sample`: names of the files in it. `load`: how many processes wanted to compute in the minute
    before, which this measurement's own are not among.
    """

    question: Question
    started: datetime
    fitness: Fitness
    device: str | None
    clips: tuple[Clip, ...]
    sample: tuple[str, ...]
    took: Mapping[Way, Took]
    load: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether something else computed when it began."""
        return self.load > _IDLE_LOAD

    @property
    def parts(self) -> tuple[Part, ...]:
        """What was measured on both sides."""
        return self.fitness.parts

    @property
    def audio_s(self) -> float:
        """The length of all files together."""
        return sum(clip.duration_s for clip in self.clips)


def measure(
    question: Question, *, environment: Mapping[str, str], say: Callable[[str], None]
) -> Measured:
    """Run every way on the sample, foretell, run every way on all files.

    Settings in the environment do not count: it is the command line that is measured.

    Raises:
        BadUsage: a file cannot be read or is too short, or there are too few.
        Unfit: model or device are missing, or there is no part for which all is there.
        NotMeasured: a way failed, or left something out.
    """
    started, load = datetime.now(UTC), os.getloadavg()[0]
    if load > _IDLE_LOAD:
        say(f"note: {busy(load)}")
    fit_for = fitness(question.parts, model=question.model, families=question.families)
    for part, reason in fit_for.left_out.items():
        say(f"{part} is left out: {reason}")
    if len(question.files) < 4:
        raise BadUsage(
            f"{counted(len(question.files), 'file')} cannot be foretold from half of them. "
            "Give four or more."
        )
    ours = variables(1)  # nobody sets them who writes such a script
    plain = {
        name: value
        for name, value in environment.items()
        if "NIGHTSHIFT" not in name and name not in ours
    }
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        folder = Path(name)
        every = Dataset(folder / "all", tuple(gather(question.files, folder / "all")))
        count = min(question.sample, len(every.clips) // 2)
        samples = take(every, count, folder)
        task, stems = _prepared(question, fit_for.parts, folder, environment=plain, say=say)
        bench = Bench(task, folder / "out", stems=stems, environment=plain, say=say)
        took = _both(bench, samples, say=say)
    return Measured(
        question=question,
        started=started,
        fitness=fit_for,
        device=task.device or None,
        clips=every.clips,
        sample=tuple(clip.name for clip in samples.whole.clips),
        took=took,
        load=load,
    )


def busy(load: float) -> str:
    """Return what is said of a machine that has something else to do."""
    return (
        f"a load of {load:.1f} before it began: something else computes here, or did a minute ago, "
        "and times can be off by a multiple. Measure on an idle machine."
    )


def _prepared(
    question: Question,
    parts: tuple[Part, ...],
    folder: Path,
    *,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> tuple[Task, int]:
    """Return what every way is given, and how many stems the model has."""
    device, stems = "", 0
    if Part.SEPARATION in parts:
        say("looking at the model, and writing its weights as Demucs takes them")
        prepared = prepare(
            model=question.model,
            device=question.device,
            numbers=(),
            repository=folder / "demucs",
            environment=environment,
        )
        device, stems = prepared.device, len(prepared.sources)
    task = Task(
        parts=parts,
        repository=folder / "demucs",
        model=question.model,
        device=device,
        asked_device=question.device,
        families=question.families,
    )
    return task, stems


def _both(bench: Bench, samples: Samples, *, say: Callable[[str], None]) -> dict[Way, Took]:
    """Measure the sample, then all files; say in between how long that will be."""
    say("a short piece each way, for what is compiled and read from the disk once")
    for way in bench.ways:
        bench.once(way, samples.one)
    whole = counted(len(samples.whole.clips), "file")
    say(f"the sample: the same piece again, pieces of {whole}, and these whole")
    seen = {way: bench.sample(way, samples) for way in bench.ways}
    every = samples.every
    expected = {
        way: _cost(way, found).of(len(every.clips), every.audio_s) for way, found in seen.items()
    }
    sides = [
        f"{side} {duration(sum(s for way, s in expected.items() if way.side is side))}"
        for side in Side
    ]
    say(
        f"all {len(every.clips)} files; by the sample this takes "
        f"{duration(sum(expected.values()))}: {', '.join(sides)}"
    )
    took = {}
    for way in bench.ways:
        say(f"  {way}: {duration(expected[way])} expected")
        found, used = bench.once(way, every)
        took[way] = Took(way, seen[way], found, used)
    return took
