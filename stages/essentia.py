"""The `essentia` stage: Essentia's descriptors, and its models where they were imported.

Arrays only: Essentia's own loaders crash on files that they do not know.
"""

from __future__ import annotations

import essentia
import essentia.standard as es
import numpy as np
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import Tick
from stages.essentia_models import ImportedModels, imported_models, slug
from stages.measure import Measured, Measuring
from stages.mono import WholeMono
from stages.musicnn import RATE_HZ as MUSICNN_RATE_HZ
from stages.musicnn import Musicnn, Predicted
from stages.outputs import Missing, Scalar
from stages.settings import EssentiaSettings
from stages.silence import silence_of

_RATE_HZ = 44_100  # the rate that Essentia's algorithms are made for

_SHORT = Missing("shorter than 0.1 s")
_SHORTER_THAN_PATCH = Missing("shorter than 3 s")
_NO_BEAT = Missing("no beat was found")
_TOO_SHORT_TO_DANCE = Missing("too short, or too even, for a danceability")

essentia.log.infoActive = False
essentia.log.warningActive = False


class Essentia(Measuring[EssentiaSettings]):
    """Danceability, key, rhythm and dynamic complexity; tags and heads of imported models."""

    def __init__(self, settings: EssentiaSettings, *, device: str = "cpu") -> None:
        # TensorFlow 2.5 finds no GPU of today.
        super().__init__(settings, device="cpu")
        self._models: ImportedModels | None = None
        self._musicnn: Musicnn | None = None
        self.hears = (WholeMono.at(_RATE_HZ),)

    def load(self) -> None:
        self._models = imported_models(self.settings)
        if self._models is not None:
            self.hears = (WholeMono.at(_RATE_HZ), WholeMono.at(MUSICNN_RATE_HZ))
        if self._models is not None and self._musicnn is None:
            self._musicnn = Musicnn(self._models)

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        heard = audio.heard(WholeMono.at(_RATE_HZ))
        mono, missing = heard.samples, _nothing_there(heard)
        features: dict[str, Scalar] = {
            **_danceability(mono, missing),
            **_key(mono, missing),
            **_rhythm(mono, missing),
            **_dynamics(mono, missing),
        }
        if self._models is None or self._musicnn is None:
            tick(audio.duration_s)
            return Measured(features)
        found = self._musicnn.predict(audio.mono(MUSICNN_RATE_HZ), tick)
        features |= _means(self._models, found, missing)
        return Measured(features, _series(found))


def _nothing_there(mono: WholeMono) -> Missing | None:
    return _SHORT if mono.count < _RATE_HZ // 10 else silence_of(mono)


def _danceability(mono: NDArray[np.float32], missing: Missing | None) -> dict[str, Scalar]:
    """Detrended fluctuation analysis, Streich and Herrera 2005: about 0 to 3, more is more."""
    if missing:
        return {"danceability": missing}
    value = float(es.Danceability(sampleRate=_RATE_HZ)(mono)[0])
    return {"danceability": value if value > 0 else _TOO_SHORT_TO_DANCE}


def _key(mono: NDArray[np.float32], missing: Missing | None) -> dict[str, Scalar]:
    """Key by the profiles of electronic music that are Essentia's default (`bgate`)."""
    if missing:
        return {"key": missing, "scale": missing, "key_strength": missing}
    tonic, scale, strength = es.KeyExtractor(sampleRate=_RATE_HZ)(mono)
    return {"key": _sharp(tonic), "scale": scale, "key_strength": float(strength)}


def _sharp(tonic: str) -> str:
    """Return a tonic under the name that the stage `chroma` gives it."""
    return {"Ab": "G#", "Bb": "A#", "Eb": "D#"}.get(tonic, tonic)


def _rhythm(mono: NDArray[np.float32], missing: Missing | None) -> dict[str, Scalar]:
    """Tempo by RhythmExtractor2013; its confidence is 0 to 5.32, good from 3.5 on."""
    if missing:
        return {"tempo_bpm": missing, "tempo_confidence": missing, "beat_count": 0}
    tempo_bpm, beats, confidence, *_ = es.RhythmExtractor2013(method="multifeature")(mono)
    if len(beats) < 2:
        return {"tempo_bpm": _NO_BEAT, "tempo_confidence": _NO_BEAT, "beat_count": 0}
    return {
        "tempo_bpm": float(tempo_bpm),
        "tempo_confidence": float(confidence),
        "beat_count": len(beats),
    }


def _dynamics(mono: NDArray[np.float32], missing: Missing | None) -> dict[str, Scalar]:
    """Mean distance from the overall loudness, Streich 2006."""
    if missing:
        return {"dynamic_complexity_db": missing, "loudness_db": missing}
    complexity_db, loudness_db = es.DynamicComplexity(sampleRate=_RATE_HZ)(mono)
    return {"dynamic_complexity_db": float(complexity_db), "loudness_db": float(loudness_db)}


def _means(models: ImportedModels, found: Predicted, missing: Missing | None) -> dict[str, Scalar]:
    """Return the mean over all patches of every tag and of every class of every head."""
    features = _mean("tag", models.backbone.classes, found.tags, missing)
    for name, head in models.heads.items():
        features |= _mean(slug(name), head.classes, found.heads[name], missing)
    return features


def _mean(
    prefix: str, classes: tuple[str, ...], rows: NDArray[np.float32], missing: Missing | None
) -> dict[str, Scalar]:
    names = [f"{prefix}_{slug(name)}" for name in classes]
    if missing is not None or len(rows) == 0:
        return dict.fromkeys(names, missing or _SHORTER_THAN_PATCH)
    means = rows.mean(axis=0, dtype=np.float64)
    return {name: float(value) for name, value in zip(names, means, strict=True)}


def _series(found: Predicted) -> dict[str, NDArray[np.floating]]:
    return {
        "musicnn_tags": found.tags,
        "musicnn_embeddings": found.embeddings,
        "musicnn_times_s": found.times_s,
    }
