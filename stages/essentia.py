"""The `essentia` stage: Essentia's descriptors. Its models are of the stage `tagging`.

Arrays only: Essentia's own loaders crash on files that they do not know.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import essentia
import numpy as np
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import Tick
from stages.essentia_dynamics import DANCEABILITY, DYNAMICS, danceability, dynamics
from stages.essentia_rhythm import NO_BEATS, RHYTHM, rhythm, track_beats
from stages.essentia_spectrum import SPECTRUM, spectrum
from stages.essentia_tonal import HARMONY, KEYS, harmony, keys
from stages.measure import Measured, Measuring
from stages.mono import WholeMono
from stages.outputs import Missing, Scalar
from stages.settings import EssentiaSettings
from stages.silence import silence_of

_RATE_HZ = 44_100  # the rate that Essentia's algorithms are made for

_SHORT = Missing("shorter than 0.1 s")
_NO_NUMBER = Missing("Essentia gives no number for it")

# Names, in the order of what the function gives; also what is null where there is nothing to hear.
_GROUPS: tuple[tuple[tuple[str, ...], Callable[[NDArray[np.float32]], dict[str, Scalar]]], ...] = (
    (DANCEABILITY, danceability),
    (DYNAMICS, dynamics),
    (KEYS, keys),
    (HARMONY, harmony),
    (SPECTRUM, spectrum),
)

essentia.log.infoActive = False
essentia.log.warningActive = False


class Essentia(Measuring[EssentiaSettings]):
    """Danceability, dynamics, key, chords, spectrum, tempo and beats; as Essentia computes them."""

    def __init__(self, settings: EssentiaSettings, *, device: str = "cpu") -> None:
        super().__init__(settings, device="cpu")
        self.hears = (WholeMono.at(_RATE_HZ),)

    def measure(self, audio: Audio, tick: Tick) -> Measured:
        heard = audio.heard(WholeMono.at(_RATE_HZ))
        if missing := _nothing_there(heard):
            tick(audio.duration_s)
            return _nothing(missing)
        features: dict[str, Scalar] = {}
        for number, (_, measured) in enumerate(_GROUPS):
            features |= measured(heard.samples)
            # Of what the groups cost the beats take about as much as all others.
            tick(audio.duration_s * 0.5 * (number + 1) / len(_GROUPS))
        beats = track_beats(heard.samples, lambda done: tick(audio.duration_s * (1 + done) / 2))
        features |= rhythm(heard.samples, beats)
        tick(audio.duration_s)
        numbers = {name: _known(value) for name, value in features.items()}
        return Measured(numbers, {"beat_times_s": beats.times_s})


def _nothing_there(mono: WholeMono) -> Missing | None:
    return _SHORT if mono.count < _RATE_HZ // 10 else silence_of(mono)


def _nothing(missing: Missing) -> Measured:
    names = [name for group, _ in _GROUPS for name in group]
    nulls: dict[str, Scalar] = dict.fromkeys([*names, *RHYTHM], missing)
    return Measured({**nulls, "beat_count": 0}, {"beat_times_s": NO_BEATS.times_s})


def _known(value: Scalar) -> Scalar:
    return _NO_NUMBER if isinstance(value, float) and not math.isfinite(value) else value
