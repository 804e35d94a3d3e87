"""The `spectral` stage: the shape of the spectrum, whole and over time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.analysis import ONE_FRAME, Analysis, analysis, frame_times_s, nothing_there
from stages.audio import Audio
from stages.base import Tick
from stages.bs1770 import SILENCE_DB, decibels
from stages.cepstrum import DELTA_FRAMES, delta, mfcc
from stages.frame_shapes import BANDS_HZ, CONTRAST_BANDS, Shapes
from stages.measure import Measured, Measuring
from stages.outputs import Missing, Scalar
from stages.settings import SpectralSettings
from stages.stft import HOP_SAMPLES

_MEASURED = (
    "centroid_hz", "bandwidth_hz", "rolloff_hz", "flatness", "flux", "skewness", "kurtosis",
)  # fmt: skip
_LINES = (*_MEASURED, "zero_crossing_rate")
_MOMENTS = ("mean", "std")
_PERCENTILES = {"p10": 10.0, "p50": 50.0, "p90": 90.0}
_UNITS = ("_hz", "_db")

_FEW_FRAMES = Missing(f"shorter than {DELTA_FRAMES} frames")
_SILENT_BAND = Missing(f"nothing above {SILENCE_DB:g} dB in this band")
_TOP_DB = 80.0  # librosa's: what is that far below the largest of all is raised to it


class Spectral(Measuring[SpectralSettings]):
    """The shape of the spectrum, its cepstrum and its level in four bands, as librosa computes them.

    Single values leave out the frames in which there is nothing above -120 dB, but for the levels,
    which are of all samples.
    """

    hears = (Analysis,)

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        missing = nothing_there(audio)
        if missing is not None:
            return Measured(self._nothing(missing), self._no_series())
        found = analysis(audio)
        series = self._series(audio, found, tick)
        tick(audio.duration_s)
        features: dict[str, Scalar] = {}
        for name, values in series.items():
            features |= _single_values(name, np.atleast_2d(values), found.sounding)
        features |= _deltas(series["mfcc"], found.sounding)
        features |= _levels(found)
        return Measured(
            features,
            {**series, "band_rms_dbfs": _band_rms_dbfs(found), "times_s": frame_times_s(audio)},
        )

    def _series(self, audio: Audio, found: Analysis, tick: Tick) -> dict[str, NDArray[np.floating]]:
        return {
            **{name: found.shapes.line(name) for name in _MEASURED},
            "zero_crossing_rate": found.crossings,
            "contrast_db": contrast_db(found.shapes),
            "mfcc": mfcc(audio, self.settings.mfcc_count, tick),
        }

    def _rows(self) -> dict[str, int]:
        lines = dict.fromkeys(_LINES, 1)
        return {**lines, "contrast_db": CONTRAST_BANDS, "mfcc": self.settings.mfcc_count}

    def _nothing(self, missing: Missing) -> dict[str, Scalar]:
        rows = {**self._rows(), "mfcc_delta": self.settings.mfcc_count}
        names = [one for name, count in rows.items() for one in _names(name, count)]
        return dict.fromkeys([*names, *_level_names()], missing)

    def _no_series(self) -> dict[str, NDArray[np.floating]]:
        rows = {**self._rows(), "band_rms_dbfs": len(BANDS_HZ)}.items()
        none = {name: np.zeros(0 if name in _LINES else (count, 0)) for name, count in rows}
        return {**none, "times_s": np.zeros(0)}


def contrast_db(shapes: Shapes) -> NDArray[np.float32]:
    """Return how far the peaks of each band are above its valleys, shape `(7, frames)`.

    Peaks and valleys are each kept within 80 dB of their largest first, as `spectral_contrast` does.
    """
    contrast = np.empty((CONTRAST_BANDS, len(shapes.peaks)), dtype=np.float32)
    peaks, valleys = shapes.peaks, shapes.valleys
    highest_db, lowest_db = (_contrast_level_db(one.max()) - _TOP_DB for one in (peaks, valleys))
    for band in range(CONTRAST_BANDS):
        high = np.maximum(_contrast_level_db(peaks[:, band]), highest_db)
        contrast[band] = high - np.maximum(_contrast_level_db(valleys[:, band]), lowest_db)
    return contrast


def _contrast_level_db(magnitudes: NDArray[np.float32]) -> NDArray[np.float64]:
    # As if they were powers: librosa's, and so what everybody's contrasts are.
    in_db: NDArray[np.float64] = 10.0 * np.log10(np.maximum(magnitudes.astype(np.float64), 1e-10))
    return in_db


def _single_values(
    name: str, rows: NDArray[np.floating], sounding: NDArray[np.bool_]
) -> dict[str, Scalar]:
    # A flux is a change: the first frame has none.
    taken = sounding & (np.arange(sounding.size) > 0) if name == "flux" else sounding
    if not taken.any():
        return dict.fromkeys(_names(name, len(rows)), ONE_FRAME)
    return _named(name, rows, taken)


def _deltas(coefficients: NDArray[np.floating], sounding: NDArray[np.bool_]) -> dict[str, Scalar]:
    if sounding.size < DELTA_FRAMES:
        return dict.fromkeys(_names("mfcc_delta", len(coefficients)), _FEW_FRAMES)
    return _named("mfcc_delta", (delta(row) for row in coefficients), sounding)


def _named(
    name: str, rows: Iterable[NDArray[np.floating]], taken: NDArray[np.bool_]
) -> dict[str, Scalar]:
    """Return the single values of each row, over the frames that are taken."""
    found = [_reduced(row[taken].astype(np.float64), name in _LINES) for row in rows]
    values = [value for row in found for value in row]
    return dict(zip(_names(name, len(found)), values, strict=True))


def _reduced(values: NDArray[np.float64], with_percentiles: bool) -> list[float]:
    moments = [float(values.mean()), float(values.std())]
    if not with_percentiles:
        return moments
    return [*moments, *map(float, np.percentile(values, [*_PERCENTILES.values()]))]


def _names(name: str, rows: int) -> list[str]:
    """Return what the single values of each row are called, in turn."""
    kinds = (*_MOMENTS, *_PERCENTILES) if name in _LINES else _MOMENTS
    unit = next((unit for unit in _UNITS if name.endswith(unit)), "")
    stem = name.removesuffix(unit)
    numbers = [""] if name in _LINES else [f"_{number}" for number in range(rows)]
    return [f"{stem}{number}_{kind}{unit}" for number in numbers for kind in kinds]


def _levels(found: Analysis) -> dict[str, Scalar]:
    """Return the level of all samples in each band; frames at the ends are partly beyond them."""
    levels: dict[str, Scalar] = {}
    for name, band in zip(_level_names(), BANDS_HZ, strict=True):
        mean_square = found.shapes.line(f"{band}_power").sum() * HOP_SAMPLES / found.count
        level = float(decibels(np.asarray(mean_square)))
        levels[name] = level if level > SILENCE_DB else _SILENT_BAND
    return levels


def _level_names() -> list[str]:
    return [f"rms_{band}_dbfs" for band in BANDS_HZ]


def _band_rms_dbfs(found: Analysis) -> NDArray[np.float32]:
    rows = [decibels(found.shapes.line(f"{band}_power")).astype(np.float32) for band in BANDS_HZ]
    return np.stack(rows)
