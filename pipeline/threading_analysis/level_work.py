"""Calls of pyloudnorm and SciPy, as a script makes them, on samples in memory."""

from __future__ import annotations

from functools import partial

import soundfile

from pipeline.bench.level_calls import LEVELS
from pipeline.threading_analysis.brief import Brief
from pipeline.threading_analysis.work import Work

# By the names that our stage gives to what comes out.
_CALLS = {
    "pyloudnorm.integrated_loudness": "integrated_lufs",
    "scipy.signal.resample_poly": "true_peak_dbtp",
}


def work(brief: Brief) -> Work:
    """Load the music, in stereo at its own rate."""
    samples, rate_hz = soundfile.read(brief.song)
    return Work(partial(LEVELS[_CALLS[brief.name]], samples, rate_hz))
