"""Lanes one after another, lanes beside one another, and pools of processes, on the same work."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.clips import Clip, gather
from pipeline.bench.processes import Spent, python, spent
from pipeline.threads import budget, variables

STAGES = ("loudness", "onsets", "chroma", "spectral")
_REGISTRY = "pipeline.bench.simulated_device:STAGES"

SERIAL = "serial"
OVERLAP = "overlap"


@dataclass(frozen=True)
class Question:
    """What is to be measured. `speed`: of the simulated device, in times real time."""

    files: tuple[Path, ...]
    speed: float = 20.0
    stages: tuple[str, ...] = STAGES
    runs: int = 3


@dataclass(frozen=True)
class Measured:
    """The answer. `rounds`: by way, one for each run."""

    question: Question
    clips: tuple[Clip, ...]
    cores: int
    rounds: Mapping[str, tuple[Spent, ...]]

    @property
    def audio_s(self) -> float:
        """Seconds of music."""
        return sum(clip.duration_s for clip in self.clips)

    @property
    def device_s(self) -> float:
        """What the device alone takes: no way can be faster."""
        return self.audio_s / self.question.speed

    def median_s(self, way: str) -> float:
        """Return what a way took."""
        return statistics.median(one.wall_s for one in self.rounds[way])


def measure(
    question: Question, folder: Path, *, environment: Mapping[str, str], say: Callable[[str], None]
) -> Measured:
    """Do the same tracks in every way in turn, as often as is asked; whole processes.

    Args:
        folder: an empty one. What each way made in the last round is left in it, under its name.

    Raises:
        BadUsage: a file cannot be read.
        NotMeasured: a way failed.
    """
    ours = variables(1)
    plain = {
        name: value
        for name, value in environment.items()
        if "NIGHTSHIFT" not in name and name not in ours
    }
    clips = gather(question.files, folder / "music")
    ways = _ways(question, folder, [folder / "music" / clip.name for clip in clips])
    rounds: dict[str, list[Spent]] = {way: [] for way in ways}
    say("one file with lanes in turn, for what is compiled once")
    brief = _ways(
        Question(question.files[:1], question.speed, question.stages), folder / "brief", []
    )
    (folder / "brief").mkdir()
    gather(question.files[:1], folder / "brief" / "music")
    spent([brief[SERIAL][0]], environment={**plain, **brief[SERIAL][1]}, what=SERIAL)
    for number in range(1, question.runs + 1):
        say(f"round {number} of {question.runs}")
        for way, (command, more) in ways.items():
            shutil.rmtree(folder / way, ignore_errors=True)
            os.sync()  # what one way left to be written is not the next one's work
            took = spent([command], environment={**plain, **more}, what=way)
            rounds[way].append(took)
            say(f"  {way} {took.wall_s:.1f} s")
    return Measured(
        question, tuple(clips), budget(), {way: tuple(all_) for way, all_ in rounds.items()}
    )


def _ways(
    question: Question, folder: Path, files: list[Path]
) -> dict[str, tuple[list[str], Mapping[str, str]]]:
    """Return the command of each way, and what it finds in its environment."""
    cores, stages = budget(), ",".join(question.stages)

    def run(way: str, *more: str) -> tuple[list[str], Mapping[str, str]]:
        asked = ("--stages", f"{stages},separation", "--set", f"separation.speed={question.speed}")
        out = ("--out", folder / way, "--threads", cores)
        command = python("pipeline", "run", folder / "music", *out, *asked, *more)
        return command, {"NIGHTSHIFT_REGISTRY": _REGISTRY}

    def pool(way: str, environment: Mapping[str, str]) -> tuple[list[str], Mapping[str, str]]:
        module = "pipeline.bench.pool_of_tracks"
        return python(module, cores, question.speed, stages, folder / way, *files), environment

    not_set, one_each = (
        f"pool of {cores}, {how}" for how in ("threads not set", "one thread each")
    )
    return {
        SERIAL: run(SERIAL),
        OVERLAP: run(OVERLAP, "--overlap"),
        not_set: pool(not_set, {}),
        one_each: pool(one_each, variables(1)),
    }
