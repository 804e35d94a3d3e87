"""Where the time of the feature lane goes, in one thread, and what of it nobody could save.

    python -m benchmarks.feature_shares tracks/*.flac

Each file five times, the quickest counts. The time of each part is without that of the parts that
it calls. The floor is what is left if everything but libsndfile, soxr, one float64 transform of
each frame and the matrix products of the constant-Q transform took no time.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))

import argparse
import functools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import soundfile as sf
import soxr

from stages import (
    analysis,
    cepstrum,
    chroma,
    chromagrams,
    constant_q,
    frame_shapes,
    mono,
    onsets,
    outputs,
    spectral,
    stft,
)
from stages.base import Stage, Track
from stages.crossings import Crossings
from stages.level_meter import LevelMeter
from stages.loudness import Loudness
from stages.opening import opened
from stages.pitches import Pitches
from stages.settings import ChromaSettings, LoudnessSettings, OnsetsSettings, SpectralSettings
from stages.true_peak import TruePeak

_RUNS = 5
_BLOCK = 65_536
_PARTS: dict[str, list[tuple[Any, str]]] = {
    "decoding (libsndfile)": [(sf.SoundFile, "read")],
    "one channel at 22,050 Hz (soxr)": [(mono.MonoSink, "add")],
    "K-weighting, energies": [(LevelMeter, "add")],
    "true peak": [(TruePeak, "add")],
    "STFT, twice": [(stft.Stft, "_transformed"), (stft.Frames, "_cut")],
    "measures of each spectrum, mel bands": [(frame_shapes.Measurer, "measure")],
    "peaks for two tunings": [(Pitches, "add"), (Pitches, "tunings")],
    "zero crossings": [(Crossings, "add")],
    "constant-Q transform": [(constant_q.ConstantQChroma, "add"), (constant_q._Octave, "_measure")],
    "chroma of the STFT": [(chromagrams._StftChroma, "_sum")],
    "onsets": [(onsets, "envelopes"), (onsets, "onset_frames")],
    "tempo and beats": [(onsets, "tempo_and_beats")],
    "mel bands in dB": [(analysis, "_decibels")],
    "MFCC and deltas": [(spectral, "mfcc"), (cepstrum, "delta")],
    "harmony": [(chroma, "cens"), (chroma, "tonnetz"), (chroma, "harmonic_change")],
    "writing": [(outputs.FramesFile, "add")],
    "checks and all the rest": [],
}


class _Clock:
    """Adds up the seconds of each part, without those of the parts that it calls."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside = [0.0]

    def watch(self, part: str, owner: Any, name: str) -> None:
        call = getattr(owner, name)

        @functools.wraps(call)
        def watched(*args: Any, **options: Any) -> Any:
            self._inside.append(0.0)
            began = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                took = time.perf_counter() - began
                self.seconds[part] += took - self._inside.pop()
                self._inside[-1] += took

        setattr(owner, name, watched)


def main() -> None:
    """Print the parts of each file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    files = parser.parse_args().files
    stages: list[Stage[Any]] = [
        Loudness(LoudnessSettings()),
        onsets.Onsets(OnsetsSettings()),
        chroma.Chroma(ChromaSettings()),
        spectral.Spectral(SpectralSettings()),
    ]
    whole = {file: _quickest(functools.partial(_do, file, stages)) for file in files}
    clock = _Clock()
    for part, watched in _PARTS.items():
        for owner, name in watched:
            clock.watch(part, owner, name)
    clock.watch("checks and all the rest", sys.modules[__name__], "_do")
    for file in files:
        clock.seconds.clear()
        _quickest(functools.partial(_do, file, stages))
        _print(file, whole[file], clock.seconds)


def _do(file: Path, stages: list[Stage[Any]]) -> None:
    kinds = dict.fromkeys(kind for stage in stages for kind in stage.hears or ())
    audio, _ = opened(os.fsencode(file), kinds)
    with tempfile.TemporaryDirectory() as folder:
        for stage in stages:
            stage.run(Track("", {"mix": audio}), Path(folder))


def _quickest(call: Callable[[], object]) -> float:
    took = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return min(took)


def _print(file: Path, whole_s: float, parts: Mapping[str, float]) -> None:
    duration_s = sf.info(file).duration
    print(
        f"{file.name}, {duration_s:.0f} s: {whole_s:.3f} s, {duration_s / whole_s:.0f} times real time"
    )
    watched_s = sum(parts.values())
    for part in _PARTS:
        print(f"  {part:40}{parts[part] / watched_s:6.1%}")
    floor_s = sum(map(_quickest, _floor(file, duration_s)))
    print(f"  floor: {floor_s:.3f} s; the whole takes {whole_s / floor_s:.1f} times as long")


def _floor(file: Path, duration_s: float) -> list[Callable[[], object]]:
    frames = int(duration_s * 22_050 / stft.HOP_SAMPLES)
    windowed = np.random.default_rng(0).standard_normal((32, stft.FRAME_SAMPLES))
    some = windowed[:, :1024].astype(np.float32).repeat(2, axis=0)
    filters = np.ones((1024, 2 * constant_q.BINS_PER_OCTAVE), np.float32)
    samples = np.zeros(_BLOCK, np.float32)

    def decode() -> None:
        with sf.SoundFile(file) as sound:
            buffer = np.empty((_BLOCK, sound.channels), np.float32)
            while len(sound.read(out=buffer)):
                pass

    def resample() -> None:
        stream = soxr.ResampleStream(44_100, 22_050, 1, dtype="float32", quality="HQ")
        for _ in range(int(duration_s * 44_100) // _BLOCK):
            stream.resample_chunk(samples)

    return [
        decode,
        resample,
        lambda: [scipy.fft.rfft(windowed, axis=1) for _ in range(frames // 32)],
        lambda: [some @ filters for _ in range(7 * frames // 64)],
    ]


if __name__ == "__main__":
    main()
