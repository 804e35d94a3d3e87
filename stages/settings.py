"""The settings of every stage, light enough for `pipeline status` to import."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.base import FREE, StageSettings


class LoudnessSettings(StageSettings):
    """Settings of the `loudness` stage."""

    true_peak_oversampling: Literal[4, 8] = 4
    series_hop_ms: Literal[50, 100] = 100


class SeparationSettings(StageSettings):
    """Settings of the `separation` stage.

    `model` is a name of the catalogue, a folder or a safetensors file in Demucs' form. What enters
    the fingerprint is the weights' hash, so that a folder may be moved.
    """

    model: str = Field(default="htdemucs", min_length=1, json_schema_extra=FREE)
    stems: tuple[str, ...] = ()
    two_stems: str | None = None
    overlap: float = Field(default=0.25, ge=0.0, lt=1.0)
