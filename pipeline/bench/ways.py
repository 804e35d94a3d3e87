"""The ways to separate some files: what a user would type, as whole processes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.bench.processes import python

NAME = "bench"
"""Of the model in the repository for Demucs."""


class Way(StrEnum):
    """How it can be done. All but the last are what ours is measured against."""

    CLI_PER_FILE = "cli-per-file"
    CLI_IN_ONE_CALL = "cli-in-one-call"
    APPLY_MODEL = "apply-model"
    OURS = "ours"


RIVALS = tuple(way for way in Way if way is not Way.OURS)


class Precision(StrEnum):
    """What `separation.precision` can be."""

    EXACT = "exact"
    BALANCED = "balanced"
    FAST = "fast"


@dataclass(frozen=True)
class Task:
    """What every way is given.

    Args:
        dataset: a folder with the files and nothing else.
        names: of the files in it.
        repository: holds the weights for Demucs.
        model: the same for a run.
        device: as torch names it; `asked_device` as it was given.
    """

    dataset: Path
    names: tuple[str, ...]
    repository: Path
    model: str
    device: str
    asked_device: str
    precision: Precision


def commands(way: Way, task: Task, out: Path) -> list[list[str]]:
    """Return the commands of a way, to be run one after another; they write into `out`."""
    files = [task.dataset / name for name in task.names]
    if way is Way.CLI_PER_FILE:
        return [_cli(task, out, [file]) for file in files]
    if way is Way.CLI_IN_ONE_CALL:
        return [_cli(task, out, files)]
    if way is Way.APPLY_MODEL:
        module = "pipeline.bench.apply_model"
        return [python(module, task.repository, NAME, task.device, out, *files)]
    return [_run(task, out)]


def _cli(task: Task, out: Path, files: list[Path]) -> list[str]:
    model = ("--repo", task.repository, "-n", NAME, "-d", task.device)
    # Without shifts: by default Demucs draws one by lot and moves the music by it.
    return python("demucs", *model, "--shifts", 0, "--float32", "-o", out, *files)


def _run(task: Task, out: Path) -> list[str]:
    chosen = ("--stages", "separation", "--model", task.model, "--device", task.asked_device)
    settings = ("--precision", task.precision.value, "--set", "separation.format=wav32f")
    return python("pipeline", "run", task.dataset, "--out", out, *chosen, *settings)
