"""What can be measured against a script: which stages do it here, and what the script is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """Stages, with settings as `--set` takes them, against a module that is run as a script.

    `options` are what the script is told first, `needed` the distributions that it imports, `told`
    those whose versions matter.
    """

    name: str
    stages: tuple[str, ...]
    script: str
    needed: tuple[str, ...]
    told: tuple[str, ...]
    settings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


FEATURES = Subject(
    name="features",
    stages=("loudness", "onsets", "chroma", "spectral"),
    script="pipeline.bench.feature_calls",
    needed=("librosa", "pyloudnorm", "soundfile", "scipy"),
    told=("librosa", "pyloudnorm", "numpy", "scipy"),
)


def tagging(families: tuple[str, ...]) -> Subject:
    """Return the models of these families against Essentia's own calls."""
    return Subject(
        name="tagging",
        stages=("tagging",),
        script="pipeline.bench.tagging_calls",
        needed=("essentia-tensorflow",),
        told=("essentia-tensorflow", "onnxruntime", "numpy"),
        settings=(f"tagging.families={list(families)}",),
        options=(",".join(families),),
    )
