"""A voice that sings vowels: harmonics under the formants of a tenor, with a breath before them.

In NumPy alone, as the instruments beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from types import MappingProxyType

import numpy as np

from pipeline.music import synth

# Frequency in Hz, level in dB, bandwidth in Hz: the tenor of the table of formants in the manual of
# Csound (appendix "Formant values").
_FORMANTS: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "a": ((650, 0, 80), (1080, -6, 90), (2650, -7, 120), (2900, -8, 130), (3250, -22, 140)),
    "e": ((400, 0, 70), (1700, -14, 80), (2600, -12, 100), (3200, -14, 120), (3580, -20, 120)),
    "i": ((290, 0, 40), (1870, -15, 90), (2800, -18, 100), (3250, -20, 120), (3540, -30, 120)),
    "o": ((400, 0, 70), (800, -10, 80), (2600, -12, 100), (2800, -12, 130), (3000, -26, 135)),
    "u": ((350, 0, 40), (600, -20, 60), (2700, -17, 100), (2900, -14, 120), (3300, -26, 120)),
}
_TOP_HZ = 8000.0
_CHEST = 0.2  # of the fundamental, under the formants; the next harmonics fall by 12 dB an octave


def sing(hz: float, length_s: float, *, vowel: str) -> synth.Sound:
    """Sing one note; its vibrato comes late."""
    time_s = synth.times_of(length_s + 0.2)
    shape = synth.envelope(
        time_s, length_s, attack_s=0.02, decay_s=0.8, sustain=0.7, release_s=0.06
    )
    cycles = synth.vibrato_cycles(hz, time_s, depth_cents=30.0, rate_hz=5.3)
    tone = synth.read_table(_table(vowel, round(hz, 2)), cycles) * shape
    breath = np.random.default_rng(ord(vowel)).uniform(-1.0, 1.0, time_s.size)
    rise_and_fall = (1.0 - np.exp(-time_s / 0.003)) * np.exp(-time_s * 45.0)
    breath = 0.15 * np.append(np.diff(breath), 0.0) * rise_and_fall
    return synth.stereo(0.55 * tone + breath)


@cache
def _table(vowel: str, hz: float) -> synth.Wave:
    """Return one period of a vowel at a pitch, of peak 1."""
    orders = np.arange(1, max(2, int(_TOP_HZ / hz)) + 1)
    heights = _CHEST / orders**2.0
    for centre_hz, level_db, width_hz in _FORMANTS[vowel]:
        off = (orders * hz - centre_hz) / (width_hz / 2.0)
        heights = heights + 10.0 ** (level_db / 20.0) / np.sqrt(1.0 + off**2)
    turn = 2.0 * np.pi * np.arange(synth.TABLE_SAMPLES + 1) / synth.TABLE_SAMPLES
    # Phases of no order, lest all harmonics peak together once a period.
    phases = np.pi * orders * (orders - 1) / orders.size
    waves = heights[:, np.newaxis] * np.sin(np.outer(orders, turn) + phases[:, np.newaxis])
    wave: synth.Wave = waves.sum(axis=0)
    wave /= np.abs(wave).max()
    return wave


SINGERS: Mapping[str, synth.Voice] = MappingProxyType(
    {f"voice {vowel}": partial(sing, vowel=vowel) for vowel in _FORMANTS}
)
