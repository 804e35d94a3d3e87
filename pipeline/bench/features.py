"""What features cost here, against the ways of a script: whole processes in turn, values compared."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from pipeline.bench.clips import Clip, gather
from pipeline.bench.processes import Spent, python, spent
from pipeline.errors import NotMeasured, Unfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

STAGES = ("loudness", "onsets", "chroma", "spectral")
_NEEDED = ("librosa", "pyloudnorm", "soundfile", "scipy")
_LIMITED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Way(StrEnum):
    """How it can be done. All but the last are what ours is measured against."""

    EACH_BY_ITSELF = "each-by-itself"
    LOADED_ONCE = "loaded-once"
    OURS = "ours"


RIVALS = tuple(way for way in Way if way is not Way.OURS)


@dataclass(frozen=True)
class Question:
    """What is to be measured."""

    files: tuple[Path, ...]
    against: tuple[Way, ...] = RIVALS
    runs: int = 3
    threads: int = 1


@dataclass(frozen=True)
class Difference:
    """How far a feature of ours is from that of a script.

    `largest`: of series, the largest difference over the largest value; of scalars the difference
    itself, in their unit. Infinite where there are not as many values.
    """

    file: str
    name: str
    largest: float


@dataclass(frozen=True)
class Measured:
    """The answer. `starts`: what each way takes for a file of four seconds, nearly all of it start."""

    question: Question
    clips: tuple[Clip, ...]
    starts: Mapping[Way, Spent]
    rounds: tuple[Mapping[Way, Spent], ...]
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
    _check_libraries()
    plain = {name: value for name, value in environment.items() if "NIGHTSHIFT" not in name}
    plain |= dict.fromkeys(_LIMITED, str(question.threads))
    ways = (*question.against, Way.OURS)
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        folder = Path(name)
        clips = gather(question.files, folder / "music")
        _write_brief(folder / "brief")
        bench = _Bench(folder / "out", threads=question.threads, environment=plain)
        say("start of each way, with a file of four seconds")
        bench.round(ways, folder / "brief", say=lambda line: None)  # what is compiled once
        starts = bench.round(ways, folder / "brief", say=say)
        rounds = []
        for number in range(1, question.runs + 1):
            say(f"round {number} of {question.runs}")
            rounds.append(bench.round(ways, folder / "music", say=say))
        differences = bench.differences(question.against, [clip.name for clip in clips])
    return Measured(question, tuple(clips), starts, tuple(rounds), tuple(differences))


class _Bench:
    """Where the ways work."""

    def __init__(self, folder: Path, *, threads: int, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._threads = threads
        self._environment = environment

    def round(
        self, ways: Sequence[Way], dataset: Path, *, say: Callable[[str], None]
    ) -> dict[Way, Spent]:
        """Do every way once, on all files of a folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        took = {}
        for way in ways:
            took[way] = spent(
                [self._command(way, dataset)], environment=self._environment, what=str(way)
            )
            say(f"  {way} {took[way].wall_s:.2f} s")
        return took

    def _command(self, way: Way, dataset: Path) -> list[str]:
        out = self._folder / way
        if way is Way.OURS:
            chosen = ("--stages", ",".join(STAGES), "--threads", self._threads)
            return python("pipeline", "run", dataset, "--out", out, *chosen)
        return python("pipeline.bench.feature_calls", way, out, *sorted(dataset.iterdir()))

    def differences(self, against: Sequence[Way], names: Sequence[str]) -> list[Difference]:
        """Compare ours with the rivals, which are one another's equals: the first will do."""
        found = []
        for name in names if against else ():
            ours = _ours(self._folder / Way.OURS / "tracks" / name)
            with np.load(self._folder / against[0] / f"{name}.npz") as theirs:
                for feature in theirs.files:
                    if feature not in ours:
                        raise NotMeasured("ours", "it did not do all", f"no {feature} of {name}")
                    found.append(Difference(name, feature, _far(ours[feature], theirs[feature])))
        return found


def _ours(track: Path) -> dict[str, NDArray[np.floating] | float]:
    """Return what a run wrote of a track: series, and scalars that are no null."""
    found: dict[str, NDArray[np.floating] | float] = {}
    for stage in STAGES:
        features = json.loads((track / stage / "features.json").read_text())["mix"]
        found |= {name: value for name, value in features.items() if value is not None}
        with np.load(track / stage / "frames.npz") as series:
            found |= {name.removeprefix("mix."): series[name] for name in series.files}
    return found


def _far(ours: NDArray[np.floating] | float, theirs: NDArray[np.floating]) -> float:
    if np.ndim(theirs) == 0:
        return abs(float(ours) - float(theirs))
    if np.shape(ours) != np.shape(theirs):
        return math.inf
    largest = float(np.abs(theirs).max(initial=0.0)) or 1.0
    return float(np.abs(ours - theirs).max(initial=0.0)) / largest


def _write_brief(folder: Path) -> None:
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (4 * 44_100, 2))
    soundfile.write(folder / "brief.wav", noise, 44_100)


def _check_libraries() -> None:
    missing = [library for library in _NEEDED if find_spec(library) is None]
    if missing:
        raise Unfit(
            f"{', '.join(missing)} is not installed, and a script needs it. "
            f"Install it with: pip install {' '.join(missing)}"
        )
