"""F8 to F13: samples that are no numbers, too loud, none at all, too few or too many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.zoo import flac
from tests.zoo.animal import Animal
from tests.zoo.sound import RATE_HZ, Samples, encoded, music, written

_LOW_RATE_HZ = 8_000
_HOUR_FRAMES = 3600 * _LOW_RATE_HZ


def _with(values: list[float], *, seed: int, subtype: str = "FLOAT") -> Callable[[Path], object]:
    def make(file: Path) -> None:
        samples = music(seed=seed).astype(np.float64)
        samples[1_000 : 1_000 + len(values), 0] = values
        written(file, samples, subtype=subtype)

    return make


def _float(samples: Samples) -> Callable[[Path], object]:
    return lambda file: written(file, samples, subtype="FLOAT")


def _pcm(samples: Samples) -> Callable[[Path], object]:
    return lambda file: written(file, samples)


def _mp3(samples: Samples) -> Callable[[Path], object]:
    return lambda file: encoded(file, samples, "-c:a libmp3lame")


def _ten_hours(file: Path) -> None:
    frames = 10 * _HOUR_FRAMES
    file.write_bytes(flac.silence(frames, sample_rate_hz=_LOW_RATE_HZ, declared_frames=frames))


def _five_hours_undeclared(file: Path) -> None:
    file.write_bytes(flac.silence(5 * _HOUR_FRAMES, sample_rate_hz=_LOW_RATE_HZ, declared_frames=0))


def _a_minute_declared_as_a_second(file: Path) -> None:
    frames = 60 * _LOW_RATE_HZ
    silence = flac.silence(frames, sample_rate_hz=_LOW_RATE_HZ, declared_frames=_LOW_RATE_HZ)
    file.write_bytes(silence)


def _three_hours_of_eight_channels(file: Path) -> None:
    """Promise 66 GB of samples with a header and nothing behind it."""
    info = flac.stream_info(sample_rate_hz=192_000, channels=8, frames=3 * 3600 * 192_000)
    file.write_bytes(b"fLaC\x80\0\0\x22" + info + bytes(100))


_SILENCE = np.zeros((RATE_HZ, 2), dtype=np.float32)
_LAST_BIT = (np.sign(music(seed=220)) / 32_768).astype(np.float32)

ANIMALS = (
    Animal("F8", "nan.wav", _with([np.nan], seed=200)),
    Animal("F8", "infinite.wav", _with([np.inf, -np.inf], seed=201)),
    Animal("F8", "nan.aiff", _with([np.nan] * 3, seed=202)),
    Animal("F8", "nan-64-bit.wav", _with([np.nan], seed=203, subtype="DOUBLE")),
    Animal("F8", "beyond-32-bit.wav", _with([1e300], seed=204, subtype="DOUBLE")),
    Animal("F8", "nearly-infinite.wav", _with([3e38, -3e38], seed=205)),
    Animal("F8", "denormal.wav", _float(music(seed=206) * np.float32(1e-40))),
    Animal("F9", "clipped.wav", _pcm(np.clip(20 * music(seed=210), -1, 1))),
    Animal("F9", "above-full-scale.wav", _float(10 * music(seed=211))),
    Animal("F9", "far-above-full-scale.wav", _float(np.float32(1e10) * music(seed=212))),
    Animal("F9", "dc-offset.wav", _float(music(seed=213) + np.float32(0.5))),
    Animal("F9", "nothing-but-dc.wav", _float(_SILENCE + np.float32(0.5))),
    Animal("F10", "silence.wav", _pcm(_SILENCE)),
    Animal("F10", "silence-5-s.flac", _pcm(np.zeros((5 * RATE_HZ, 2), dtype=np.float32))),
    Animal("F10", "silence.mp3", _mp3(_SILENCE)),
    Animal("F10", "negative-zeros.wav", _float(-_SILENCE)),
    Animal("F10", "last-bit-only.wav", _pcm(_LAST_BIT)),
    Animal("F11", "one-sample.wav", _pcm(music(1 / RATE_HZ, seed=230))),
    Animal("F11", "one-sample.flac", _pcm(music(1 / RATE_HZ, seed=231))),
    Animal("F11", "one-frame.mp3", _mp3(music(0.02, seed=232))),
    Animal("F11", "10-ms.wav", _pcm(music(0.01, seed=233))),
    Animal("F11", "300-ms.wav", _pcm(music(0.3, seed=234))),
    Animal("F11", "300-ms.ogg", _pcm(music(0.3, seed=235))),
    Animal("F12", "ten-hours.flac", _ten_hours),
    Animal("F13", "undeclared-five-hours.flac", _five_hours_undeclared),
    Animal("F13", "declares-a-second-of-60.flac", _a_minute_declared_as_a_second),
    Animal("F13", "declares-66-gb.flac", _three_hours_of_eight_channels),
)
