"""The music: decoding, separation, features. Usable in a notebook, without `pipeline`."""

from __future__ import annotations

from stages.base import Declaration, Scope
from stages.settings import (
    LoudnessSettings,
    SeparationSettings,
    loudness_bytes,
    separation_bytes,
)
from stages.weights import demucs_weights

# In the order of a run. A stage is imported by the lane that runs it, never by reading commands.
STAGES: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (
        Declaration(
            name="loudness",
            target="stages.loudness:Loudness",
            version=1,
            lane="features",
            scopes=(Scope.MIX, Scope.STEMS),
            settings=LoudnessSettings,
            extra="features",
            libraries=("numpy", "scipy", "soundfile", "soxr"),
            bytes_per_audio_s=loudness_bytes,
        ),
        Declaration(
            name="separation",
            target="stages.separation:Separation",
            version=1,
            lane="separation",
            scopes=(Scope.MIX,),
            settings=SeparationSettings,
            extra="separation",
            libraries=("numpy", "soundfile", "soxr", "torch", "demucs"),
            weights=demucs_weights,
            bytes_per_audio_s=separation_bytes,
        ),
    )
}
