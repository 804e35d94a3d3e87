"""A singer by synthesis: a pitch that is human, in a throat and a mouth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import signal

from pipeline.music.synth import RATE_HZ, Wave
from training.music import throat
from training.music.chance import between, happens, log_between
from training.music.mouth import moments
from training.music.tones import smoothed_noise
from training.music.vocal_lines import Syllable

_FRAMES_PER_S = RATE_HZ / throat.HOP


@dataclass(frozen=True)
class Singer:
    """A throat and a manner; lengths in s, depths in semitones."""

    formants: float  # 1 is a man of middling height
    presence_db: float
    tilt_hz: float
    breath: float
    hiss: float
    vibrato_hz: float
    vibrato: float
    vibrato_after_s: float
    portamento_s: float
    scoop: float
    jitter: float
    rasp: float
    glide_s: float


def singer(chance: np.random.Generator, *, formants: float) -> Singer:
    """Draw a singer of a size."""
    return Singer(
        formants=formants,
        presence_db=between(chance, -4.0, 9.0),
        tilt_hz=log_between(chance, 900.0, 9000.0),
        breath=log_between(chance, 0.01, 0.25),
        hiss=log_between(chance, 0.3, 1.6),
        vibrato_hz=between(chance, 4.6, 6.8),
        vibrato=between(chance, 0.0, 0.9) if happens(chance, 0.75) else 0.0,
        vibrato_after_s=between(chance, 0.1, 0.45),
        portamento_s=log_between(chance, 0.008, 0.06),
        scoop=between(chance, 0.0, 2.5) if happens(chance, 0.5) else 0.0,
        jitter=between(chance, 0.03, 0.15),
        rasp=between(chance, 0.2, 0.6) if happens(chance, 0.15) else 0.0,
        glide_s=between(chance, 0.03, 0.11),
    )


def sing(
    chance: np.random.Generator, who: Singer, syllables: Sequence[Syllable], length: int
) -> Wave:
    """Sing or speak syllables, shape `(length,)`."""
    if not syllables:
        return np.zeros(length)
    found = moments(chance, syllables, glide_s=who.glide_s)
    times_s = np.array([moment.at_s for moment in found])
    curves = np.array([moment.numbers() for moment in found]).T
    time_s = np.arange(length) / RATE_HZ
    voiced, noise = (np.interp(time_s, times_s, curve) for curve in curves[:2])
    hz = _pitch(chance, who, syllables, length)
    frame_s = throat.frame_times_s(length)
    hiss_hz, hiss_width_hz, *slow = (np.interp(frame_s, times_s, curve) for curve in curves[2:])
    response = throat.formants(
        np.stack(slow),
        np.interp(frame_s, time_s[:: throat.HOP], hz[:: throat.HOP]),
        size=who.formants,
        presence_db=who.presence_db,
    )
    hiss = chance.standard_normal(length) * noise * who.hiss
    voice = throat.filtered(voiced * _breathing(chance, who, hz), response)
    return voice + throat.filtered(hiss, throat.colour(hiss_hz, hiss_width_hz))


def _breathing(chance: np.random.Generator, who: Singer, hz: Wave) -> Wave:
    """Return what the glottis gives at a steady effort: pulses, and breath that they chop."""
    wave = throat.pulses(hz, tilt_hz=who.tilt_hz)
    if who.rasp:  # every second pulse weaker, as in a hoarse voice
        halves = np.pi * np.cumsum(hz) / RATE_HZ
        halves += 2.0 * smoothed_noise(chance, hz.size, rate_hz=20.0)
        wave *= 1.0 + who.rasp * np.sin(halves)
    breath = chance.standard_normal(hz.size) * (0.4 + np.abs(wave))
    return wave + who.breath * breath


def _pitch(
    chance: np.random.Generator, who: Singer, syllables: Sequence[Syllable], length: int
) -> Wave:
    """Return the pitch in Hz, shape `(length,)`."""
    frames = length // throat.HOP + 2
    time_s = np.arange(frames) / _FRAMES_PER_S
    pitch = np.full(frames, syllables[0].pitch)
    vibrato = np.zeros(frames)
    for one in syllables:
        start = max(0, int((one.start_s - 0.03) * _FRAMES_PER_S))
        since_s = time_s[start:] - one.start_s
        scoop = (
            who.scoop * np.exp(-np.maximum(since_s, 0.0) / 0.05) if happens(chance, 0.5) else 0.0
        )
        pitch[start:] = one.pitch - one.fall * np.clip(since_s / one.length_s, 0.0, 1.2) - scoop
        swell = np.clip((since_s - who.vibrato_after_s) / 0.25, 0.0, 1.0)
        vibrato[start:] = swell * between(chance, 0.5, 1.0)
    keep = np.exp(-1.0 / (who.portamento_s * _FRAMES_PER_S))
    for _ in range(2):  # twice, so that it leaves a note as smoothly as it arrives
        pitch = np.asarray(
            signal.lfilter([1.0 - keep], [1.0, -keep], pitch, zi=[keep * pitch[0]])[0]
        )
    wobble_hz = who.vibrato_hz * (
        1.0 + 0.04 * smoothed_noise(chance, frames, rate_hz=2.0, per_s=_FRAMES_PER_S)
    )
    pitch += who.vibrato * vibrato * np.sin(2.0 * np.pi * np.cumsum(wobble_hz) / _FRAMES_PER_S)
    pitch += 0.1 * smoothed_noise(chance, frames, rate_hz=2.5, per_s=_FRAMES_PER_S)
    pitch += who.jitter * smoothed_noise(chance, frames, rate_hz=60.0, per_s=_FRAMES_PER_S)
    slow = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    return np.interp(np.arange(length) / throat.HOP, np.arange(frames), slow)
