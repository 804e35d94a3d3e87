"""Instruments, room and limiter of the demo music, in NumPy alone: the base install has no SciPy.

Every sound is float32, shape `(2, samples)`, at `RATE_HZ`, and begins with its onset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 44_100
TABLE_SAMPLES = 2048
LIMITER_BLOCK_SAMPLES = 64
LIMITER_REACH_BLOCKS = 24  # 35 ms each way: no slower than ears, no faster than a bass period

Sound: TypeAlias = NDArray[np.float32]
Wave: TypeAlias = NDArray[np.float64]
Voice: TypeAlias = Callable[[float, float], Sound]
Drum: TypeAlias = Callable[[np.random.Generator], Sound]


def samples(seconds: float) -> int:
    """Return the sample nearest to a time."""
    return round(seconds * RATE_HZ)


def add(track: Sound, sound: Sound, *, at_s: float, level: float = 1.0) -> None:
    """Mix a sound into a track, cutting what reaches past its end."""
    start = samples(at_s)
    end = min(track.shape[1], start + sound.shape[1])
    track[:, start:end] += np.float32(level) * sound[:, : end - start]


def times_of(length_s: float) -> Wave:
    """Return the time of each sample of a sound, shape `(samples,)`."""
    return np.arange(samples(length_s)) / RATE_HZ


def stereo(left: Wave, right: Wave | None = None) -> Sound:
    """Return a sound that ends without a click."""
    sound = np.stack([left, left if right is None else right])
    fade = min(sound.shape[1], samples(0.004))  # so that no tail ends in a click
    sound[:, sound.shape[1] - fade :] *= np.linspace(1.0, 0.0, fade)
    return sound.astype(np.float32)


def envelope(
    time_s: Wave,
    length_s: float,
    *,
    attack_s: float,
    decay_s: float,
    sustain: float,
    release_s: float,
) -> Wave:
    """Return the loudness of a note over time: a rise, a fall to `sustain`, an end."""
    rise = 1.0 - np.exp(-time_s / attack_s)
    fall = sustain + (1.0 - sustain) * np.exp(-time_s / decay_s)
    return rise * fall * np.exp(-np.maximum(time_s - length_s, 0.0) / release_s)


# Drums


def kick(noise: np.random.Generator) -> Sound:
    """A sine that falls from 190 to 48 Hz, with a click."""
    time_s = times_of(0.42)
    cycles = 48.0 * time_s + (190.0 - 48.0) / 42.0 * (1.0 - np.exp(-42.0 * time_s))
    click = noise.uniform(-1.0, 1.0, time_s.size) * np.exp(-time_s * 900.0)
    body = np.sin(2.0 * np.pi * cycles) * np.exp(-time_s * 8.5)
    return stereo(np.tanh(1.6 * body) + 0.25 * click)


def snare(noise: np.random.Generator) -> Sound:
    """Two modes of a drum head under a burst of bright noise, a little wide."""
    time_s = times_of(0.32)
    cycles = 182.0 * time_s + 1.1 * (1.0 - np.exp(-60.0 * time_s))
    head = np.sin(2.0 * np.pi * cycles) + 0.5 * np.sin(2.0 * np.pi * 1.72 * cycles)
    body = 0.55 * head * np.exp(-time_s * 26.0)
    white = noise.uniform(-1.0, 1.0, (2, time_s.size))
    # A burst between about 1 and 8 kHz: a mean of 3 takes the top, a difference over 6 the bottom.
    low = white[:, 2:] + white[:, 1:-1] + white[:, :-2]
    wires = np.zeros_like(white)
    wires[:, :-8] = 0.4 * (low[:, 6:] - low[:, :-6])
    wires *= np.exp(-time_s * 15.0)
    return stereo(body + 0.7 * wires[0] + 0.3 * wires[1], body + 0.3 * wires[0] + 0.7 * wires[1])


def hat(noise: np.random.Generator) -> Sound:
    """A closed hi-hat."""
    time_s = times_of(0.09)
    hiss = _bright(noise, time_s.size, times=2) * np.exp(-time_s * 70.0)
    return stereo(0.8 * hiss, hiss)


def open_hat(noise: np.random.Generator) -> Sound:
    """An open hi-hat."""
    time_s = times_of(0.34)
    hiss = _bright(noise, time_s.size, times=2) * np.exp(-time_s * 13.0)
    return stereo(hiss, 0.8 * hiss)


def _bright(noise: np.random.Generator, count: int, *, times: int = 1) -> Wave:
    """Return noise rising by 6 dB per octave for each time it is differenced, peak near 1."""
    white = noise.uniform(-1.0, 1.0, count + times)
    hiss: Wave = np.diff(white, n=times) / 1.6**times
    return hiss


# Pitched voices: a frequency in Hz and a length in seconds, in that order.


def round_bass(hz: float, length_s: float) -> Sound:
    """A sine with a few harmonics that fade: an upright bass from far away."""
    time_s = times_of(length_s + 0.15)
    shape = envelope(time_s, length_s, attack_s=0.006, decay_s=0.5, sustain=0.35, release_s=0.035)
    overtones = _saw(hz * time_s, 14) * (0.25 + np.exp(-time_s * 6.0))
    return stereo((np.sin(2.0 * np.pi * hz * time_s) + 0.6 * overtones) * shape)


def saw_bass(hz: float, length_s: float) -> Sound:
    """A saw whose brightness snaps shut, over a sine of the same pitch."""
    time_s = times_of(length_s + 0.08)
    shape = envelope(time_s, length_s, attack_s=0.003, decay_s=0.2, sustain=0.6, release_s=0.02)
    bright = np.exp(-time_s * 16.0)
    saw = bright * _saw(hz * time_s, 28) + (1.0 - bright) * _saw(hz * time_s, 5)
    return stereo((0.6 * saw + 0.6 * np.sin(2.0 * np.pi * hz * time_s)) * shape)


def keys(hz: float, length_s: float) -> Sound:
    """An electric piano by frequency modulation, its tremolo going from side to side."""
    time_s = times_of(length_s + 0.5)
    shape = envelope(time_s, length_s, attack_s=0.003, decay_s=0.9, sustain=0.2, release_s=0.12)
    turn = 2.0 * np.pi * hz * time_s
    tine = 0.25 * np.exp(-time_s * 14.0) * np.sin(14.0 * turn)
    tone = np.sin(turn + (0.6 + 1.6 * np.exp(-time_s * 4.5)) * np.sin(turn) + tine)
    sway = 0.18 * np.sin(2.0 * np.pi * 4.2 * time_s)
    return stereo(tone * shape * (1.0 - sway), tone * shape * (1.0 + sway))


def pad(hz: float, length_s: float) -> Sound:
    """Five detuned saws that open slowly, spread over the stereo field."""
    time_s = times_of(length_s + 0.9)
    shape = envelope(time_s, length_s, attack_s=0.16, decay_s=2.0, sustain=0.8, release_s=0.28)
    harmonics = _harmonics(hz, top_hz=5000.0)
    sides = [np.zeros_like(time_s), np.zeros_like(time_s)]
    for place, cents in zip(
        (0.0, 0.25, 0.5, 0.75, 1.0), (-11.0, 7.0, 0.0, -6.0, 12.0), strict=True
    ):
        # Phases far apart, or the five begin as one and beat.
        saw = _saw(hz * 2.0 ** (cents / 1200.0) * time_s + 0.37 * cents, harmonics)
        sides[0] += math.cos(place * math.pi / 2.0) * saw
        sides[1] += math.sin(place * math.pi / 2.0) * saw
    return stereo(0.3 * sides[0] * shape, 0.3 * sides[1] * shape)


def pluck(hz: float, length_s: float) -> Sound:
    """A plucked string: the higher the harmonic, the sooner it is gone."""
    time_s = times_of(length_s + 0.7)
    shape = envelope(time_s, length_s, attack_s=0.002, decay_s=0.5, sustain=0.12, release_s=0.3)
    bright = np.exp(-time_s * 9.0)
    full = _saw(hz * time_s, _harmonics(hz, top_hz=9000.0))
    tone = bright * full + (1.0 - bright) * _saw(hz * time_s, 3)
    late = np.roll(tone * shape, samples(0.0006))  # one side 0.6 ms later: width
    late[: samples(0.0006)] = 0.0
    return stereo(tone * shape, late)


def flute(hz: float, length_s: float) -> Sound:
    """A soft lead, nearly a sine, whose vibrato comes late."""
    time_s = times_of(length_s + 0.25)
    shape = envelope(time_s, length_s, attack_s=0.035, decay_s=1.5, sustain=0.75, release_s=0.07)
    turn = 2.0 * np.pi * vibrato_cycles(hz, time_s, depth_cents=22.0, rate_hz=5.1)
    return stereo((np.sin(turn) + 0.22 * np.sin(2.0 * turn) + 0.08 * np.sin(3.0 * turn)) * shape)


def saw_lead(hz: float, length_s: float) -> Sound:
    """Two saws a few cents apart, singing with vibrato."""
    time_s = times_of(length_s + 0.3)
    shape = envelope(time_s, length_s, attack_s=0.012, decay_s=0.6, sustain=0.65, release_s=0.09)
    cycles = vibrato_cycles(hz, time_s, depth_cents=28.0, rate_hz=5.6)
    harmonics = _harmonics(hz, top_hz=6500.0)
    left, right = _saw(cycles, harmonics), _saw(1.004 * cycles + 0.3, harmonics)
    return stereo((0.8 * left + 0.4 * right) * shape, (0.4 * left + 0.8 * right) * shape)


def vibrato_cycles(hz: float, time_s: Wave, *, depth_cents: float, rate_hz: float) -> Wave:
    """Return the phase of a note in cycles, whose vibrato begins after 0.12 s."""
    depth = depth_cents * np.clip((time_s - 0.12) / 0.35, 0.0, 1.0)
    cents = depth * np.sin(2.0 * np.pi * rate_hz * time_s)
    cycles: Wave = np.cumsum(hz * 2.0 ** (cents / 1200.0)) / RATE_HZ
    return cycles


def _harmonics(hz: float, *, top_hz: float) -> int:
    return max(1, int(top_hz / hz))


def _saw(cycles: Wave, harmonics: int) -> Wave:
    """Read a saw made of so many harmonics, so that none folds back, at phases in cycles."""
    return read_table(_saw_table(harmonics), cycles)


def read_table(table: Wave, cycles: Wave) -> Wave:
    """Read one period of a wave, its first sample again at the end, at phases in cycles."""
    place = (cycles % 1.0) * TABLE_SAMPLES
    before = place.astype(np.intp)
    wave: Wave = table[before] + (place - before) * (table[before + 1] - table[before])
    return wave


@cache
def _saw_table(harmonics: int) -> Wave:
    turn = 2.0 * np.pi * np.arange(TABLE_SAMPLES + 1) / TABLE_SAMPLES
    orders = np.arange(1, harmonics + 1)[:, np.newaxis]
    # Lanczos' factors take away the overshoot of a cut series.
    heights = np.sinc(orders / (harmonics + 1)) / orders
    table: Wave = 2.0 / np.pi * (heights * np.sin(orders * turn)).sum(axis=0)
    return table


# The mix


def with_room(dry: Sound, noise: np.random.Generator, *, wet: float, decay_s: float) -> Sound:
    """Add a room: convolution with decaying noise, darker than the music, of the same length."""
    time_s = times_of(1.3 * decay_s)
    response = noise.uniform(-1.0, 1.0, (2, time_s.size)) * 10.0 ** (-3.0 * time_s / decay_s)
    response[:, : samples(0.004)] = 0.0
    size = 1 << (dry.shape[1] + time_s.size - 1).bit_length()
    hz = np.fft.rfftfreq(size, 1.0 / RATE_HZ)
    # No mud below 250 Hz, no hiss above 4 kHz.
    colour = (hz / 250.0) / np.hypot(1.0, hz / 250.0) / np.hypot(1.0, hz / 4000.0)
    room = np.fft.rfft(response / np.sqrt((response**2).sum() / 2.0), size) * colour
    tail = np.fft.irfft(np.fft.rfft(dry, size) * room, size)[:, : dry.shape[1]]
    return dry + np.float32(wet) * tail.astype(np.float32)


def ducking(onsets_s: Iterable[float], length: int, *, depth: float) -> NDArray[np.float32]:
    """Return the gain, shape `(length,)`, of what every kick pushes down by `depth` in [0, 1]."""
    gain = np.ones(length, np.float32)
    for onset_s in onsets_s:
        start = samples(onset_s)
        since_s = np.arange(min(length - start, samples(0.4))) / RATE_HZ
        push = np.minimum(1.0, since_s / 0.008) * np.exp(-since_s * 9.0)
        gain[start : start + since_s.size] = 1.0 - depth * push
    return gain


def limiter_gain(mix: Sound, *, ceiling: float) -> NDArray[np.float32]:
    """Return the gain, shape `(samples,)`, that keeps a mix within ±`ceiling`.

    Each block's gain is the mean over a window of minima over the same window, so that it is
    smooth and never above what any sample of the block or its neighbours allows.
    """
    blocks = -(-mix.shape[1] // LIMITER_BLOCK_SAMPLES)
    loud = np.zeros(blocks * LIMITER_BLOCK_SAMPLES)
    loud[: mix.shape[1]] = np.abs(mix).max(axis=0)
    peaks = loud.reshape(blocks, LIMITER_BLOCK_SAMPLES).max(axis=1)
    allowed = np.minimum(1.0, ceiling / np.maximum(peaks, ceiling))
    hold, smooth = LIMITER_REACH_BLOCKS + 1, LIMITER_REACH_BLOCKS
    padded = np.pad(allowed, hold + smooth, mode="edge")
    held = np.lib.stride_tricks.sliding_window_view(padded, 2 * hold + 1).min(axis=1)
    gain = np.lib.stride_tricks.sliding_window_view(held, 2 * smooth + 1).mean(axis=1)
    centres = (np.arange(blocks) + 0.5) * LIMITER_BLOCK_SAMPLES
    smoothed: Wave = np.interp(np.arange(mix.shape[1]), centres, gain)
    return smoothed.astype(np.float32)


VOICES: Mapping[str, Voice] = MappingProxyType(
    {
        "round bass": round_bass,
        "saw bass": saw_bass,
        "keys": keys,
        "pad": pad,
        "pluck": pluck,
        "flute": flute,
        "saw lead": saw_lead,
    }
)
DRUMS: Mapping[str, Drum] = MappingProxyType(
    {"kick": kick, "snare": snare, "hat": hat, "open hat": open_hat}
)
