"""The formats that stems are written in, light enough for `pipeline status` to import."""

from __future__ import annotations

from typing import Literal, TypeAlias

StemFormat: TypeAlias = Literal["flac24", "flac16", "wav32f", "opus", "mp3"]

_SUFFIXES: dict[StemFormat, str] = {
    "flac24": ".flac",
    "flac16": ".flac",
    "wav32f": ".wav",
    "opus": ".opus",
    "mp3": ".mp3",
}

# Opus knows these and no others; MP3 has 320 kbit/s at these only.
_RATES_HZ: dict[StemFormat, tuple[int, ...]] = {
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
    "mp3": (32_000, 44_100, 48_000),
}


def suffix(format: StemFormat) -> str:
    """Return the end of the file names, with its dot."""
    return _SUFFIXES[format]


def lossless(format: StemFormat) -> bool:
    """Return whether at most 24 bits lie between the files and the model's values.

    `flac16` is exact to the sample, but keeps 98 dB and not the 100 that are promised.
    """
    return format in ("flac24", "wav32f")


def stored_rate_hz(format: StemFormat, sample_rate_hz: int) -> int:
    """Return the rate of the files: the stems' own, or 48 kHz where the format has no such rate."""
    rates_hz = _RATES_HZ.get(format, (sample_rate_hz,))
    return sample_rate_hz if sample_rate_hz in rates_hz else 48_000
