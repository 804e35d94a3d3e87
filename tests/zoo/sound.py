"""What animals are made of: samples, and files of them by libsndfile or ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from stages.ffmpeg import find_ffmpeg

RATE_HZ = 44_100

Samples = NDArray[np.float32]


class NoFfmpeg(Exception):
    """There is no ffmpeg here, and without it many an animal cannot be made."""


def music(
    seconds: float = 1.0, *, channels: int = 2, sample_rate_hz: int = RATE_HZ, seed: int = 0
) -> Samples:
    """Return a tone in noise, shape `(frames, channels)`, at about -10 dBFS: no codec loses it."""
    frames = round(seconds * sample_rate_hz)
    chance = np.random.default_rng(seed)
    hz = chance.uniform(200, 1200)
    tone = 0.3 * np.sin(np.arange(frames) * (2 * np.pi * hz / sample_rate_hz))
    hiss = chance.normal(0, 0.04, (frames, channels))
    both: NDArray[np.float64] = tone[:, np.newaxis] + hiss
    return both.astype(np.float32)


def written(
    file: Path,
    samples: Samples | NDArray[np.float64],
    *,
    subtype: str | None = None,
    container: str | None = None,
    sample_rate_hz: int = RATE_HZ,
) -> Path:
    """Write with libsndfile; the container is that of the name unless it is given."""
    sf.write(file, samples, sample_rate_hz, subtype=subtype, format=container)
    return file


def encoded(
    file: Path, samples: Samples, options: str = "", *, sample_rate_hz: int = RATE_HZ
) -> Path:
    """Write with ffmpeg; `options` of its output, in which further inputs may stand too.

    Raises:
        NoFfmpeg: there is none.
        CalledProcessError: it cannot do this.
    """
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise NoFfmpeg("Install it: apt install ffmpeg")
    source = written(file.with_name("source.wav"), samples, sample_rate_hz=sample_rate_hz)
    quiet = (ffmpeg.path, "-nostdin", "-loglevel", "error", "-y")
    # bitexact: the same zoo every time, without the encoder's date and chance numbers.
    last = (*options.split(), "-flags", "+bitexact", "-fflags", "+bitexact", str(file))
    subprocess.run([*quiet, "-i", str(source), *last], check=True)
    return file


def shortened(file: Path, share: float = 0.6) -> Path:
    """Keep the first part of a file."""
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    return file


def flipped(file: Path, *, at: float = 0.5, count: int = 400) -> Path:
    """Turn bits over in the middle of a file."""
    content = bytearray(file.read_bytes())
    start = int(len(content) * at)
    content[start : start + count] = bytes(byte ^ 0x5A for byte in content[start : start + count])
    file.write_bytes(content)
    return file


def overwritten(file: Path, offset: int, new: bytes) -> Path:
    """Put other bytes into a file."""
    content = bytearray(file.read_bytes())
    content[offset : offset + len(new)] = new
    file.write_bytes(content)
    return file


def replaced(file: Path, old: bytes, new: bytes) -> Path:
    """Replace the first of some bytes that must be there."""
    content = file.read_bytes()
    if old not in content:
        raise ValueError(f"{old!r} is not in {file}")
    file.write_bytes(content.replace(old, new, 1))
    return file
