"""What a mixing desk does to a sound of shape `(2, samples)`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from pipeline.music.synth import RATE_HZ, Sound, Wave, samples

_BLOCK = 128


def shelf(hz: float, gain_db: float, *, high: bool) -> Wave:
    """Return a shelf of the first order as second-order sections, shape `(1, 6)`."""
    gain = 10.0 ** (gain_db / 20.0)
    warp = math.tan(math.pi * hz / RATE_HZ)
    root = math.sqrt(gain)
    top, bottom = (root, 1.0 / root) if high else (1.0 / root, root)
    # H(s) = (top s + bottom w) / (s + w), scaled so that the middle of the slope is at 0 dB.
    b0, b1, a1 = top + bottom * warp, bottom * warp - top, warp - 1.0
    sections: Wave = np.array([[b0, b1, 0.0, 1.0 + warp, a1, 0.0]]) / (1.0 + warp)
    return sections


def peak(hz: float, gain_db: float, *, q: float) -> Wave:
    """Return a bell as second-order sections, shape `(1, 6)` (Bristow-Johnson's cookbook)."""
    turn = 2.0 * math.pi * hz / RATE_HZ
    gain = 10.0 ** (gain_db / 40.0)
    alpha = math.sin(turn) / (2.0 * q)
    middle = -2.0 * math.cos(turn)
    over, under = alpha * gain, alpha / gain
    section = np.array([1.0 + over, middle, 1.0 - over, 1.0 + under, middle, 1.0 - under])
    sections: Wave = section[np.newaxis] / (1.0 + under)
    return sections


def passing(low_hz: float | None, high_hz: float | None, *, order: int = 2) -> Wave:
    """Return Butterworth's filter that lets a band through, as second-order sections."""
    parts = []
    if low_hz is not None:
        parts.append(signal.butter(order, low_hz, "highpass", fs=RATE_HZ, output="sos"))
    if high_hz is not None:
        parts.append(signal.butter(order, high_hz, "lowpass", fs=RATE_HZ, output="sos"))
    return np.vstack(parts)


def filtered(sound: Sound, *sections: Wave) -> Sound:
    """Return a sound behind some filters, one after another."""
    return np.asarray(signal.sosfilt(np.vstack(sections), sound, axis=-1), np.float32)


def saturated(sound: Sound, *, drive: float, bias: float = 0.0) -> Sound:
    """Return a sound through a soft clip, as loud as before; `drive` 1 is mild, 20 a fuzz box."""
    loud = _rms(sound)
    if loud == 0.0:
        return sound
    clipped: Sound = np.tanh(sound * np.float32(drive / (3.0 * loud)) + np.float32(bias))
    clipped -= np.float32(math.tanh(bias))
    clipped *= np.float32(loud / max(_rms(clipped), 1e-9))
    return clipped


def compressing(
    sound: Sound, *, threshold_db: float, ratio: float, release_s: float
) -> NDArray[np.float32]:
    """Return the gain, shape `(samples,)`, that pushes down what is `threshold_db` above the mean."""
    loud = _rms(sound)
    if loud == 0.0:
        return np.ones(sound.shape[1], np.float32)
    blocks = sound.shape[1] // _BLOCK
    power = (sound[:, : blocks * _BLOCK] ** 2).mean(axis=0).reshape(blocks, _BLOCK).mean(axis=1)
    keep = math.exp(-_BLOCK / (release_s * RATE_HZ))
    slow = np.asarray(signal.lfilter([1.0 - keep], [1.0, -keep], power), np.float64)
    over_db = 10.0 * np.log10(np.maximum(slow, 1e-12) / loud**2) - threshold_db
    gain = 10.0 ** (-np.maximum(over_db, 0.0) * (1.0 - 1.0 / ratio) / 20.0)
    return _stretched(gain, sound.shape[1])


def _stretched(gain: Wave, length: int) -> NDArray[np.float32]:
    places = (np.arange(gain.size) + 0.5) * _BLOCK
    return np.interp(np.arange(length), places, gain).astype(np.float32)


def chorused(sound: Sound, *, delay_s: float, depth_s: float, rate_hz: float, wet: float) -> Sound:
    """Add a copy whose delay sways, each side in its own time: a chorus, short a flanger."""
    time = np.arange(sound.shape[1])
    mixed = np.empty_like(sound)
    for side, phase in enumerate((0.0, 1.9)):
        sway = np.sin(2.0 * np.pi * rate_hz / RATE_HZ * time + phase)
        place = np.maximum(time - RATE_HZ * (delay_s + depth_s * sway), 0.0)
        before = place.astype(np.intp)
        part = (place - before).astype(np.float32)
        after = np.minimum(before + 1, time.size - 1)
        late = sound[side, before] * (1.0 - part) + sound[side, after] * part
        mixed[side] = sound[side] + np.float32(wet) * late
    return mixed


def swaying(sound: Sound, *, rate_hz: float, depth: float, sides: float) -> Sound:
    """Let the level go up and down, `sides` cycles later on the right: tremolo or auto-pan."""
    turn = 2.0 * np.pi * rate_hz / RATE_HZ * np.arange(sound.shape[1])
    waves = np.stack([np.sin(turn), np.sin(turn + 2.0 * np.pi * sides)])
    return sound * (1.0 - depth * (0.5 + 0.5 * waves)).astype(np.float32)


def echoed(sound: Sound, *, delay_s: float, feedback: float, wet: float, crossed: bool) -> Sound:
    """Add repeats that grow darker; crossed, they jump from side to side."""
    mixed = sound.copy()
    shift = samples(delay_s)
    repeat = filtered(sound, passing(180.0, 5000.0, order=1)) * np.float32(wet)
    for number in range(1, 6):
        if shift * number >= sound.shape[1]:
            break
        repeat = repeat[::-1] if crossed else repeat
        mixed[:, shift * number :] += repeat[:, : -shift * number]
        repeat = repeat * np.float32(feedback)
    return mixed


def roomy(
    dry: Sound,
    chance: np.random.Generator,
    *,
    wet: float,
    decay_s: float,
    low_hz: float = 250.0,
    high_hz: float = 5000.0,
) -> Sound:
    """Add a room of decaying coloured noise after a few early reflections."""
    time_s = np.arange(samples(decay_s)) / RATE_HZ
    response = chance.standard_normal((2, time_s.size)) * 10.0 ** (-3.0 * time_s / decay_s)
    response[:, : samples(0.008 + 0.01 * decay_s)] = 0.0
    for _ in range(6):
        response[:, int(chance.integers(samples(0.004), samples(0.04)))] += chance.normal(0, 9.0, 2)
    coloured = filtered(response.astype(np.float32), passing(low_hz, high_hz, order=1))
    coloured /= np.sqrt((coloured**2).sum() / 2.0)
    tail = signal.oaconvolve(dry, coloured, axes=1)[:, : dry.shape[1]]
    return dry + np.float32(wet) * tail.astype(np.float32)


def widened(sound: Sound, width: float) -> Sound:
    """Scale what differs between the sides: 0 is mono, 1 as it is."""
    middle, side = (sound[0] + sound[1]) / 2.0, (sound[0] - sound[1]) * np.float32(width / 2.0)
    return np.stack([middle + side, middle - side])


def panned(sound: Sound, place: float) -> Sound:
    """Move a sound to `place`, from -1 (left) to 1, at the same power."""
    angle = (place + 1.0) * math.pi / 4.0
    sides = np.array([[math.cos(angle)], [math.sin(angle)]], np.float32)
    return sound * (sides * np.float32(math.sqrt(2.0)))


def _rms(sound: Sound) -> float:
    return math.sqrt(float(np.mean(sound**2, dtype=np.float64)))
