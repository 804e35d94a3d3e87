"""What a mouth does for each syllable: moments between which everything glides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from training.music.chance import between, happens, pick
from training.music.vocal_lines import VOWELS, Syllable

_DIPHTHONGS = 0.3
_TOGETHER_S = 0.05  # syllables nearer than this have no silence between them

# Centres in Hz of the first four formants of men (Peterson and Barney 1952, rounded; the fourth is
# the usual 3.5 kHz), and their levels in dB above the fall of the glottis.
_VOWELS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "a": ((730, 1090, 2440, 3400), (0, -1, -12, -14)),
        "e": ((530, 1840, 2480, 3500), (0, -5, -7, -12)),
        "i": ((270, 2290, 3010, 3600), (0, -8, -8, -10)),
        "o": ((570, 840, 2410, 3300), (0, -3, -17, -20)),
        "u": ((300, 870, 2240, 3300), (0, -9, -22, -24)),
        "ae": ((660, 1720, 2410, 3500), (0, -3, -8, -12)),
        "uh": ((640, 1190, 2390, 3400), (0, -4, -12, -16)),
        "er": ((490, 1350, 1690, 3300), (0, -5, -8, -16)),
        # Of consonants that are voiced.
        "m": ((250, 1000, 2200, 3300), (-2, -24, -26, -30)),
        "n": ((250, 1450, 2500, 3300), (-2, -22, -24, -28)),
        "l": ((360, 1100, 2700, 3400), (-2, -9, -14, -18)),
        "r": ((330, 1060, 1450, 3300), (-2, -6, -8, -20)),
        "w": ((290, 620, 2200, 3300), (-2, -8, -22, -26)),
        "y": ((260, 2200, 3000, 3600), (-2, -10, -10, -14)),
    }
)
# Noise of a consonant: centre and deviation in Hz, level; then how loud the voice is in it, how
# long it lasts in s, and whether it is a stop that bursts.
_NOISES: Mapping[str, tuple[float, float, float, float, float, bool]] = MappingProxyType(
    {
        "s": (7200, 1900, 0.5, 0.0, 0.11, False), "sh": (3600, 1300, 0.5, 0.0, 0.11, False),
        "f": (6500, 4500, 0.16, 0.0, 0.09, False), "h": (1500, 1200, 0.12, 0.0, 0.07, False),
        "z": (7000, 1900, 0.25, 0.3, 0.08, False), "v": (5500, 4000, 0.07, 0.35, 0.06, False),
        "p": (1000, 900, 0.6, 0.0, 0.09, True), "t": (5200, 2200, 0.8, 0.0, 0.09, True),
        "k": (2300, 900, 0.8, 0.0, 0.09, True), "b": (800, 700, 0.35, 0.12, 0.06, True),
        "d": (4200, 1800, 0.4, 0.12, 0.06, True), "g": (2000, 800, 0.4, 0.12, 0.06, True),
    }
)  # fmt: skip
_VOICED = ("m", "n", "l", "r", "w", "y")


@dataclass(frozen=True)
class Moment:
    """How the throat stands at a time: levels, the colour of the noise, formants."""

    at_s: float
    voiced: float
    noise: float
    noise_hz: float
    noise_width_hz: float
    mouth: str

    def numbers(self) -> tuple[float, ...]:
        """Return what glides, in this order: levels, colour, four centres, four levels."""
        centres, levels = _VOWELS[self.mouth]
        return (self.voiced, self.noise, self.noise_hz, self.noise_width_hz, *centres, *levels)


def moments(
    chance: np.random.Generator, syllables: Sequence[Syllable], *, glide_s: float
) -> list[Moment]:
    """Return the moments of all syllables, ascending in time."""
    found: list[Moment] = []
    ended_s = -1.0
    for one, after in zip(syllables, [*syllables[1:], None], strict=True):
        begun = [*_onset(chance, one), *_vowel(chance, one, glide_s)]
        if begun[0].at_s - ended_s > _TOGETHER_S:
            begun.insert(0, _silent(one, begun[0].at_s - 0.015))
        found += begun
        ended_s = one.start_s + one.length_s
        if after is None or after.consonant or after.start_s - ended_s > _TOGETHER_S:
            found.append(_silent(one, ended_s))
    return sorted(found, key=lambda moment: moment.at_s)


def _moment(one: Syllable, at_s: float, voiced: float, noise: float, mouth: str) -> Moment:
    hz, width_hz = _NOISES.get(one.consonant, _NOISES["h"])[:2]
    return Moment(at_s, voiced * one.velocity, noise * one.velocity, hz, width_hz, mouth)


def _silent(one: Syllable, at_s: float) -> Moment:
    return _moment(one, at_s, 0.0, 0.0, one.consonant if one.consonant in _VOICED else one.vowel)


def _vowel(chance: np.random.Generator, one: Syllable, glide_s: float) -> list[Moment]:
    begins_s = one.start_s + min(glide_s, 0.4 * one.length_s)
    fades_s = one.start_s + one.length_s - between(chance, 0.02, 0.07)
    ends_as = pick(chance, VOWELS) if happens(chance, _DIPHTHONGS) else one.vowel
    return [
        _moment(one, begins_s, 1.0, 0.0, one.vowel),
        _moment(one, max(begins_s, fades_s), between(chance, 0.7, 1.0), 0.0, ends_as),
    ]


def _onset(chance: np.random.Generator, one: Syllable) -> list[Moment]:
    """Return the moments of a consonant, until its vowel begins; where there is none, of an onset."""
    if not one.consonant:
        return [_moment(one, one.start_s, 0.75, 0.0, one.vowel)]
    if one.consonant in _VOICED:
        long_s = between(chance, 0.04, 0.1)
        return [
            _moment(one, one.start_s - long_s, 0.5, 0.0, one.consonant),
            _moment(one, one.start_s, 0.55, 0.0, one.consonant),
        ]
    return _noisy(chance, one)


def _noisy(chance: np.random.Generator, one: Syllable) -> list[Moment]:
    """Return the moments of a consonant with noise in it."""

    def at(at_s: float, voiced: float, noise: float, mouth: str) -> Moment:
        return _moment(one, at_s, voiced, noise, mouth)

    _, _, level, voice, typical_s, bursts = _NOISES[one.consonant]
    start_s, long_s = one.start_s, typical_s * between(chance, 0.7, 1.4)
    if bursts:
        air = 0.12 if voice == 0.0 else 0.02
        burst_s = start_s - (between(chance, 0.02, 0.05) if voice == 0.0 else 0.01)
        return [
            at(start_s - long_s, voice, 0.0, one.vowel),
            at(burst_s - 0.002, voice, 0.0, one.vowel),
            at(burst_s, voice, level, one.vowel),
            at(burst_s + 0.008, voice, air, one.vowel),
            at(start_s, voice, air, one.vowel),
            at(start_s + 0.012, 0.8, 0.0, one.vowel),
        ]
    return [
        at(start_s - long_s, voice, 0.0, one.vowel),
        at(start_s - 0.7 * long_s, voice, level, one.vowel),
        at(start_s - 0.2 * long_s, voice, level, one.vowel),
        at(start_s + 0.015, 0.6, 0.0, one.vowel),
    ]
