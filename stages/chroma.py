"""The `chroma` stage: which pitch classes sound, the key they speak for, harmony and the tuning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.analysis import ONE_FRAME, Analysis, analysis, frame_times_s, nothing_there
from stages.audio import Audio
from stages.base import Tick
from stages.chromagrams import Chromagrams
from stages.harmony import CENTROID_ROWS, cens, harmonic_change, tonnetz
from stages.keys import PITCH_CLASSES, find_key
from stages.measure import Measured, Measuring
from stages.outputs import Missing, Scalar
from stages.pitches import SEMITONES
from stages.settings import ChromaSettings

_NO_KEY = Missing("all pitch classes alike: no key fits better than another")
_NO_PITCH = Missing("no peak between 150 and 4,000 Hz")

_CHROMA = tuple(f"chroma_{name.lower().replace('#', '_sharp')}" for name in PITCH_CLASSES)
_TONNETZ = tuple(f"tonnetz_{row}" for row in range(CENTROID_ROWS))
_CHANGE = ("harmonic_change",)
_KINDS = ("mean", "std")


class Chroma(Measuring[ChromaSettings]):
    """Chroma from a constant-Q transform over seven octaves from C1, as librosa computes it.

    Every frame is scaled to a maximum of 1. The transform is tuned to the source first. Single
    values leave out the frames in which there is nothing above -120 dB.
    """

    hears = (Analysis,)

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        missing = nothing_there(audio)
        if missing is not None:
            return Measured(_nothing(missing), _no_series())
        found = analysis(audio)
        chromas, heard = Chromagrams(found), found.sounding
        found.hear_mono(audio, chromas, tick)
        chroma = chromas.constant_q
        centroids = tonnetz(chroma)
        change = harmonic_change(centroids, heard)
        series: dict[str, NDArray[np.floating]] = {
            "chroma": chroma,
            "chroma_stft": chromas.stft,
            "chroma_cens": cens(chroma),
            "tonnetz": centroids,
            "harmonic_change": change,
            "times_s": frame_times_s(audio),
        }
        tick(audio.duration_s)
        classes = _moments(chroma, heard)
        features = {**_key(classes[:, 0]), "tuning_cents": _tuning_cents(found)}
        features |= _named(_CHROMA, classes)
        features |= _harmony(centroids, change, heard)
        return Measured(features, series)


def _key(means: NDArray[np.float64]) -> dict[str, Scalar]:
    key = find_key(means)
    return {
        "key": key.tonic if key else _NO_KEY,
        "scale": key.scale if key else _NO_KEY,
        "key_strength": key.strength if key else _NO_KEY,
    }


def _tuning_cents(found: Analysis) -> Scalar:
    semitones = found.tunings[SEMITONES]
    return _NO_PITCH if semitones is None else 100.0 * semitones


def _harmony(
    centroids: NDArray[np.float32], change: NDArray[np.float32], heard: NDArray[np.bool_]
) -> dict[str, Scalar]:
    moments = _moments(centroids, heard)
    changes = _named(_CHANGE, _moments([change], heard))
    return {
        **_named(_TONNETZ, moments),
        # The mean of the squared distance from the mean is the sum of the rows' variances.
        "harmonic_variance": float(np.sum(moments[:, 1] ** 2)),
        **(changes if np.count_nonzero(heard) > 1 else dict.fromkeys(changes, ONE_FRAME)),
    }


def _moments(rows: Iterable[NDArray[np.float32]], heard: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return mean and standard deviation of each row over the frames heard, shape `(rows, 2)`."""
    taken = (row[heard].astype(np.float64) for row in rows)
    return np.array([(values.mean(), values.std()) for values in taken])


def _named(rows: Sequence[str], moments: NDArray[np.float64]) -> dict[str, Scalar]:
    return dict(zip(_names(rows), moments.ravel().tolist(), strict=True))


def _names(rows: Iterable[str]) -> list[str]:
    return [f"{row}_{kind}" for row in rows for kind in _KINDS]


def _nothing(missing: Missing) -> dict[str, Scalar]:
    names = ("key", "scale", "key_strength", "tuning_cents", *_names(_CHROMA))
    harmony = (*_names(_TONNETZ), "harmonic_variance", *_names(_CHANGE))
    return dict.fromkeys((*names, *harmony), missing)


def _no_series() -> dict[str, NDArray[np.floating]]:
    rows = {"chroma": 12, "chroma_stft": 12, "chroma_cens": 12, "tonnetz": CENTROID_ROWS}
    none = {name: np.zeros((count, 0)) for name, count in rows.items()}
    return {**none, "harmonic_change": np.zeros(0), "times_s": np.zeros(0)}
