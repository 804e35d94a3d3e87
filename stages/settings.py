"""The settings of every stage, light enough for `pipeline status` to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.base import FREE, StageSettings


def _number(value: object) -> object:
    """Take the digits of an environment variable for the number they are."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class LoudnessSettings(StageSettings):
    """Settings of the `loudness` stage."""

    true_peak_oversampling: Annotated[Literal[4, 8], BeforeValidator(_number)] = 4
    series_hop_ms: Annotated[Literal[50, 100], BeforeValidator(_number)] = 100


class SeparationSettings(StageSettings):
    """Settings of the `separation` stage.

    `model` is a name of the catalogue, a folder or a safetensors file in Demucs' form. What enters
    the fingerprint is the weights' hash, so that a folder may be moved.
    """

    model: str = Field(default="htdemucs", min_length=1, json_schema_extra=FREE)
    stems: tuple[str, ...] = ()
    two_stems: str | None = None
    overlap: float = Field(default=0.25, ge=0.0, lt=1.0)
