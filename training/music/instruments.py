"""Instruments of the stem `other` by synthesis; each is drawn for a part and then plays its notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from pipeline.music.synth import RATE_HZ, Sound, Wave, envelope, samples, stereo, times_of
from training.music import effects
from training.music.chance import between, happens, log_between, pick
from training.music.score import Note
from training.music.tones import harmonics_below, oscillate, ringing, string

# A frequency in Hz, a length in seconds, a velocity.
Voice: TypeAlias = Callable[[float, float, float], Sound]
_Maker: TypeAlias = Callable[[np.random.Generator], Voice]


def play(voice: Voice, notes: Sequence[Note], length: int) -> Sound:
    """Play notes, shape `(2, length)`; equal ones are made once."""
    track = np.zeros((2, length), np.float32)
    made: dict[tuple[int, int, int], Sound] = {}
    for note in notes:
        key = (note.pitch, round(note.length_s * 50), round(note.velocity * 3))
        if key not in made:
            hz = 440.0 * 2.0 ** ((note.pitch - 69) / 12.0)
            made[key] = voice(hz, min(8.0, max(0.03, key[1] / 50)), max(1, key[2]) / 3.0)
        start = samples(note.start_s)
        end = min(length, start + made[key].shape[1])
        track[:, start:end] += np.float32(note.velocity) * made[key][:, : end - start]
    return track


def _plucked(chance: np.random.Generator) -> Voice:
    """A guitar, harp or banjo."""
    pick_at, bright = between(chance, 0.05, 0.4), between(chance, 0.25, 1.0)
    decay_s, release_s = log_between(chance, 0.3, 2.5), between(chance, 0.05, 0.4)
    wide = between(chance, -0.4, 0.4)

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        shade = bright * (0.6 + 0.4 * velocity)
        wave = string(
            hz, length_s + release_s, chance, pick_at=pick_at, bright=shade, decay_s=decay_s
        )
        wave *= _gate(length_s, length_s + release_s, release_s / 3.0)
        return effects.panned(stereo(wave), wide)

    return voice


def _piano(chance: np.random.Generator) -> Voice:
    """Two or three strings a note, a little out of tune, under a hammer."""
    bright, decay_s = between(chance, 0.0, 0.7), log_between(chance, 0.8, 3.0)
    cents, release_s = between(chance, 0.3, 6.0), between(chance, 0.1, 0.3)
    knock = between(chance, 0.0, 0.25)

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        sides = [
            string(hz * 2.0 ** (off * cents / 1200.0), length_s + release_s, chance,
                   pick_at=0.12, bright=bright * velocity, decay_s=decay_s * (220.0 / hz) ** 0.4)
            for off in (-1.0, 1.0)
        ]  # fmt: skip
        time_s = times_of(length_s + release_s)
        hammer = knock * chance.uniform(-1.0, 1.0, time_s.size) * np.exp(-time_s * 130.0)
        gate = _gate(length_s, length_s + release_s, release_s / 4.0)
        return stereo((sides[0] + hammer) * gate, (0.5 * sides[0] + 0.5 * sides[1] + hammer) * gate)

    return voice


def _electric_piano(chance: np.random.Generator) -> Voice:
    index, ratio = between(chance, 0.4, 2.5), pick(chance, (1.0, 1.0, 2.0, 14.0, 7.0))
    fall, decay_s = log_between(chance, 3.0, 12.0), log_between(chance, 0.4, 2.0)

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        time_s = times_of(length_s + 0.35)
        shape = envelope(
            time_s, length_s, attack_s=0.002, decay_s=decay_s, sustain=0.15, release_s=0.08
        )
        turn = 2.0 * np.pi * hz * time_s
        depth = min(1.0, 9000.0 / (hz * (ratio + 1.0))) * index * velocity
        return stereo(np.sin(turn + depth * np.exp(-time_s * fall) * np.sin(ratio * turn)) * shape)

    return voice


def _organ(chance: np.random.Generator) -> Voice:
    shape = pick(chance, ("organ", "full organ", "reed", "square", "organ"))
    sway, rate_hz = between(chance, 0.0, 0.004), pick(chance, (0.8, 5.5, 6.5))

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        time_s = times_of(length_s + 0.08)
        gate = _gate(length_s, length_s + 0.08, 0.015) * (1.0 - np.exp(-time_s * 300.0))
        cycles = hz * (time_s + sway / rate_hz * np.sin(2.0 * np.pi * rate_hz * time_s))
        return stereo(0.5 * oscillate(cycles, shape, harmonics_below(hz, 9000.0)) * gate)

    return voice


def _saws(chance: np.random.Generator, *, attack: tuple[float, float], voices: int) -> Voice:
    """Detuned oscillators that open and close: strings, pads, super saws."""
    cents = between(chance, 3.0, 22.0)
    attack_s, release_s = log_between(chance, *attack), log_between(chance, 0.08, 0.6)
    shape, top_hz = (
        pick(chance, ("saw", "saw", "square", "pulse", "dark")),
        log_between(chance, 1500, 12_000),
    )
    offs = chance.uniform(-1.0, 1.0, (2, voices))

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        time_s = times_of(length_s + release_s)
        level = envelope(
            time_s,
            length_s,
            attack_s=attack_s,
            decay_s=2.0,
            sustain=0.75,
            release_s=release_s / 3.0,
        )
        harmonics = harmonics_below(hz, top_hz)
        sides = [
            sum((oscillate(hz * 2.0 ** (off * cents / 1200.0) * time_s + 3.7 * off, shape, harmonics) for off in side),
                np.zeros(time_s.size))
            for side in offs
        ]  # fmt: skip
        return stereo(sides[0] * level / voices, sides[1] * level / voices)

    return voice


def _strings(chance: np.random.Generator) -> Voice:
    return _saws(chance, attack=(0.05, 0.4), voices=3)


def _super_saw(chance: np.random.Generator) -> Voice:
    return _saws(chance, attack=(0.002, 0.02), voices=3)


def _lead(chance: np.random.Generator) -> Voice:
    """One oscillator with vibrato: a synth lead, a flute, a whistle, a chip."""
    shape = pick(chance, ("saw", "square", "triangle", "pulse", "dark", "reed"))
    depth, rate_hz = between(chance, 0.0, 0.009), between(chance, 4.5, 6.5)
    attack_s, breath = log_between(chance, 0.003, 0.07), between(chance, 0.0, 0.1)
    top_hz = log_between(chance, 2500.0, 12_000.0)

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        time_s = times_of(length_s + 0.2)
        level = envelope(
            time_s, length_s, attack_s=attack_s, decay_s=0.8, sustain=0.7, release_s=0.05
        )
        late = depth * np.clip((time_s - 0.1) / 0.3, 0.0, 1.0) / (2.0 * np.pi * rate_hz)
        cycles = hz * (time_s + late * np.sin(2.0 * np.pi * rate_hz * time_s))
        air = breath * chance.standard_normal(time_s.size)
        return stereo((oscillate(cycles, shape, harmonics_below(hz, top_hz)) + air) * level)

    return voice


def _brass(chance: np.random.Generator) -> Voice:
    """Saws whose brightness swells with the loudness."""
    swell, players = log_between(chance, 8.0, 40.0), between(chance, 2.0, 9.0)

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        time_s = times_of(length_s + 0.12)
        level = envelope(
            time_s, length_s, attack_s=0.025, decay_s=0.4, sustain=0.75, release_s=0.035
        )
        bright = velocity * (1.0 - np.exp(-time_s * swell)) * (0.5 + 0.5 * np.exp(-time_s * 3.0))
        bent = hz * (time_s - 0.0006 * np.exp(-time_s * 25.0))
        sides = []
        for off in (-1.0, 1.0):
            cycles = bent * 2.0 ** (off * players / 1200.0) + 0.2 * off
            full, dull = (
                oscillate(cycles, "saw", harmonics_below(hz, 9000.0)),
                oscillate(cycles, "saw", 4),
            )
            sides.append((bright * full + (1.0 - bright) * 0.6 * dull) * level)
        return stereo(sides[0], sides[1])

    return voice


def _bell(chance: np.random.Generator) -> Voice:
    """Inharmonic partials that ring: bells, glass, a celesta, a kalimba, a marimba."""
    ratios = np.array(
        pick(
            chance,
            (
                (1.0, 2.76, 5.4, 8.93),
                (1.0, 3.9, 9.2),
                (1.0, 2.0, 3.01, 4.2, 5.4),
                (0.5, 1.0, 1.19, 1.5, 2.0, 2.7),
            ),
        )
    )
    decay_s, damped = log_between(chance, 0.15, 2.5), between(chance, 0.3, 1.5)
    heights = chance.uniform(0.2, 1.0, ratios.size) / ratios ** between(chance, 0.4, 1.3)

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        time_s = times_of(min(3.0, 3.0 * decay_s) + 0.05)
        wave = np.zeros(time_s.size)
        for ratio, height in zip(ratios, heights, strict=True):
            if ratio * hz < 16_000.0:
                wave += (
                    height
                    * np.sin(2.0 * np.pi * ratio * hz * time_s)
                    * np.exp(-time_s * ratio**damped / decay_s)
                )
        return stereo(wave)

    return voice


def _synth_pluck(chance: np.random.Generator) -> Voice:
    """A saw or square whose filter snaps shut."""
    bend, decay_s = between(chance, 0.3, 1.6), log_between(chance, 0.1, 0.9)
    shape = pick(chance, ("saw", "square", "pulse"))

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        orders = np.arange(1.0, min(60, harmonics_below(hz, 11_000.0)) + 1)
        heights = (orders % 2 if shape == "square" else 1.0) / orders
        decays_s = decay_s / orders ** (bend * 0.7)
        wave = ringing(
            hz,
            length_s + 0.25,
            heights=heights,
            decays_s=decays_s,
            phases=np.full(orders.size, -np.pi / 2),
        )
        return stereo(wave * _gate(length_s, length_s + 0.25, 0.08))

    return voice


def _distorted(chance: np.random.Generator) -> Voice:
    """A string that is yet to go through an amplifier."""
    pick_at, bright = between(chance, 0.08, 0.3), between(chance, 0.5, 0.9)

    def voice(hz: float, length_s: float, velocity: float) -> Sound:
        wave = string(hz, length_s + 0.06, chance, pick_at=pick_at, bright=bright, decay_s=3.0)
        return stereo(wave * _gate(length_s, length_s + 0.06, 0.02))

    return voice


def amplified(chance: np.random.Generator, sound: Sound) -> Sound:
    """Return guitars through a driven amplifier and its cabinet, played twice, left and right."""
    loud = effects.saturated(
        sound, drive=log_between(chance, 2.0, 30.0), bias=between(chance, 0.0, 0.3)
    )
    if happens(chance, 0.6):
        shift = samples(between(chance, 0.008, 0.025))
        loud = np.stack([loud[0], np.concatenate([np.zeros(shift, np.float32), loud[1][:-shift]])])
    return effects.filtered(
        loud,
        effects.passing(between(chance, 70, 160), None),
        effects.passing(None, log_between(chance, 3000, 7000)),
    )


def riser(chance: np.random.Generator, length: int) -> Sound:
    """Noise that swells and brightens to a point of the song, then stops; shape `(2, length)`."""
    end = int(chance.integers(length // 4, length))
    size = min(end, samples(between(chance, 1.0, 5.0)))
    low_hz = log_between(chance, 300.0, 2000.0)
    noise = chance.standard_normal((2, size)).astype(np.float32)
    dark = effects.filtered(noise, effects.passing(low_hz, 3.0 * low_hz, order=1))
    bright = effects.filtered(
        noise, effects.passing(2.0 * low_hz, min(18_000.0, 8.0 * low_hz), order=1)
    )
    rise = np.linspace(0.0, 1.0, size, dtype=np.float32) ** 2
    track = np.zeros((2, length), np.float32)
    track[:, end - size : end] = (dark * (1.0 - rise) + bright * rise) * rise
    return track


def _gate(length_s: float, whole_s: float, release_s: float) -> Wave:
    time_s = np.arange(samples(whole_s)) / RATE_HZ
    gate: Wave = np.exp(-np.maximum(time_s - length_s, 0.0) / max(release_s, 0.002))
    return gate


_INSTRUMENTS: Mapping[str, _Maker] = MappingProxyType(
    {
        "plucked": _plucked, "piano": _piano, "electric piano": _electric_piano, "organ": _organ,
        "strings": _strings, "super saw": _super_saw, "lead": _lead, "brass": _brass,
        "bell": _bell, "synth pluck": _synth_pluck, "distorted": _distorted,
    }
)  # fmt: skip
_FITTING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "chords": (
            "piano",
            "electric piano",
            "organ",
            "plucked",
            "super saw",
            "synth pluck",
            "piano",
        ),
        "strum": ("plucked",),
        "pad": ("strings", "strings", "organ", "super saw", "lead"),
        "stabs": ("brass", "brass", "super saw", "organ", "synth pluck", "piano"),
        "arpeggio": ("plucked", "synth pluck", "bell", "electric piano", "piano", "lead"),
        "riff": ("distorted", "synth pluck", "lead", "plucked", "electric piano", "brass"),
        "melody": ("lead", "lead", "bell", "strings", "brass", "plucked", "distorted", "piano"),
        "power": ("distorted",),
    }
)


def instrument(chance: np.random.Generator, role: str, notes: Sequence[Note], length: int) -> Sound:
    """Play the notes of a role with an instrument that fits it, shape `(2, length)`."""
    kind = pick(chance, _FITTING[role])
    sound = play(_INSTRUMENTS[kind](chance), notes, length)
    return amplified(chance, sound) if kind == "distorted" else sound
