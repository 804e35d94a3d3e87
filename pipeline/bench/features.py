"""What stages cost here, against the ways of a script: whole processes in turn, values compared."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from pipeline.bench.clips import Clip, gather
from pipeline.bench.feature_differences import Difference, differences_between
from pipeline.bench.feature_ways import RIVALS, Way
from pipeline.bench.processes import Spent, python, spent
from pipeline.bench.subjects import FEATURES, Subject
from pipeline.errors import Unfit
from pipeline.installed import missing_of
from pipeline.texts import counted
from pipeline.threads import variables


@dataclass(frozen=True)
class Question:
    """What is to be measured.

    `threads`: of ours, once with each number; the libraries of the others may use the largest.
    """

    files: tuple[Path, ...]
    against: tuple[Way, ...] = RIVALS
    runs: int = 3
    threads: tuple[int, ...] = (1,)
    subject: Subject = FEATURES

    def ours(self, threads: int) -> str:
        """Return what ours is called that uses so many threads."""
        return Way.OURS if len(self.threads) == 1 else f"{Way.OURS}, {counted(threads, 'thread')}"


@dataclass(frozen=True)
class Took:
    """What a way took: for a file of four seconds, nearly all of it start, and in every round."""

    start: Spent
    rounds: tuple[Spent, ...]


@dataclass(frozen=True)
class Measured:
    """The answer. `ours`: by the number of threads."""

    question: Question
    clips: tuple[Clip, ...]
    rivals: Mapping[Way, Took]
    ours: Mapping[int, Took]
    differences: tuple[Difference, ...]


def measure(
    question: Question, *, environment: Mapping[str, str], say: Callable[[str], None]
) -> Measured:
    """Run every way in turn, as often as is asked, and compare the values of the last round.

    Raises:
        BadUsage: a file cannot be read.
        Unfit: a library is missing.
        NotMeasured: a way failed.
    """
    _check_libraries(question.subject)
    plain = {name: value for name, value in environment.items() if "NIGHTSHIFT" not in name}
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        folder = Path(name)
        clips = gather(question.files, folder / "music")
        _write_brief(folder / "brief")
        bench = _Bench(question, folder / "out", environment=plain, say=say)
        say("a file of four seconds, for what is compiled once")
        bench.round(folder / "brief")
        say("the same, for the start of each way")
        starts = bench.round(folder / "brief")
        rounds = []
        for number in range(1, question.runs + 1):
            say(f"round {number} of {question.runs}")
            rounds.append(bench.round(folder / "music"))
        differences = tuple(bench.differences([clip.name for clip in clips]))
    took = {name: Took(starts[name], tuple(one[name] for one in rounds)) for name in starts}
    return Measured(
        question,
        tuple(clips),
        rivals={way: took[way] for way in question.against},
        ours={threads: took[question.ours(threads)] for threads in question.threads},
        differences=differences,
    )


class _Bench:
    """Where the ways work."""

    def __init__(
        self,
        question: Question,
        folder: Path,
        *,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._question = question
        self._folder = folder
        self._environment = environment
        self._say = say

    def round(self, dataset: Path) -> dict[str, Spent]:
        """Do every way once, on all files of a folder; return what each took, by its name."""
        shutil.rmtree(self._folder, ignore_errors=True)
        took: dict[str, Spent] = {}
        for way in self._question.against:
            most = max(self._question.threads)
            took[way] = self._once(way, self._script(way, dataset), threads=most)
        for threads in self._question.threads:
            name = self._question.ours(threads)
            took[name] = self._once(name, self._run(threads, dataset), threads=threads)
        return took

    def _once(self, name: str, command: Sequence[str], *, threads: int) -> Spent:
        limited = {**self._environment, **variables(threads)}
        took = spent([command], environment=limited, what=name)
        self._say(f"  {name} {took.wall_s:.2f} s")
        return took

    def _script(self, way: Way, dataset: Path) -> list[str]:
        subject, files = self._question.subject, sorted(dataset.iterdir())
        return python(subject.script, way, *subject.options, self._folder / way, *files)

    def _run(self, threads: int, dataset: Path) -> list[str]:
        subject = self._question.subject
        chosen = ["--stages", ",".join(subject.stages), "--threads", threads]
        for setting in subject.settings:
            chosen += ["--set", setting]
        return python("pipeline", "run", dataset, "--out", self._out(threads), *chosen)

    def _out(self, threads: int) -> Path:
        return self._folder / f"{Way.OURS}-{threads}"

    def differences(self, names: Sequence[str]) -> Iterator[Difference]:
        """Compare ours with the rivals, which are one another's equals: the first will do."""
        for way in self._question.against[:1]:
            for threads in self._question.threads:
                yield from differences_between(self._out(threads), self._folder / way, names)


def _write_brief(folder: Path) -> None:
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (4 * 44_100, 2))
    soundfile.write(folder / "brief.wav", noise, 44_100)


def _check_libraries(subject: Subject) -> None:
    missing = missing_of(subject.needed)
    if missing:
        raise Unfit(
            f"{', '.join(missing)} is not installed, and a script needs it. "
            f"Install it with: pip install {' '.join(missing)}"
        )
