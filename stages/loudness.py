"""The `loudness` stage: how loud a source is, how much that changes, and how high it peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages import bs1770
from stages.audio import Audio
from stages.base import Tick
from stages.bs1770 import GATING_HOP_STEPS, MOMENTARY_STEPS, SHORT_TERM_STEPS
from stages.level_meter import LevelMeter, Levels
from stages.measure import Measured, Measuring
from stages.outputs import Missing, Scalar
from stages.settings import LoudnessSettings

_SILENCE = Missing(f"silence: nothing above {bs1770.SILENCE_DB:g} dB")
_SHORTER_THAN_BLOCK = Missing("shorter than 0.4 s")
_SHORTER_THAN_WINDOW = Missing("shorter than 3 s")
_BLOCKS_BELOW_GATE = Missing(f"no 400 ms above the gate of {bs1770.ABSOLUTE_GATE_LUFS:g} LUFS")
_WINDOWS_BELOW_GATE = Missing(f"no 3 s above the gate of {bs1770.ABSOLUTE_GATE_LUFS:g} LUFS")


class Loudness(Measuring[LoudnessSettings]):
    """Loudness (EBU R 128), loudness range, peaks and RMS of every source, and their course."""

    def __init__(self, settings: LoudnessSettings, *, device: str = "cpu") -> None:
        super().__init__(settings, device=device)
        self._meter = LevelMeter.of(settings.true_peak_oversampling)
        self.hears = (self._meter,)

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        found = audio.heard(self._meter).levels
        tick(audio.duration_s)
        hop = self.settings.series_hop_ms * bs1770.STEPS_PER_S // 1000
        return Measured(features(found), series(found, hop=hop))


def features(found: Levels) -> dict[str, Scalar]:
    """Return the scalars of one source.

    The maxima look at a window every 10 ms, so they may lie above those of the series.
    `rms_dbfs` is that of all samples, in dB re a square wave of full scale: a sine has -3.01.
    `crest_factor_db` is the sample peak over it: 3.01 for a sine, 0 for a square wave.
    """
    momentary = _means(found, steps=MOMENTARY_STEPS, hop=1)
    short_term = _means(found, steps=SHORT_TERM_STEPS, hop=1)
    return {
        "integrated_lufs": _integrated(momentary[::GATING_HOP_STEPS]),
        **_range(short_term[::GATING_HOP_STEPS]),
        "momentary_max_lufs": _loudest(momentary, none=_SHORTER_THAN_BLOCK),
        "short_term_max_lufs": _loudest(short_term, none=_SHORTER_THAN_WINDOW),
        "true_peak_dbtp": _level(found.true_peak**2),
        "sample_peak_dbfs": _level(found.sample_peak**2),
        "rms_dbfs": _level(found.mean_square),
        "crest_factor_db": _crest_factor_db(found),
    }


def series(found: Levels, *, hop: int) -> dict[str, NDArray[np.floating]]:
    """Return the series of one source, one value each `hop` steps of 10 ms, silence as -120.

    Momentary looks back 0.4 s, short-term 3 s, RMS over its own hop; a time is that of the
    window's end. Only whole windows count, so a series may be empty.
    """
    momentary = _means(found, steps=MOMENTARY_STEPS, hop=hop)
    short_term = _means(found, steps=SHORT_TERM_STEPS, hop=hop)
    rms = bs1770.window_means(found.plain, found.sample_rate_hz, steps=hop, hop=hop)
    return {
        "momentary_lufs": bs1770.loudness_lufs(momentary),
        "momentary_times_s": bs1770.window_ends_s(len(momentary), steps=MOMENTARY_STEPS, hop=hop),
        "short_term_lufs": bs1770.loudness_lufs(short_term),
        "short_term_times_s": bs1770.window_ends_s(
            len(short_term), steps=SHORT_TERM_STEPS, hop=hop
        ),
        "rms_dbfs": bs1770.decibels(rms),
        "rms_times_s": bs1770.window_ends_s(len(rms), steps=hop, hop=hop),
    }


def _means(found: Levels, *, steps: int, hop: int) -> NDArray[np.float64]:
    return bs1770.window_means(found.weighted, found.sample_rate_hz, steps=steps, hop=hop)


def _integrated(blocks: NDArray[np.float64]) -> Scalar:
    value = bs1770.integrated_lufs(blocks)
    if value is None:
        return _BLOCKS_BELOW_GATE if len(blocks) else _SHORTER_THAN_BLOCK
    return value


def _range(windows: NDArray[np.float64]) -> dict[str, Scalar]:
    names = ("loudness_range_lu", "loudness_range_low_lufs", "loudness_range_high_lufs")
    ends = bs1770.loudness_range_ends_lufs(windows)
    if ends is None:
        return dict.fromkeys(names, _WINDOWS_BELOW_GATE if len(windows) else _SHORTER_THAN_WINDOW)
    low, high = ends
    return dict(zip(names, (high - low, low, high), strict=True))


def _loudest(means: NDArray[np.float64], *, none: Missing) -> Scalar:
    if len(means) == 0:
        return none
    return _unless_silent(bs1770.loudness_lufs(means).max())


def _level(mean_square: float) -> Scalar:
    return _unless_silent(bs1770.decibels(np.asarray(mean_square)))


def _crest_factor_db(found: Levels) -> Scalar:
    if isinstance(_level(found.sample_peak**2), Missing):
        return _SILENCE
    # Rounding may leave a little less than 0.
    return max(0.0, float(10.0 * np.log10(found.sample_peak**2 / found.mean_square)))


def _unless_silent(level: np.floating | NDArray[np.float64]) -> Scalar:
    return float(level) if level > bs1770.SILENCE_DB else _SILENCE
