"""Measures every subject in fresh processes: with 1, 2, 4, … threads, and many tracks side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import soundfile

from pipeline.bench.processes import python, spent
from pipeline.config import RunConfig, load
from pipeline.errors import NotMeasured
from pipeline.installed import missing_of
from pipeline.machine import Machine
from pipeline.recipe import recipes
from pipeline.texts import counted
from pipeline.threading_analysis.brief import Brief, Way
from pipeline.threading_analysis.cost import Cost
from pipeline.threading_analysis.subjects import Subject, subjects_of
from pipeline.threads import budget, variables
from stages.base import STEMS_FROM, JsonValue

_SONG = Path(__file__).parents[1] / "music" / "bundled" / "Night Bus.flac"
_SMALLEST_POOLS = (2, 4)  # 4 also where there are 2 cores: what too many of them cost is a question
_TRACKS_EACH = 2
_LOOK_S = 1.0
_REGISTRY = "NIGHTSHIFT_REGISTRY"


@dataclass(frozen=True)
class Question:
    """What is to be measured. `stages`: None for all that are registered.

    `pools`: whether calls, too, are done side by side, and not the stages alone.
    """

    stages: tuple[str, ...] | None = None
    seconds: float = 10.0
    rounds: int = 3
    pools_of_calls: bool = False
    model: str = "nano"


@dataclass(frozen=True)
class Trial:
    """One way to do a subject, and what it took. `threads`: None where no variable is set.

    `workers`: threads or processes that do a track each.
    """

    way: Way
    workers: int
    threads: int | None
    cost: Cost


@dataclass(frozen=True)
class Tried:
    """A subject with all its trials. The first is alone, with one thread: what others are held against."""

    subject: Subject
    trials: tuple[Trial, ...]

    def speed_up(self, trial: Trial) -> float:
        """Return how many times as many tracks in a second a trial did as the first."""
        return self.trials[0].cost.wall_s / trial.cost.wall_s


@dataclass(frozen=True)
class LeftOut:
    """What was not measured, and why. `failed`: it was tried."""

    subject: Subject
    why: str
    failed: bool = False


@dataclass(frozen=True)
class Measured:
    """The answer. `busy_cores`: how many other programs kept busy when it began."""

    question: Question
    budget: int
    tried: tuple[Tried, ...]
    left_out: tuple[LeftOut, ...]
    busy_cores: float = 0.0


def measure(
    question: Question, *, environment: Mapping[str, str], say: Callable[[str], None]
) -> Measured:
    """Measure one subject after the other, each way in a process of its own.

    Raises:
        BadUsage: there is no stage of a name that is given.
    """
    plain = {
        name: value
        for name, value in environment.items()
        if "NIGHTSHIFT" not in name or name == _REGISTRY
    }
    with tempfile.TemporaryDirectory(prefix="nightshift-threads-") as name:
        folder = Path(name)
        config = _config(question, folder, plain)
        _write_song(folder / "song.flac", question.seconds)
        can, left_out = _sorted_out(config)
        busy_cores = _busy_cores()
        bench = _Bench(question, config, folder, say)
        tried: list[Tried] = []
        for number, subject in enumerate(can, start=1):
            say(f"{subject.name} ({number} of {len(can)})")
            try:
                tried.append(Tried(subject, tuple(bench.trials(subject))))
            except NotMeasured as error:
                left_out.append(LeftOut(subject, str(error), failed=True))
    return Measured(question, budget(), tuple(tried), tuple(left_out), busy_cores)


def _busy_cores() -> float:
    return psutil.cpu_percent(interval=_LOOK_S) / 100 * (psutil.cpu_count() or 1)


def thread_counts(most: int) -> list[int]:
    """Return 1, 2, 4, … up to a number, and that."""
    doubled = [2**power for power in range(most.bit_length()) if 2**power <= most]
    return sorted({*doubled, most})


def pool_sizes(most: int) -> list[int]:
    """Return how many processes a pool has, in turn: 2, 4, and as many as there are cores."""
    return sorted({*_SMALLEST_POOLS, max(most, min(_SMALLEST_POOLS))})


class _Bench:
    """Where processes are measured."""

    def __init__(
        self, question: Question, config: RunConfig, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._question = question
        self._config = config
        self._folder = folder
        self._say = say
        unset = variables(1)
        self._environment = {
            name: value for name, value in config.environment.items() if name not in unset
        }

    def trials(self, subject: Subject) -> Iterator[Trial]:
        """Give the trials of a subject as they are made.

        Raises:
            NotMeasured: a process failed.
        """
        alone = self._brief(subject)
        first = self._trial(alone, 1)
        yield first
        # As often as it was done there, so that all that is compared is the same.
        alone = replace(alone, repeats=first.cost.repeats)
        for threads in (*thread_counts(budget())[1:], None):
            yield self._trial(alone, threads)
        if subject.call is None or self._question.pools_of_calls:
            yield from self._side_by_side(alone, is_parallel=first.cost.is_parallel)

    def _side_by_side(self, alone: Brief, *, is_parallel: bool) -> Iterator[Trial]:
        sizes = pool_sizes(budget())
        many = replace(alone, tracks=_TRACKS_EACH * max(sizes))
        if is_parallel:
            for workers in thread_counts(budget())[1:]:
                yield self._trial(replace(many, way=Way.THREADS, workers=workers), 1)
        for workers in sizes:
            for threads in (1, None):
                yield self._trial(replace(many, way=Way.PROCESSES, workers=workers), threads)

    def _trial(self, brief: Brief, threads: int | None) -> Trial:
        # A lane that has threads to spare gives a track a second one, which decodes.
        ahead = brief.way is not Way.THREADS and (threads or budget()) > 1
        ordered, answer = self._folder / "brief.json", self._folder / "answer.json"
        replace(brief, ahead=ahead).write(ordered)
        limits = {} if threads is None else variables(threads)
        what = f"{brief.name}, {way_in_words(brief.way, brief.workers, threads)}"
        spent(
            [python("pipeline.threading_analysis.measuring", ordered, answer)],
            environment={**self._environment, **limits},
            what=what,
        )
        cost = Cost.read(answer)
        self._say(f"  {what}: {cost.wall_s:.4f} s, {cost.cores:.0%} CPU")
        return Trial(brief.way, brief.workers, threads, cost)

    def _brief(self, subject: Subject) -> Brief:
        settings = self._config.stage_settings[subject.stage]
        return Brief(
            registry=self._config.registry,
            stage=subject.stage,
            settings=settings.model_dump_json(),
            name=subject.name,
            module=subject.call.module if subject.call is not None else None,
            song=str(self._folder / "song.flac"),
            scratch=str(self._folder),
            ahead=False,
            rounds=self._question.rounds,
        )


def way_in_words(way: Way, workers: int, threads: int | None) -> str:
    """Return what a trial is called."""
    limit = "threads not set" if threads is None else counted(threads, "thread")
    if way is Way.ALONE:
        return limit
    if way is Way.THREADS:
        return f"{workers} tracks on threads"
    return f"{workers} processes, {limit}{'' if threads is None else ' each'}"


def _config(question: Question, folder: Path, environment: Mapping[str, str]) -> RunConfig:
    chosen: dict[str, JsonValue] = {}
    if question.stages is not None:
        chosen["stages"] = [*question.stages]
    known = load(folder, overrides=chosen, environment=environment)
    if STEMS_FROM in known.declarations and "model" in _fields(known, STEMS_FROM):
        chosen[STEMS_FROM] = {"model": question.model}
    return load(folder, overrides=chosen, environment=environment)


def _fields(config: RunConfig, stage: str) -> Sequence[str]:
    return list(type(config.stage_settings[stage]).model_fields)


def _write_song(file: Path, seconds: float) -> None:
    """Write so much of a bundled song, begun anew where it ends."""
    samples, rate_hz = soundfile.read(_SONG, dtype="int16")
    frames = max(1, round(seconds * rate_hz))
    soundfile.write(file, np.resize(samples, (frames, samples.shape[1])), rate_hz)


def _sorted_out(config: RunConfig) -> tuple[list[Subject], list[LeftOut]]:
    blocked = {
        recipe.stage: str(recipe.blocked)
        for recipe in recipes(config, Machine.read(config.out))
        if recipe.blocked is not None
    }
    can: list[Subject] = []
    left_out: list[LeftOut] = []
    for stage in config.selected:
        for subject in subjects_of(stage):
            why = _why_not(subject, blocked.get(stage))
            if why is None:
                can.append(subject)
            else:
                left_out.append(LeftOut(subject, why))
    return can, left_out


def _why_not(subject: Subject, blocked: str | None) -> str | None:
    call = subject.call
    if call is None:
        return blocked
    missing = missing_of(call.needed)
    if missing:
        return f"not installed: {', '.join(missing)}. Install with: pip install {' '.join(missing)}"
    return blocked if call.has_weights else None
