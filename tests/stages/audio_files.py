"""Audio files for tests, made when they are needed."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from stages.base import Reason, TrackUnusable
from stages.decode import Decoded, DecodeLimits, decode
from stages.ffmpeg import find_ffmpeg

RATE_HZ = 44_100


def noise(
    seconds: float = 2.0, *, channels: int = 2, sample_rate_hz: int = RATE_HZ
) -> NDArray[np.int16]:
    """Return a tone in noise, shape `(frames, channels)`: no codec can make it vanish."""
    frames = round(seconds * sample_rate_hz)
    tone = 9_000 * np.sin(np.arange(frames) * (2 * np.pi * 440 / sample_rate_hz))
    hiss = np.random.default_rng(7).normal(0, 1_500, (frames, channels))
    both: NDArray[np.float64] = tone[:, np.newaxis] + hiss
    return both.astype(np.int16)


def written(file: Path, samples: NDArray[np.generic], **options: str | int) -> Path:
    """Write with libsndfile, at 44.1 kHz unless `samplerate` says another."""
    settings = {"samplerate": RATE_HZ, **options}
    sf.write(file, samples, **settings)
    return file


def encoded(file: Path, samples: NDArray[np.int16], *options: str) -> Path:
    """Write with ffmpeg, for the formats that libsndfile has not."""
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        pytest.skip("no ffmpeg on this machine")
    wav = written(file.with_name(file.name + ".source.wav"), samples)
    quiet = (ffmpeg.path, "-nostdin", "-loglevel", "error", "-y")
    subprocess.run([*quiet, "-i", str(wav), *options, str(file)], check=True)
    return file


def patched(file: Path, offset: int, layout: str, *values: int) -> Path:
    """Overwrite bytes of a file in place."""
    data = bytearray(file.read_bytes())
    struct.pack_into(layout, data, offset, *values)
    file.write_bytes(data)
    return file


def scrambled(file: Path, *, count: int = 400) -> Path:
    """Turn bits over in the middle of a file."""
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + count] = bytes(byte ^ 0x5A for byte in data[middle : middle + count])
    file.write_bytes(data)
    return file


def cut(file: Path, share: float = 0.6) -> Path:
    """Keep the first part of a file."""
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    return file


def read(file: Path, *, allow_partial: bool = False) -> Decoded:
    """Decode with a choice about partial files."""
    return decode(bytes(file), limits=DecodeLimits(allow_partial=allow_partial))


def refusal(file: Path, *, limits: DecodeLimits | None = None) -> tuple[Reason, str]:
    """Return why a file cannot be decoded; fail when it can."""
    with pytest.raises(TrackUnusable) as caught:
        decode(bytes(file), limits=limits or DecodeLimits())
    return caught.value.reason, caught.value.detail


def scaled(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return what decoding gives for 16-bit samples, exactly."""
    return np.ascontiguousarray(samples.T, dtype=np.float32) / np.float32(32_768)
