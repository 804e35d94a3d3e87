"""The settings of every stage, light enough for `pipeline status` to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.base import FREE, StageSettings
from stages.families import FAMILIES
from stages.graphs.backends import Backend
from stages.stem_formats import StemFormat


def _number(value: object) -> object:
    """Take the digits of an environment variable for the number they are."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class LoudnessSettings(StageSettings):
    """Settings of the `loudness` stage."""

    true_peak_oversampling: Annotated[Literal[4, 8], BeforeValidator(_number)] = 4
    series_hop_ms: Annotated[Literal[50, 100], BeforeValidator(_number)] = 100


class OnsetsSettings(StageSettings):
    """Settings of the `onsets` stage: none."""


class ChromaSettings(StageSettings):
    """Settings of the `chroma` stage: none."""


class SpectralSettings(StageSettings):
    """Settings of the `spectral` stage."""

    mfcc_count: int = Field(default=20, ge=1, le=128)


class EssentiaSettings(StageSettings):
    """Settings of the `essentia` stage: none."""


class TaggingSettings(StageSettings):
    """Settings of the `tagging` stage.

    `families` and `heads` say which models are asked for; all heads that are on this machine, if not
    set. What enters the fingerprint is the weights' hashes. `backend`: ONNX Runtime where it is
    installed, else Essentia's TensorFlow; on a CPU their numbers differ in the sixth place.
    """

    families: tuple[Literal["musicnn", "vggish", "effnet"], ...] = Field(
        default=("musicnn",), min_length=1, json_schema_extra=FREE
    )
    heads: tuple[str, ...] | None = Field(default=None, json_schema_extra=FREE)
    embeddings: Literal["float32", "float16"] = "float32"
    backend: Backend = Field(default="auto", json_schema_extra=FREE)


class SeparationSettings(StageSettings):
    """Settings of the `separation` stage.

    `model` is a name of the catalogue, a folder or a safetensors file in Demucs' form. What enters
    the fingerprint is the weights' hash, so that a folder may be moved. `shifts` as Demucs' own,
    with offsets that follow from the file's hash. `batch`: segments at once; what fits, if not set.
    """

    model: str = Field(default="htdemucs", min_length=1, json_schema_extra=FREE)
    stems: tuple[str, ...] = ()
    two_stems: str | None = None
    overlap: float = Field(default=0.25, ge=0.0, lt=1.0)
    shifts: Annotated[int, BeforeValidator(_number)] = Field(default=0, ge=0, le=100)
    precision: Literal["exact", "balanced", "fast"] = "exact"
    format: StemFormat = "flac24"
    batch: Annotated[int | None, BeforeValidator(_number)] = Field(
        default=None, ge=1, le=1024, json_schema_extra=FREE
    )


# Of one stem, for a second of music (44,100 Hz, stereo): four 24-bit FLACs of a trained model took
# 0.63 MB. Stems of random weights, all as loud as the mix (49 s of four recordings), took 205 kB at
# 24 bits and 116 at 16: 16 bits are set in that proportion. Opus took 24 kB, MP3 40 whatever it is.
_STEM_BYTES_PER_AUDIO_S: dict[StemFormat, int] = {
    "flac24": 158_000,
    "flac16": 90_000,
    "wav32f": 352_800,
    "opus": 24_000,
    "mp3": 40_000,
}
_SERIES_BYTES_PER_AUDIO_S = 250  # at a hop of 100 ms

# Four bytes a value: one each 512 samples at 22,050 Hz; one each patch.
_FRAME_VALUE_BYTES_PER_AUDIO_S = 4 * 22_050 / 512
# How many predictions and embeddings a patch has.
_PATCH_VALUES = {"musicnn": (50, 200), "vggish": (0, 128), "effnet": (400, 1280)}


def separation_bytes(settings: StageSettings) -> float:
    """Return what the stems of a second of music take on disk, about."""
    assert isinstance(settings, SeparationSettings)
    of_the_model = 6 if settings.model == "htdemucs_6s" else 4
    stems = 2 if settings.two_stems is not None else len(settings.stems) or of_the_model
    return float(stems * _STEM_BYTES_PER_AUDIO_S[settings.format])


def loudness_bytes(settings: StageSettings) -> float:
    """Return what the series of a second of music take on disk, at most."""
    assert isinstance(settings, LoudnessSettings)
    return _SERIES_BYTES_PER_AUDIO_S * 100 / settings.series_hop_ms


def onsets_bytes(settings: StageSettings) -> float:
    """Return what the envelope, its times and the events of a second take on disk, about."""
    return 3 * _FRAME_VALUE_BYTES_PER_AUDIO_S


def chroma_bytes(settings: StageSettings) -> float:
    """Return what three chromas, the centroid, its change and the times of a second take, about."""
    return (3 * 12 + 6 + 1 + 1) * _FRAME_VALUE_BYTES_PER_AUDIO_S


def spectral_bytes(settings: StageSettings) -> float:
    """Return what shapes, contrasts, cepstra, levels and the times of a second take, about."""
    assert isinstance(settings, SpectralSettings)
    return (8 + 7 + settings.mfcc_count + 4 + 1) * _FRAME_VALUE_BYTES_PER_AUDIO_S


def tagging_bytes(settings: StageSettings) -> float:
    """Return what predictions and embeddings of a second take on disk, about."""
    assert isinstance(settings, TaggingSettings)
    width = 2 if settings.embeddings == "float16" else 4
    return sum(
        (4 * predictions + width * embeddings + 4) / FAMILIES[family].hop_s
        for family in settings.families
        for predictions, embeddings in [_PATCH_VALUES[family]]
    )
