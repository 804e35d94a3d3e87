"""The command `plan`. As in `cli.py`: options in, one call, print, a code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config import load
from pipeline.console import put
from pipeline.texts import quoted


def plan(
    dataset: Annotated[Path, typer.Argument(help="Folder of audio.", show_default=False)],
    probe: Annotated[
        bool, typer.Option("--probe", help="Read the files that no run has read yet.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Output folder. Default: DATASET/_pipeline.")
    ] = None,
    stages: Annotated[str | None, typer.Option(help="Only these stages, comma-separated.")] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Only files that match this glob.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Not the files that match this glob.")
    ] = None,
    stems: Annotated[
        str | None, typer.Option(help="Write only these stems, comma-separated.")
    ] = None,
    two_stems: Annotated[
        str | None, typer.Option(help="Write this stem and the rest as one.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Catalogue name, folder or safetensors file.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings file instead of OUT/pipeline.toml.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, stage.key=value.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")] = False,
) -> int:
    """Say what a run would do: tracks, jobs, what is stale and why, disk, time. Touches nothing."""
    from pipeline.plan_words import plan as page
    from pipeline.plan_words import plan_json
    from pipeline.planning import plan as make

    separation = {"model": model, "two_stems": two_stems, "stems": stems and _listed(stems)}
    separation = {key: value for key, value in separation.items() if value is not None}
    overrides: dict[str, Any] = {"separation": separation} if separation else {}
    if stages is not None:
        overrides["stages"] = _listed(stages)
    settings = load(
        dataset,
        out=out,
        file=config,
        overrides=overrides,
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
        ("--model", model), ("--config", config),
        *(("--include", one) for one in include or ()), *(("--exclude", one) for one in exclude or ()),
        *(("--set", one) for one in set_ or ()),
    ]  # fmt: skip
    words = [f"{name} {quoted(str(value))}" for name, value in given if value is not None]
    where = " ".join([quoted(str(dataset)), *words])
    put(page(made, dataset=str(settings.dataset), where=where))
    return 0


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
