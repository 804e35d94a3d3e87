"""How the measurement is told: tables and verdicts for people, JSON with stable keys for programs."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline import __version__
from pipeline.installed import version_of
from pipeline.machine import processor
from pipeline.texts import aligned, counted
from pipeline.threading_analysis.analysis import LeftOut, Measured, Trial, Tried, way_in_words
from pipeline.threading_analysis.brief import Way
from pipeline.threading_analysis.judging import verdict

_LIBRARIES = (
    "numpy", "scipy", "numba", "librosa", "pyloudnorm", "essentia-tensorflow", "onnxruntime",
    "torch", "demucs",
)  # fmt: skip
_IDLE_CORES = 0.3  # what a desktop does by itself
_COLUMNS = (
    "", "seconds a track", "speed-up", "efficiency", "CPU", "threads alive", "switches", "forced",
)  # fmt: skip


def table(measured: Measured) -> str:
    """Return the measurement for people."""
    question = measured.question
    lines = [
        f"{counted(measured.budget, 'core')} of {processor()}; {question.seconds:g} s of music, "
        f"the median of at most {counted(question.rounds, 'round')}",
        "Speed-up: against one thread in one process. CPU: cores in use, which is not speed-up.",
    ]
    if measured.busy_cores > _IDLE_CORES:
        lines.append(
            f"When this began other programs kept {measured.busy_cores:.1f} cores busy: what follows "
            "is about them, too. Measure again when they are done."
        )
    for stage in dict.fromkeys(tried.subject.stage for tried in measured.tried):
        lines += ["", stage, ""]
        lines += _of_stage([one for one in measured.tried if one.subject.stage == stage])
    lines += _not_measured(measured.left_out)
    return "\n".join(lines)


def _of_stage(found: Sequence[Tried]) -> Iterator[str]:
    yield from aligned([_COLUMNS, *(row for one in found for row in _rows(one))])
    yield ""
    for pools, names in _by_pools(found).items():
        yield f"threads held where none are set: {pools} ({', '.join(names)})"
    yield ""
    for one in found:
        yield f"{_called(one)}: {verdict(one)}"


def _rows(tried: Tried) -> Iterator[Sequence[str]]:
    yield (_called(tried), *[""] * (len(_COLUMNS) - 1))
    for trial in tried.trials:
        cost = trial.cost
        yield (
            f"  {way_in_words(trial.way, trial.workers, trial.threads)}",
            f"{cost.wall_s:.4f}",
            f"{tried.speed_up(trial):.2f}",
            f"{tried.speed_up(trial) / _asked(trial, tried):.0%}",
            f"{cost.cores:.0%}",
            str(cost.threads),
            f"{cost.voluntary / cost.times_done:.0f}",
            f"{cost.involuntary / cost.times_done:.0f}",
        )


def _asked(trial: Trial, tried: Tried) -> int:
    """Return how many threads were asked for in all; where nothing was set, the most of alone."""
    if trial.threads is not None:
        return trial.threads * trial.workers
    alone = [one.threads for one in tried.trials if one.way is Way.ALONE and one.threads]
    return max(alone) * trial.workers


def _called(tried: Tried) -> str:
    return "the stage" if tried.subject.call is None else tried.subject.name


def _by_pools(found: Sequence[Tried]) -> dict[str, list[str]]:
    """Return who has which pools of libraries, by what these are."""
    having: dict[str, list[str]] = {}
    for tried in found:
        having.setdefault(_pools(tried), []).append(_called(tried))
    return {pools: names for pools, names in having.items() if pools}


def _pools(tried: Tried) -> str:
    """Return the pools that libraries hold by themselves."""
    by_itself = [one for one in tried.trials if one.way is Way.ALONE and one.threads is None]
    return ", ".join(
        f"{pool.name} {'?' if pool.threads is None else pool.threads}"
        for one in by_itself
        for pool in sorted(one.cost.pools, key=lambda pool: pool.name)
    )


def _not_measured(left_out: Sequence[LeftOut]) -> list[str]:
    if not left_out:
        return []
    return ["", "not measured:", *(f"  {one.subject.name}: {one.why}" for one in left_out)]


def measured_json(measured: Measured) -> dict[str, Any]:
    """Return the measurement for programs."""
    question = measured.question
    return {
        "analysis": "threads",
        "versions": {
            "nightshift": __version__,
            "python": platform.python_version(),
            **{name: version for name in _LIBRARIES if (version := version_of(name))},
        },
        "processor": processor(),
        "cores": measured.budget,
        "cores_busy_before": measured.busy_cores,
        "music_s": question.seconds,
        "rounds": question.rounds,
        "model": question.model,
        "subjects": [_tried_json(tried) for tried in measured.tried],
        "left_out": [
            {
                "stage": one.subject.stage,
                "call": _call(one),
                "why": one.why,
                "failed": one.failed,
            }
            for one in measured.left_out
        ],
    }


def _tried_json(tried: Tried) -> dict[str, Any]:
    return {
        "stage": tried.subject.stage,
        "call": _call(tried),
        "verdict": verdict(tried),
        "trials": [_trial_json(trial, tried) for trial in tried.trials],
    }


def _trial_json(trial: Trial, tried: Tried) -> dict[str, Any]:
    cost = trial.cost
    return {
        "way": trial.way,
        "workers": trial.workers,
        "threads": trial.threads,
        "seconds": list(cost.walls_s),
        "median_s": cost.wall_s,
        "speed_up": tried.speed_up(trial),
        "efficiency": tried.speed_up(trial) / _asked(trial, tried),
        "cores_in_use": cost.cores,
        "cpu_s": cost.cpu_s / cost.times_done,
        "threads_alive": cost.threads,
        "voluntary_switches": cost.voluntary / cost.times_done,
        "involuntary_switches": cost.involuntary / cost.times_done,
        "times_done": cost.times_done,
        "pools": [{"name": pool.name, "threads": pool.threads} for pool in cost.pools],
    }


def _call(found: Tried | LeftOut) -> str | None:
    return None if found.subject.call is None else found.subject.call.name
