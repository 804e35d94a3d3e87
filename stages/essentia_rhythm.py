"""Tempo, beats and what they are like, by Essentia's RhythmExtractor2013."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import essentia.standard as es
import numpy as np
from numpy.typing import NDArray

from stages.mono import PEAK_OF_SILENCE
from stages.outputs import Missing, Scalar

_RATE_HZ = 44_100
# It raises above 3,804 s: the buffer that passes the strength of onsets on holds 327,680 values, one
# each 512 samples (github.com/MTG/essentia, issue 1528). Beside the samples it takes 2.6 times their
# memory: 1.5 GiB of an hour.
_LONGEST_S = 3_600
_FASTEST_BPM = 208.0  # its own

_HISTOGRAM = tuple(
    f"bpm_histogram_{peak}_peak_{name}"
    for peak in ("first", "second")
    for name in ("bpm", "weight", "spread")
)
_BANDS = 5  # of BeatsLoudness: 20, 150, 400, 3,200, 7,000 and 22,000 Hz
_LOUDNESS = (
    "beats_loudness_mean",
    "beats_loudness_std",
    *(f"beats_loudness_band_ratio_{band}_mean" for band in range(_BANDS)),
)
RHYTHM = ("tempo_bpm", "tempo_confidence", "beat_count", *_HISTOGRAM, *_LOUDNESS)

_NO_BEAT = Missing("no beat was found")
_ONE_TEMPO = Missing("there is one tempo only")
_NO_WHOLE_BEAT = Missing("no beat was found that is not cut off or silent")


@dataclass(frozen=True)
class Beats:
    """Beats of a source: none, or at least two."""

    times_s: NDArray[np.float32]
    intervals_s: NDArray[np.float32]  # between beats that were found together
    tempo_bpm: float
    confidence: float


_NONE = np.zeros(0, dtype=np.float32)
NO_BEATS = Beats(_NONE, _NONE, 0.0, 0.0)


def track_beats(mono: NDArray[np.float32], report: Callable[[float], None]) -> Beats:
    """Return what RhythmExtractor2013 finds, in equal pieces where it is longer than an hour.

    Args:
        report: called with the share that is done after each piece.
    """
    count = -(-len(mono) // (_LONGEST_S * _RATE_HZ))
    found, done = [], 0
    for piece in np.array_split(mono, count):
        found.append(_tracked(piece, begin_s=done / _RATE_HZ))
        done += len(piece)
        report(done / len(mono))
    return found[0] if count == 1 else _joined([one for one in found if one is not NO_BEATS])


def _tracked(mono: NDArray[np.float32], *, begin_s: float) -> Beats:
    if max(mono.max(), -mono.min()) <= PEAK_OF_SILENCE:
        return NO_BEATS  # it would find some in the noise that it adds to silence
    extractor = es.RhythmExtractor2013(method="multifeature")
    tempo_bpm, times_s, confidence, _, intervals_s = extractor(mono)
    if len(times_s) < 2:
        return NO_BEATS
    return Beats(times_s + np.float32(begin_s), intervals_s, float(tempo_bpm), float(confidence))


def _joined(found: list[Beats]) -> Beats:
    """Join the beats of pieces; where two pieces meet, a beat too near to the last one goes."""
    if not found:
        return NO_BEATS
    times_s = found[0].times_s
    for one in found[1:]:
        fresh = one.times_s > times_s[-1] + 60 / _FASTEST_BPM
        times_s = np.concatenate([times_s, one.times_s[fresh]])
    intervals_s = np.concatenate([one.intervals_s for one in found])
    confidence = float(np.mean([one.confidence for one in found]))
    return Beats(times_s, intervals_s, tempo_of(intervals_s), confidence)


def tempo_of(intervals_s: NDArray[np.float32]) -> float:
    """Return the tempo of beats, in beats per minute, as RhythmExtractor2013 does.

    The mean of what is within 5 of the most frequent tempo, counted in bins of 2.
    """
    tempi_bpm = 60.0 / intervals_s.astype(np.float64)
    most_bpm = 2.0 * int(np.bincount((tempi_bpm / 2 + 0.5).astype(np.int64)).argmax())
    near = tempi_bpm[np.abs(tempi_bpm - most_bpm) < 5.0]
    return float(near.mean()) if near.size else most_bpm


def rhythm(mono: NDArray[np.float32], beats: Beats) -> dict[str, Scalar]:
    """Tempo, its confidence, the two most frequent tempi, and how loud the beats are where."""
    if beats is NO_BEATS:
        return {**dict.fromkeys(RHYTHM, _NO_BEAT), "beat_count": 0}
    return {
        "tempo_bpm": beats.tempo_bpm,
        "tempo_confidence": beats.confidence,
        "beat_count": len(beats.times_s),
        **_histogram(beats.intervals_s),
        **_loudness(mono, beats.times_s),
    }


def _histogram(intervals_s: NDArray[np.float32]) -> dict[str, Scalar]:
    *peaks, _ = es.BpmHistogramDescriptors()(intervals_s)
    values: list[Scalar] = [float(value) for value in peaks]
    if values[3] == 0:
        values[3:] = [_ONE_TEMPO] * 3
    return dict(zip(_HISTOGRAM, values, strict=True))


def _loudness(mono: NDArray[np.float32], times_s: NDArray[np.float32]) -> dict[str, Scalar]:
    """Energy of the 50 ms after each beat, and its shares by bands; a beat that is cut off has none."""
    extractor = es.BeatsLoudness(beats=times_s.tolist(), sampleRate=_RATE_HZ)
    energies, shares = map(np.asarray, extractor(mono))
    loud = energies > 0
    if not loud.any():
        return dict.fromkeys(_LOUDNESS, _NO_WHOLE_BEAT)
    energies, shares = energies.astype(np.float64), shares[loud].astype(np.float64)
    values = [energies.mean(), energies.std(), *shares.mean(axis=0)]
    return dict(zip(_LOUDNESS, map(float, values), strict=True))
