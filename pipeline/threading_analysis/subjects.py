"""What is measured: the stages as a run does them, and what scripts call for the same features."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """A call of a library. `module` holds its `work`, `needed` are the distributions it imports.

    `has_weights`: it needs the same weights as the stage.
    """

    name: str
    module: str
    needed: tuple[str, ...]
    has_weights: bool = False


@dataclass(frozen=True)
class Subject:
    """A stage, or a call that stands under it."""

    stage: str
    call: Call | None = None

    @property
    def name(self) -> str:
        """What it is called in words, unlike any other."""
        return self.stage if self.call is None else self.call.name


_HERE = "pipeline.threading_analysis"


def _librosa(*names: str) -> tuple[Call, ...]:
    return tuple(Call(f"librosa.{name}", f"{_HERE}.librosa_work", ("librosa",)) for name in names)


def _essentia(*names: str) -> tuple[Call, ...]:
    needed = ("essentia-tensorflow",)
    return tuple(Call(f"essentia.{name}", f"{_HERE}.essentia_work", needed) for name in names)


# Not what does the same work once more: bandwidth is a centroid, CENS and tonnetz are a CQT.
CALLS: dict[str, tuple[Call, ...]] = {
    "loudness": (
        Call("pyloudnorm.integrated_loudness", f"{_HERE}.level_work", ("pyloudnorm", "scipy")),
        Call("scipy.signal.resample_poly", f"{_HERE}.level_work", ("pyloudnorm", "scipy")),
    ),
    "onsets": _librosa("onset.onset_strength", "onset.onset_detect", "beat.beat_track"),
    "chroma": _librosa("feature.chroma_cqt", "feature.chroma_stft", "estimate_tuning"),
    "spectral": _librosa(
        "feature.spectral_centroid",
        "feature.spectral_rolloff",
        "feature.spectral_flatness",
        "feature.spectral_contrast",
        "feature.mfcc",
        "feature.zero_crossing_rate",
    ),
    "tagging": (
        Call(
            "essentia.TensorflowPredictMusiCNN",
            f"{_HERE}.musicnn_work",
            ("essentia-tensorflow",),
            has_weights=True,
        ),
    ),
    "essentia": _essentia("RhythmExtractor2013", "KeyExtractor", "Danceability"),
    "separation": (
        Call(
            "demucs.apply_model",
            f"{_HERE}.demucs_work",
            ("demucs", "torch"),
            has_weights=True,
        ),
    ),
}


def subjects_of(stage: str) -> tuple[Subject, ...]:
    """Return a stage and what stands under it; a stage of one's own stands alone."""
    return (Subject(stage), *(Subject(stage, call) for call in CALLS.get(stage, ())))
