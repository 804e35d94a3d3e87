"""The `spectral` stage: the shape of the spectrum, whole and over time."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

from stages.analysis import frame_times_s, mel_db, nothing_there, shapes, sounding
from stages.audio import Audio
from stages.base import Tick
from stages.frame_shapes import CONTRAST_BANDS
from stages.measure import Measured, Measuring
from stages.outputs import Missing, Scalar
from stages.settings import SpectralSettings

_LINES = ("centroid_hz", "bandwidth_hz", "rolloff_hz", "flatness", "flux")


class Spectral(Measuring[SpectralSettings]):
    """Centroid, bandwidth, rolloff, flatness, contrast, flux and MFCC, as librosa computes them.

    Means and standard deviations leave out the frames in which there is nothing above -120 dB.
    """

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        missing = nothing_there(audio)
        if missing is not None:
            return Measured(self._nothing(missing), self._no_series())
        series = self._series(audio)
        tick(audio.duration_s)
        heard = sounding(audio)
        features: dict[str, Scalar] = {}
        for name, values in series.items():
            # A flux is a change: the first frame has none.
            taken = heard & (np.arange(heard.size) > 0) if name == "flux" else heard
            if taken.any():
                features |= _statistics(name, np.atleast_2d(values)[:, taken])
            else:
                features |= dict.fromkeys(_names(name, len(np.atleast_2d(values))), _ONE_FRAME)
        return Measured(features, {**series, "times_s": frame_times_s(audio)})

    def _series(self, audio: Audio) -> dict[str, NDArray[np.floating]]:
        found = shapes(audio)
        return {
            "centroid_hz": found.centroid_hz,
            "bandwidth_hz": found.bandwidth_hz,
            "rolloff_hz": found.rolloff_hz,
            "flatness": found.flatness,
            "flux": found.flux,
            "contrast_db": _decibels(found.peaks) - _decibels(found.valleys),
            "mfcc": librosa.feature.mfcc(S=mel_db(audio), n_mfcc=self.settings.mfcc_count),
        }

    def _rows(self) -> dict[str, int]:
        lines = dict.fromkeys(_LINES, 1)
        return {**lines, "contrast_db": CONTRAST_BANDS, "mfcc": self.settings.mfcc_count}

    def _nothing(self, missing: Missing) -> dict[str, Scalar]:
        names = [one for name, rows in self._rows().items() for one in _names(name, rows)]
        return dict.fromkeys(names, missing)

    def _no_series(self) -> dict[str, NDArray[np.floating]]:
        rows = self._rows().items()
        none = {name: np.zeros((count, 0) if count > 1 else 0) for name, count in rows}
        return {**none, "times_s": np.zeros(0)}


_ONE_FRAME = Missing("a single frame, and so no change")


def _decibels(magnitudes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return `(frames, bands)` as `(bands, frames)` in dB, as `spectral_contrast` does.

    What is 80 dB below the largest of all is raised to that.
    """
    in_db: NDArray[np.float64] = librosa.power_to_db(magnitudes.T.astype(np.float64))
    return in_db


def _statistics(name: str, rows: NDArray[np.floating]) -> dict[str, Scalar]:
    values = rows.astype(np.float64)
    found = np.stack([values.mean(axis=1), values.std(axis=1)], axis=1).ravel()
    return {key: float(value) for key, value in zip(_names(name, len(rows)), found, strict=True)}


def _names(name: str, rows: int) -> list[str]:
    """Return what the mean and the standard deviation of each row are called, in turn."""
    stem, _, unit = name.partition("_")
    end = f"_{unit}" if unit else ""
    numbers = [""] if rows == 1 else [f"_{number}" for number in range(rows)]
    return [f"{stem}{number}_{kind}{end}" for number in numbers for kind in ("mean", "std")]
