"""The options that several commands share, and what they mean as settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.errors import BadUsage

Source = Annotated[Path, typer.Argument(help="Folder of audio.", show_default=False)]
Dataset = Annotated[
    Path, typer.Argument(help="Folder of audio, or its output folder.", show_default=False)
]
Out = Annotated[Path | None, typer.Option(help="Output folder. Default: DATASET/_pipeline.")]
Config = Annotated[Path | None, typer.Option(help="Settings file instead of OUT/pipeline.toml.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting, stage.key=value.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]
Stage = Annotated[str | None, typer.Option(help="Only this stage.")]
Stages = Annotated[str | None, typer.Option(help="Only these stages, comma-separated.")]
Include = Annotated[list[str] | None, typer.Option(help="Only files that match this glob.")]
Exclude = Annotated[list[str] | None, typer.Option(help="Not the files that match this glob.")]
Stems = Annotated[str | None, typer.Option(help="Write only these stems, comma-separated.")]
TwoStems = Annotated[str | None, typer.Option(help="Write this stem and the rest as one.")]
Model = Annotated[str | None, typer.Option(help="Catalogue name, folder or safetensors file.")]
Shifts = Annotated[
    int | None, typer.Option(help="Mean over so many shifts by up to half a second; default 0.")
]
Precision = Annotated[str | None, typer.Option(help="exact, balanced or fast.")]


def asked(
    *,
    stages: str | None,
    stems: str | None,
    two_stems: str | None,
    model: str | None,
    shifts: int | None = None,
    precision: str | None = None,
) -> dict[str, Any]:
    """Return what these options ask for, as settings; those not given are not in it.

    Raises:
        BadUsage: stems are named in two ways.
    """
    if stems is not None and two_stems is not None:
        raise BadUsage("--stems and --two-stems exclude each other. Give one of them.")
    separation = {
        "model": model,
        "stems": _listed(stems) if stems is not None else None,
        "two_stems": two_stems,
        "shifts": shifts,
        "precision": precision,
    }
    separation = {key: value for key, value in separation.items() if value is not None}
    settings: dict[str, Any] = {"separation": separation} if separation else {}
    if stages is not None:
        settings["stages"] = _listed(stages)
    return settings


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
