"""Some files separated by several ways in turn, several times, and the stems compared."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.bench.clips import Clip, gather
from pipeline.bench.comparison import Likeness, likenesses, lowest
from pipeline.bench.preparing import Prepared, prepare
from pipeline.bench.processes import seconds
from pipeline.bench.ways import Precision, Task, Way, commands
from pipeline.errors import NotMeasured, Unfit
from pipeline.installed import missing_of
from stages import STAGES
from stages.base import StageBlocked
from stages.weights import find_model

PROMISED_DB = 100.0
"""What the precision `exact` keeps to the numbers of Demucs."""


@dataclass(frozen=True)
class Question:
    """What is to be measured."""

    files: tuple[Path, ...]
    model: str
    precision: Precision
    device: str
    against: tuple[Way, ...]
    runs: int


@dataclass(frozen=True)
class Round:
    """Every way once, one after another: what each took, and how like the stems are."""

    seconds: Mapping[Way, float]
    likenesses: tuple[Likeness, ...]


@dataclass(frozen=True)
class Measured:
    """What came out. The ways of a round are in the order in which they were run."""

    question: Question
    started: datetime
    clips: tuple[Clip, ...]
    prepared: Prepared
    rounds: tuple[Round, ...]

    @property
    def lowest(self) -> Likeness | None:
        """The stem that is the least like the reference; None where there was no reference."""
        return lowest([one for round in self.rounds for one in round.likenesses])

    @property
    def keeps_the_promise(self) -> bool:
        """Whether ours gives the numbers of Demucs, where it promises to."""
        is_promised = self.question.precision is Precision.EXACT
        return not is_promised or self.lowest is None or self.lowest.sdr_db >= PROMISED_DB


def measure(
    question: Question, *, environment: Mapping[str, str], say: Callable[[str], None]
) -> Measured:
    """Run every way in turn, as often as is asked, and compare ours with `apply-model` each time.

    Settings in the environment do not count: it is the command line that is measured.

    Raises:
        BadUsage: a file cannot be read.
        Unfit: libraries, model or device are missing.
        NotMeasured: a way failed, or its output cannot be compared.
    """
    started = datetime.now(UTC)
    _check_libraries()
    _check_model(question.model)
    plain = {name: value for name, value in environment.items() if "NIGHTSHIFT" not in name}
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        folder = Path(name)
        clips = gather(question.files, folder / "music")
        say("looking at the model and at what this machine can do at most")
        prepared = prepare(
            model=question.model,
            device=question.device,
            numbers=_numbers(question.precision),
            repository=folder / "demucs",
            environment=plain,
        )
        task = _task(question, folder, clips, device=prepared.device)
        bench = _Bench(task, folder / "out", stems=len(prepared.sources), environment=plain)
        rounds = []
        for number in range(1, question.runs + 1):
            say(f"round {number} of {question.runs}")
            rounds.append(bench.round(question.against, say=say))
    return Measured(question, started, tuple(clips), prepared, tuple(rounds))


def _task(question: Question, folder: Path, clips: Sequence[Clip], *, device: str) -> Task:
    return Task(
        dataset=folder / "music",
        names=tuple(clip.name for clip in clips),
        repository=folder / "demucs",
        model=question.model,
        device=device,
        asked_device=question.device,
        precision=question.precision,
    )


class _Bench:
    """Where the ways work."""

    def __init__(
        self, task: Task, folder: Path, *, stems: int, environment: Mapping[str, str]
    ) -> None:
        self._task = task
        self._folder = folder
        self._stems = stems
        self._environment = environment

    def round(self, against: Sequence[Way], *, say: Callable[[str], None]) -> Round:
        """Do every way once, ours last; leave nothing behind."""
        took_s = {}
        for way in (*against, Way.OURS):
            took_s[way] = self._once(way)
            say(f"  {way} {took_s[way]:.2f} s")
        found: list[Likeness] = []
        if Way.APPLY_MODEL in against:
            ours, reference = self._folder / Way.OURS, self._folder / Way.APPLY_MODEL
            found = likenesses(ours, reference, self._task.names)
        shutil.rmtree(self._folder)
        return Round(took_s, tuple(found))

    def _once(self, way: Way) -> float:
        out = self._folder / way
        os.sync()  # what the one before left to be written is not to be paid by this one
        all_commands = commands(way, self._task, out)
        took_s = seconds(all_commands, environment=self._environment, what=str(way))
        expected = self._stems * len(self._task.names)
        sounds = [path for path in out.rglob("*") if path.suffix in {".wav", ".flac"}]
        found = sum(path.is_file() for path in sounds)  # a track's folder has a suffix too
        if found != expected:
            raise NotMeasured(str(way), "it did not do all", f"{found} stems of {expected}")
        if way not in (Way.OURS, Way.APPLY_MODEL):
            shutil.rmtree(out)  # room for the next
        return took_s


def _check_libraries() -> None:
    missing = missing_of(STAGES["separation"].libraries)
    if missing:
        raise Unfit(
            f"{', '.join(missing)} is not installed, and separation needs it. "
            'Install it with: pip install "nightshift[separation]"'
        )


def _check_model(model: str) -> None:
    try:
        find_model(model)
    except StageBlocked as error:
        raise Unfit(str(error)) from error


def _numbers(precision: Precision) -> tuple[str, ...]:
    return ("float32",) if precision is Precision.EXACT else ("float32", "bfloat16")
