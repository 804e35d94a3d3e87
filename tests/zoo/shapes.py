"""F14 and F16: rates, sample formats and channels that are rare, and legal."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.zoo.animal import Animal
from tests.zoo.sound import music, written

_RATES_HZ = (4_000, 8_000, 11_025, 22_050, 48_000, 96_000, 192_000, 352_800, 768_000)
_DSD_RATE_HZ = 2_822_400
_DSF_BLOCK_BYTES = 4_096


def _rate(rate_hz: int, *, seed: int) -> Callable[[Path], object]:
    return lambda file: written(
        file, music(channels=1, sample_rate_hz=rate_hz, seed=seed), sample_rate_hz=rate_hz
    )


def _subtype(subtype: str, *, seed: int) -> Callable[[Path], object]:
    return lambda file: written(file, music(seed=seed), subtype=subtype)


def _channels(count: int, *, seed: int) -> Callable[[Path], object]:
    return lambda file: written(file, music(0.5, channels=count, seed=seed))


def _one_silent(file: Path) -> None:
    samples = music(seed=260)
    samples[:, 1] = 0
    written(file, samples)


def _out_of_phase(file: Path) -> None:
    samples = music(channels=1, seed=261)
    written(file, np.hstack([samples, -samples]))


def _dsd(file: Path) -> None:
    """Write a DSF of half a second: one bit a sample, by sigma-delta of the first order."""
    frames = _DSD_RATE_HZ // 2 // (8 * _DSF_BLOCK_BYTES) * 8 * _DSF_BLOCK_BYTES
    wave = 0.4 * np.sin(np.arange(frames) * (2 * np.pi * 440 / _DSD_RATE_HZ)) + 0.5
    bits = np.diff(np.floor(np.cumsum(wave)), prepend=0).astype(np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    body = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 1, 1, _DSD_RATE_HZ, 1, frames,
                       _DSF_BLOCK_BYTES, 0)  # fmt: skip
    body += struct.pack("<4sQ", b"data", 12 + len(packed)) + packed
    file.write_bytes(struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(body), 0) + body)


_SUBTYPES = {
    "8-bit.wav": "PCM_U8", "24-bit.wav": "PCM_24", "32-bit.wav": "PCM_32", "64-bit.wav": "DOUBLE",
    "mu-law.wav": "ULAW", "ima-adpcm.wav": "IMA_ADPCM", "ms-adpcm.wav": "MS_ADPCM",
    "gsm.wav": "GSM610",
}  # fmt: skip
_COUNTS = {
    "mono.wav": 1, "3.wav": 3, "4.wav": 4, "5.1.flac": 6, "7.1.flac": 8, "16.wav": 16,
    "64.wav": 64, "65.wav": 65, "5.1.ogg": 6,
}  # fmt: skip


def _of_subtype(name: str, subtype: str, *, seed: int) -> Animal:
    if subtype == "GSM610":  # is defined for one channel
        mono = music(channels=1, sample_rate_hz=8_000, seed=seed)
        return Animal(
            "F14",
            name,
            lambda file: written(file, mono, subtype=subtype, sample_rate_hz=8_000),
        )
    return Animal("F14", name, _subtype(subtype, seed=seed))


ANIMALS = (
    *(
        Animal("F14", f"{rate_hz}-hz.wav", _rate(rate_hz, seed=240 + number))
        for number, rate_hz in enumerate(_RATES_HZ)
    ),
    *(
        _of_subtype(name, subtype, seed=250 + number)
        for number, (name, subtype) in enumerate(_SUBTYPES.items())
    ),
    Animal("F14", "dsd.dsf", _dsd),
    *(
        Animal("F16", f"channels-{name}", _channels(count, seed=270 + number))
        for number, (name, count) in enumerate(_COUNTS.items())
    ),
    Animal("F16", "one-channel-silent.wav", _one_silent),
    Animal("F16", "out-of-phase.wav", _out_of_phase),
)
