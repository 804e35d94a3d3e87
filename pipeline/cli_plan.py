"""The command `plan`. As in `cli.py`: options in, one call, print, a code."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from pipeline.config import load
from pipeline.console import put
from pipeline.options import (
    AsJson,
    Config,
    Exclude,
    Include,
    Model,
    Out,
    Precision,
    Set,
    Shifts,
    Source,
    Stages,
    Stems,
    TwoStems,
    asked,
)
from pipeline.texts import quoted


def plan(
    dataset: Source,
    probe: Annotated[
        bool, typer.Option("--probe", help="Read the files that no run has read yet.")
    ] = False,
    out: Out = None,
    stages: Stages = None,
    include: Include = None,
    exclude: Exclude = None,
    stems: Stems = None,
    two_stems: TwoStems = None,
    shifts: Shifts = None,
    precision: Precision = None,
    model: Model = None,
    config: Config = None,
    set_: Set = None,
    as_json: AsJson = False,
) -> int:
    """Say what a run would do: tracks, jobs, what is stale and why, disk, time. Touches nothing."""
    from pipeline.plan_words import plan as page
    from pipeline.plan_words import plan_json
    from pipeline.planning import plan as make

    settings = load(
        dataset,
        out=out,
        file=config,
        overrides=asked(
            stages=stages,
            stems=stems,
            two_stems=two_stems,
            model=model,
            shifts=shifts,
            precision=precision,
        ),
        assignments=set_ or (),
        include=include or (),
        exclude=exclude or (),
        environment=os.environ,
    )
    made = make(settings, probe=probe)
    if as_json:
        put(json.dumps(plan_json(made, dataset=str(settings.dataset))))
        return 0
    given: list[tuple[str, object]] = [
        ("--out", out), ("--stages", stages), ("--stems", stems), ("--two-stems", two_stems),
        ("--shifts", shifts), ("--precision", precision), ("--model", model), ("--config", config),
        *(("--include", one) for one in include or ()), *(("--exclude", one) for one in exclude or ()),
        *(("--set", one) for one in set_ or ()),
    ]  # fmt: skip
    words = [f"{name} {quoted(str(value))}" for name, value in given if value is not None]
    where = " ".join([quoted(str(dataset)), *words])
    put(page(made, dataset=str(settings.dataset), where=where))
    return 0
