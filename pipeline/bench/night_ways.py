"""A night's work by parts, as scripts do it that know nothing of many files, and as a run does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.bench.feature_ways import Way as ScriptWay
from pipeline.bench.processes import python
from pipeline.bench.subjects import FEATURES, Subject, tagging
from pipeline.bench.ways import NAME


class Part(StrEnum):
    """What is done to the files. The last, which is ours alone: all the others, and stems' features."""

    SEPARATION = "separation"
    TAGGING = "tagging"
    FEATURES = "features"
    TOGETHER = "together"


PARTS = tuple(part for part in Part if part is not Part.TOGETHER)


class Side(StrEnum):
    """Who does it."""

    NAIVE = "naive"
    OURS = "ours"


@dataclass(frozen=True)
class Way:
    """A part of the work, and who does it."""

    part: Part
    side: Side

    def __str__(self) -> str:
        return f"{self.part}, {self.side}"

    @property
    def is_per_file(self) -> bool:
        """Whether it is a process for each file."""
        return self.part is Part.SEPARATION and self.side is Side.NAIVE


@dataclass(frozen=True)
class Task:
    """What every way is given.

    Args:
        parts: what a run of everything does.
        repository: holds the weights for Demucs.
        model: the same for a run.
        device: as torch names it; `asked_device` as it was given.
    """

    parts: tuple[Part, ...]
    repository: Path
    model: str
    device: str
    asked_device: str
    families: tuple[str, ...]


def ways(parts: Sequence[Part]) -> list[Way]:
    """Return the ways in the order in which they are run; with more than one part, all together last."""
    found = [Way(part, side) for part in parts for side in Side]
    is_more = Part.SEPARATION in parts and len(parts) > 1
    return [*found, Way(Part.TOGETHER, Side.OURS)] if is_more else found


def command(way: Way, task: Task, folder: Path, files: Sequence[Path], out: Path) -> list[str]:
    """Return the command of a way; `files` are those in `folder`, one alone if it is per file."""
    if way.side is Side.OURS:
        return _run(way.part, task, folder, out)
    if way.part is Part.SEPARATION:
        model = ("--repo", task.repository, "-n", NAME, "-d", task.device)
        # Without shifts, as ours: by default Demucs sees a song that is up to 0.5 s longer.
        return python("demucs", *model, "--shifts", 0, "-o", out, *files)
    subject = _subject(way.part, task)
    return python(subject.script, ScriptWay.EACH_BY_ITSELF, *subject.options, out, *files)


def outputs(way: Way, files: int, *, stems: int) -> tuple[str, int]:
    """Return a pattern of what a way leaves, and how often it has to be there."""
    if way.side is Side.OURS:
        return "tracks/*", files  # that all of it is done its exit code says
    return ("*/*/*.wav", stems * files) if way.part is Part.SEPARATION else ("*.npz", files)


def _run(part: Part, task: Task, dataset: Path, out: Path) -> list[str]:
    parts = task.parts if part is Part.TOGETHER else (part,)
    stages: list[str] = []
    options: list[str] = []
    for one in parts:
        if one is Part.SEPARATION:
            stages.append("separation")
            options += ["--model", task.model, "--device", task.asked_device]
            options += ["--precision", "exact"]
        else:
            stages += _subject(one, task).stages
            for setting in _subject(one, task).settings:
                options += ["--set", setting]
    chosen = ("--stages", ",".join(stages), *options)
    return python("pipeline", "run", dataset, "--out", out, *chosen)


def _subject(part: Part, task: Task) -> Subject:
    return FEATURES if part is Part.FEATURES else tagging(task.families)
