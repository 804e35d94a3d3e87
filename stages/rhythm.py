"""Rhythm from the times of onsets and beats: spacing, place in the beat, syncopation, evenness."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stages.outputs import Missing, Scalar

Times: TypeAlias = NDArray[np.float64]
Value: TypeAlias = float | Missing

# MIREX's tolerance for a beat: Davies, Degara and Plumbley, "Evaluation methods for musical audio
# beat tracking algorithms", Queen Mary University of London, C4DM-TR-09-06, 2009.
ON_BEAT_S = 0.07

# Of a beat and the three steps after it: 0, and 1 less on each level below (Longuet-Higgins and Lee).
_WEIGHTS = np.array([0, -2, -1, -2])
_STEPS_PER_BEAT = len(_WEIGHTS)
_STEPS_PER_CYCLE = 4 * _STEPS_PER_BEAT


def features(onset_times_s: Times, beat_times_s: Times) -> dict[str, Scalar]:
    """Return all features of rhythm by name, each a number or the reason why there is none.

    Times may come in any order; one that comes twice counts once.
    """
    onsets_s, beats_s = np.unique(onset_times_s), np.unique(beat_times_s)
    rhythm = on_grid(onsets_s, beats_s)
    return {
        "beat_interval_mean_s": interval_mean_s(beats_s, "beats"),
        "beat_interval_std_s": interval_std_s(beats_s, "beats"),
        "beat_regularity": beat_regularity(beats_s),
        "onset_interval_mean_s": interval_mean_s(onsets_s, "onsets"),
        "onset_interval_std_s": interval_std_s(onsets_s, "onsets"),
        "onset_interval_p10_s": onset_interval_percentile_s(onsets_s, 10),
        "onset_interval_p50_s": onset_interval_percentile_s(onsets_s, 50),
        "onset_interval_p90_s": onset_interval_percentile_s(onsets_s, 90),
        "onsets_on_beat_share": onsets_on_beat_share(onsets_s, beats_s),
        "syncopation": syncopation(rhythm),
        "evenness": evenness(rhythm),
    }


def interval_mean_s(times_s: Times, what: str) -> Value:
    """Return the mean distance of neighbours; `times_s` ascends, `what` names them in a reason."""
    if len(times_s) < 2:
        return Missing(f"fewer than two {what}")
    return float(np.diff(times_s).mean())


def interval_std_s(times_s: Times, what: str) -> Value:
    """Return the standard deviation of the distances of neighbours."""
    if len(times_s) < 3:
        return Missing(f"fewer than three {what}")
    return float(np.diff(times_s).std())


def onset_interval_percentile_s(onsets_s: Times, percent: int) -> Value:
    """Return a percentile of the distances of neighbours, interpolated between the nearest two."""
    if len(onsets_s) < 2:
        return Missing("fewer than two onsets")
    return float(np.percentile(np.diff(onsets_s), percent))


def beat_regularity(beats_s: Times) -> Value:
    """Return 1 minus the coefficient of variation of the intervals, 0 where that is below 0.

    The coefficient is what the steadiness of tapping is measured by; to take it from 1 is our choice.
    """
    if len(beats_s) < 3:
        return Missing("fewer than three beats")
    intervals_s = np.diff(beats_s)
    return max(0.0, 1.0 - float(intervals_s.std() / intervals_s.mean()))


def onsets_on_beat_share(onsets_s: Times, beats_s: Times) -> Value:
    """Return the share of all onsets that are no further than `ON_BEAT_S` from a beat, 0 to 1."""
    if not len(onsets_s):
        return Missing("no onset was found")
    if not len(beats_s):
        return Missing("no beat was found")
    beats_before = np.searchsorted(beats_s, onsets_s - ON_BEAT_S, side="left")
    beats_until = np.searchsorted(beats_s, onsets_s + ON_BEAT_S, side="right")
    return float((beats_until > beats_before).mean())


def on_grid(onsets_s: Times, beats_s: Times) -> NDArray[np.bool_]:
    """Return at which steps of the grid there is an onset, shape `(4 * (beats - 1) + 1,)`.

    The grid has four even steps from each beat to the next and ends with the last beat. An onset
    goes to the nearest step; further than half a step outside it is left out. Without two beats
    there is no grid: shape `(0,)`.
    """
    if len(beats_s) < 2:
        return np.zeros(0, np.bool_)
    steps = np.arange(_STEPS_PER_BEAT * (len(beats_s) - 1) + 1)
    steps_s = np.interp(steps / _STEPS_PER_BEAT, np.arange(len(beats_s)), beats_s)
    halves_s = np.diff(steps_s) / 2
    borders_s = np.concatenate(
        [steps_s[:1] - halves_s[:1], steps_s[:-1] + halves_s, steps_s[-1:] + halves_s[-1:]]
    )
    onsets, _ = np.histogram(onsets_s, borders_s)
    return onsets > 0


def syncopation(rhythm: NDArray[np.bool_]) -> Value:
    """Return the strength of all syncopations on a grid by its beats, 0 to 3.

    Longuet-Higgins and Lee, "The rhythmic interpretation of monophonic music", Music Perception 1,
    1984: an onset on a step lighter than the heaviest of the silent ones between it and the next
    onset is syncopated, by the difference of the weights. As there is no downbeat and no bar, all
    beats weigh 0; the middle of a beat weighs -1, its quarters -2.
    """
    if not len(rhythm):
        return Missing("fewer than two beats")
    if not rhythm.any():
        return Missing("no onset between two beats")
    weights = np.resize(_WEIGHTS, len(rhythm))
    onsets = np.flatnonzero(rhythm)
    # From each onset to the step before the next, itself included: at least its own weight.
    heaviest = np.maximum.reduceat(weights, onsets)
    strengths = heaviest - weights[onsets]
    return float(strengths.sum() / (len(rhythm) // _STEPS_PER_BEAT))


def evenness(rhythm: NDArray[np.bool_]) -> Value:
    """Return the mean evenness of the cycles of four beats from the first beat on, 0 to 1.

    Only whole cycles count, and those with two onsets at least: a single one is even anywhere.
    """
    count = len(rhythm) // _STEPS_PER_CYCLE
    if not count:
        return Missing("fewer than five beats")
    cycles = rhythm[: count * _STEPS_PER_CYCLE].reshape(count, _STEPS_PER_CYCLE)
    found = [_evenness_of(cycle) for cycle in cycles if cycle.sum() > 1]
    return float(np.mean(found)) if found else Missing("no four beats with two onsets")


def _evenness_of(cycle: NDArray[np.bool_]) -> float:
    """Return how near the onsets of a cycle are to equal distances, 0 to 1.

    Onset k of K is the point z_k of the unit circle; the evenness is |Σ z_k exp(-2πik/K)| / K, the
    first coefficient of their discrete Fourier transform (Milne, Bulger and Herff, "Exploring the
    space of perfectly balanced rhythms and scales", Journal of Mathematics and Music 11, 2017;
    after Amiot, Music Theory Online 15, 2009).
    """
    points = np.exp(2j * np.pi * np.flatnonzero(cycle) / len(cycle))
    # Rounding may leave a little more than 1.
    return min(1.0, float(np.abs(np.fft.fft(points)[1]) / len(points)))
