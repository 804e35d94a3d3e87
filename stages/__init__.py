"""The music: decoding, separation, features. Usable in a notebook, without `pipeline`."""

from __future__ import annotations

from stages.base import Declaration, Scope
from stages.settings import (
    ChromaSettings,
    EssentiaSettings,
    LoudnessSettings,
    OnsetsSettings,
    SeparationSettings,
    SpectralSettings,
    TaggingSettings,
    chroma_bytes,
    loudness_bytes,
    onsets_bytes,
    separation_bytes,
    spectral_bytes,
    tagging_bytes,
)
from stages.tagging_models import tagging_weights
from stages.weights import demucs_weights

_SPECTRA = ("numpy", "scipy", "numba", "soundfile", "soxr")

# In the order of a run. A stage is imported by the lane that runs it, never by reading commands.
STAGES: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (
        Declaration(
            name="loudness",
            target="stages.loudness:Loudness",
            version=2,
            lane="features",
            scopes=(Scope.MIX, Scope.STEMS),
            settings=LoudnessSettings,
            extra="features",
            libraries=("numpy", "numba", "soundfile", "soxr"),
            bytes_per_audio_s=loudness_bytes,
            parallel=True,
        ),
        Declaration(
            name="onsets",
            target="stages.onsets:Onsets",
            version=3,
            lane="features",
            scopes=(Scope.MIX, Scope.STEMS),
            settings=OnsetsSettings,
            extra="features",
            libraries=_SPECTRA,
            bytes_per_audio_s=onsets_bytes,
            parallel=True,
        ),
        Declaration(
            name="chroma",
            target="stages.chroma:Chroma",
            version=3,
            lane="features",
            scopes=(Scope.MIX, Scope.STEMS),
            settings=ChromaSettings,
            extra="features",
            libraries=_SPECTRA,
            bytes_per_audio_s=chroma_bytes,
            parallel=True,
        ),
        Declaration(
            name="spectral",
            target="stages.spectral:Spectral",
            version=3,
            lane="features",
            scopes=(Scope.MIX, Scope.STEMS),
            settings=SpectralSettings,
            extra="features",
            libraries=_SPECTRA,
            bytes_per_audio_s=spectral_bytes,
            parallel=True,
        ),
        Declaration(
            name="tagging",
            target="stages.tagging:Tagging",
            version=1,
            lane="features",
            scopes=(Scope.MIX, Scope.STEMS),
            settings=TaggingSettings,
            extra="tagging",
            # What runs the models is decided when they are loaded, and recorded with its version.
            libraries=("numpy", "scipy", "soundfile", "soxr"),
            weights=tagging_weights,
            bytes_per_audio_s=tagging_bytes,
            parallel=True,
        ),
        Declaration(
            name="essentia",
            target="stages.essentia:Essentia",
            version=2,
            lane="features",
            scopes=(Scope.MIX, Scope.STEMS),
            settings=EssentiaSettings,
            extra="essentia",
            libraries=("numpy", "soundfile", "soxr", "essentia-tensorflow"),
        ),
        Declaration(
            name="separation",
            target="stages.separation:Separation",
            version=2,
            lane="separation",
            scopes=(Scope.MIX,),
            settings=SeparationSettings,
            extra="separation",
            libraries=("numpy", "soundfile", "soxr", "torch", "demucs", "lameenc"),
            weights=demucs_weights,
            bytes_per_audio_s=separation_bytes,
        ),
    )
}
