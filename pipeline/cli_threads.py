"""The command `threads`. As in `cli.py`: options in, one call, print, a code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.console import put, say
from pipeline.errors import BadUsage
from pipeline.options import AsJson, Stages

if TYPE_CHECKING:
    from pipeline.threading_analysis.analysis import Measured


def threads(
    stages: Stages = None,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Length of the music.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed.")] = 3,
    pools_of_calls: Annotated[
        bool, typer.Option("--pools-of-calls", help="Libraries' calls in process pools, too.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="For separation: catalogue name, folder or safetensors file.")
    ] = "nano",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw speed-up beside CPU use.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Measure what threads and process pools bring here, for every stage and what scripts call."""
    from pipeline.threading_analysis import words
    from pipeline.threading_analysis.analysis import Question, measure
    from pipeline.threading_analysis.plot import drawn

    if plot is not None and not plot.absolute().parent.is_dir():
        raise BadUsage(f"--plot {plot}: there is no folder {plot.parent}. Make it first.")
    chosen = tuple(name.strip() for name in stages.split(",")) if stages is not None else None
    question = Question(chosen, seconds, rounds, pools_of_calls, model)
    measured = measure(question, environment=os.environ, say=say)
    put(json.dumps(words.measured_json(measured)) if as_json else words.table(measured))
    if plot is not None:
        _write(plot, drawn(measured))
    return _code(measured)


def _code(measured: Measured) -> int:
    if any(one.failed for one in measured.left_out):
        return 1
    return 0 if measured.tried else 4


def _write(plot: Path, picture: str) -> None:
    try:
        plot.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise BadUsage(f"--plot {plot} cannot be written: {error}.") from error
