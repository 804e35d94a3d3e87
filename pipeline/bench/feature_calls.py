"""What a script does that takes features from files, one library call each.

    python -P -m pipeline.bench.feature_calls <way> <out> <file>…

Way `each-by-itself` loads the file for every call, as examples in documentation do; `loaded-once`
loads it once for all of librosa's and once for the loudness. Writes `<out>/<file's name>.npz` under
the names that our stages give.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import librosa
import numpy as np
import pyloudnorm
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from pipeline.bench.feature_ways import Way

Samples: TypeAlias = NDArray[np.floating]
Values: TypeAlias = "NDArray[np.floating] | float"

RATE_HZ = 22_050


def _flux(y: Samples) -> Values:
    spectra = np.abs(librosa.stft(y))
    unit = spectra / np.maximum(np.linalg.norm(spectra, axis=0), np.finfo(np.float32).tiny)
    return np.concatenate([[0.0], np.linalg.norm(np.diff(unit, axis=1), axis=0)])


MUSIC: dict[str, Callable[[Samples], Values]] = {
    "onset_envelope_db": lambda y: librosa.onset.onset_strength(y=y, sr=RATE_HZ),
    "onset_times_s": lambda y: librosa.onset.onset_detect(y=y, sr=RATE_HZ, units="time"),
    "beat_times_s": lambda y: librosa.beat.beat_track(y=y, sr=RATE_HZ, units="time")[1],
    "chroma": lambda y: librosa.feature.chroma_cqt(y=y, sr=RATE_HZ),
    "chroma_stft": lambda y: librosa.feature.chroma_stft(y=y, sr=RATE_HZ),
    # Each of these two makes a constant-Q transform of its own, unless it is given one.
    "chroma_cens": lambda y: librosa.feature.chroma_cens(y=y, sr=RATE_HZ),
    "tonnetz": lambda y: librosa.feature.tonnetz(y=y, sr=RATE_HZ),
    "tuning_cents": lambda y: 100 * librosa.estimate_tuning(y=y, sr=RATE_HZ),
    "centroid_hz": lambda y: librosa.feature.spectral_centroid(y=y, sr=RATE_HZ)[0],
    "bandwidth_hz": lambda y: librosa.feature.spectral_bandwidth(y=y, sr=RATE_HZ)[0],
    "rolloff_hz": lambda y: librosa.feature.spectral_rolloff(y=y, sr=RATE_HZ)[0],
    "flatness": lambda y: librosa.feature.spectral_flatness(y=y)[0],
    "contrast_db": lambda y: librosa.feature.spectral_contrast(y=y, sr=RATE_HZ),
    "mfcc": lambda y: librosa.feature.mfcc(y=y, sr=RATE_HZ),
    "zero_crossing_rate": lambda y: librosa.feature.zero_crossing_rate(y)[0],
    "flux": _flux,
}

LEVELS: dict[str, Callable[[Samples, int], Values]] = {
    "integrated_lufs": lambda x, rate: pyloudnorm.Meter(
        rate, filter_class="DeMan"
    ).integrated_loudness(x),
    "loudness_range_lu": lambda x, rate: pyloudnorm.Meter(
        rate, filter_class="DeMan"
    ).loudness_range(x),
    "true_peak_dbtp": lambda x, rate: 20 * np.log10(np.abs(resample_poly(x, 4, 1)).max()),
}


def _each_by_itself(file: Path) -> dict[str, Values]:
    music = {name: call(librosa.load(file, sr=RATE_HZ)[0]) for name, call in MUSIC.items()}
    return music | {name: call(*soundfile.read(file)) for name, call in LEVELS.items()}


def _loaded_once(file: Path) -> dict[str, Values]:
    y, _ = librosa.load(file, sr=RATE_HZ)
    music = {name: call(y) for name, call in MUSIC.items()}
    x, rate = soundfile.read(file)
    return music | {name: call(x, rate) for name, call in LEVELS.items()}


def main() -> None:
    """Take the features of every file."""
    way, out, *files = sys.argv[1:]
    take = {Way.EACH_BY_ITSELF: _each_by_itself, Way.LOADED_ONCE: _loaded_once}[Way(way)]
    Path(out).mkdir(parents=True)
    for file in map(Path, files):
        np.savez(Path(out) / f"{file.name}.npz", **take(file))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
