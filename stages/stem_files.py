"""The file of one stem, written in blocks: FLAC, WAV, Opus or MP3."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from stages.full_scale import Fall, fallen, to_steps
from stages.mp3_output import Mp3Output
from stages.sound_output import SoundOutput, naming
from stages.stem_formats import StemFormat, stored_rate_hz, suffix

# Small enough for the cache, and one call of libsndfile with a long input has crashed.
_BLOCK_FRAMES = 1 << 16

# libsndfile's measure is from 1 (6 kbit/s a channel) to 0 (256): this is 96.
_OPUS_COMPRESSION_LEVEL = 0.64

# What 32 bits hold.
_MAX_RIFF_BYTES = 2**32 - 1


class StemFile(Protocol):
    """One stem on its way to the disk. Its methods are called by one thread at a time.

    Raises:
        OSError: from `write` and `finish`: the file cannot be written.
    """

    def write(self, samples: NDArray[np.float32], falls: Sequence[Fall]) -> None:
        """Append samples of shape `(2, frames)`; by `falls` all that was written falls too."""

    def finish(self) -> None:
        """Complete the file."""

    def discard(self) -> None:
        """Release and delete it. Never raises."""


class Stopped(Exception):
    """The writer was discarded while one of its files was read back."""


def open_stem(
    folder: Path, name: str, *, format: StemFormat, sample_rate_hz: int, stop: threading.Event
) -> StemFile:
    """Return the new file of a stem. `stop` ends what takes long.

    Raises:
        OSError: it cannot be opened.
    """
    path = folder / f"{name}{suffix(format)}"
    if format == "wav32f":
        return WavFile(path, sample_rate_hz=sample_rate_hz)
    if format in ("opus", "mp3"):
        return LossyFile(path, format=format, sample_rate_hz=sample_rate_hz, stop=stop)
    bits = 16 if format == "flac16" else 24
    return FlacFile(path, sample_rate_hz=sample_rate_hz, bits=bits, stop=stop)


class FlacFile:
    """A FLAC of 16 or 24 bits, without dither: silence stays silence, and equal stems equal bytes.

    When the gain falls, what was written is read back, scaled and written anew.
    """

    def __init__(
        self, path: Path, *, sample_rate_hz: int, bits: int, stop: threading.Event
    ) -> None:
        self._path = path
        self._new_path = path.with_name(f".{path.name}.new")
        self._sample_rate_hz = sample_rate_hz
        self._bits = bits
        self._stop = stop
        self._exponent = 0
        self._frames = 0
        self._output = self._open(path)

    def write(self, samples: NDArray[np.float32], falls: Sequence[Fall]) -> None:
        exponents = [self._exponent, *(fall.exponent for fall in falls)]
        if falls and self._frames:
            self._scale_down(exponents)
        edges = [0, *(fall.frame for fall in falls), samples.shape[1]]
        for number, (start, end) in enumerate(pairwise(edges)):
            for block in _cut(samples[:, start:end]):
                steps = to_steps(block, bits=self._bits, exponents=exponents[number:])
                self._write_steps(self._output, steps)
        self._exponent = exponents[-1]
        self._frames += samples.shape[1]

    def finish(self) -> None:
        self._output.close()

    def read_blocks(self) -> Iterator[NDArray[np.int32]]:
        """Yield what was written, once it is finished: shape `(frames, 2)`, in the upper bits.

        Raises:
            OSError: it cannot be read.
            Stopped: the writer was discarded.
        """
        left = self._frames
        # What it says of a damaged file does not matter: what is missing does.
        with contextlib.suppress(soundfile.LibsndfileError):
            for block in self._decoded():
                if self._stop.is_set():
                    raise Stopped
                left -= len(block)
                yield block
        if left:
            what = f"{left} of {self._frames} samples cannot be read back"
            raise OSError(errno.EIO, what, os.fspath(self._path))

    def _decoded(self) -> Iterator[NDArray[np.int32]]:
        # A descriptor: soundfile refuses names that are not UTF-8.
        with self._path.open("rb") as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
            while len(block := file.read(_BLOCK_FRAMES, dtype="int32", always_2d=True)):
                yield block

    def discard(self) -> None:
        self._output.abort()
        _delete(self._path)
        _delete(self._new_path)

    def _open(self, path: Path) -> SoundOutput:
        return SoundOutput(
            path, sample_rate_hz=self._sample_rate_hz, format="FLAC", subtype=f"PCM_{self._bits}"
        )

    def _scale_down(self, exponents: Sequence[int]) -> None:
        """Write anew what was written at the first exponent, brought to the last."""
        self._output.close()
        scaled = self._open(self._new_path)
        try:
            for block in self.read_blocks():
                steps = (block >> (32 - self._bits)).astype(np.float32)
                self._write_steps(scaled, fallen(steps, exponents=exponents))
            with naming(self._path):
                self._new_path.replace(self._path)
        except BaseException:
            scaled.abort()
            raise
        self._output = scaled

    def _write_steps(self, output: SoundOutput, steps: NDArray[np.float32]) -> None:
        # libsndfile takes the upper bits of an int32, and clips floats in silence.
        upper = steps.astype(np.int32)
        upper <<= 32 - self._bits
        output.write(upper)


class WavFile:
    """A WAV of 32-bit floats, as they are; an RF64 beyond 4 GiB.

    Not by libsndfile: its PEAK chunk holds the time, so that equal stems would differ in bytes, and
    soundfile has neither the switch for that nor the one that makes an RF64 only where it must be.
    """

    def __init__(self, path: Path, *, sample_rate_hz: int) -> None:
        self._path = path
        self._sample_rate_hz = sample_rate_hz
        self._frames = 0
        with naming(path):
            self._file = path.open("wb")
            self._file.write(wav_header(0, sample_rate_hz))

    def write(self, samples: NDArray[np.float32], falls: Sequence[Fall] = ()) -> None:
        with naming(self._path):
            for block in _cut(samples):
                self._file.write(block.T.astype("<f4", order="C", copy=False).data)
        self._frames += samples.shape[1]

    def finish(self) -> None:
        with naming(self._path):
            self._file.seek(0)
            self._file.write(wav_header(self._frames, self._sample_rate_hz))
            self._file.close()

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        _delete(self._path)


def wav_header(frames: int, sample_rate_hz: int) -> bytes:
    """Return what stands before the samples of a stereo float WAV: 92 bytes at any length.

    Where 32 bits do not hold the size it is an RF64 (EBU Tech 3306): the room for its sizes is kept
    from the start by a chunk that readers skip.
    """
    data_bytes = 8 * frames
    riff_bytes = data_bytes + 92 - 8
    long = riff_bytes > _MAX_RIFF_BYTES
    sizes = struct.pack("<QQQI", riff_bytes, data_bytes, frames, 0) if long else bytes(28)
    return b"".join(
        (
            struct.pack("<4sI4s", b"RF64" if long else b"RIFF", _in_32_bits(riff_bytes), b"WAVE"),
            struct.pack("<4sI", b"ds64" if long else b"JUNK", len(sizes)) + sizes,
            # Format 3 is IEEE float.
            struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 2, sample_rate_hz, 8 * sample_rate_hz, 8, 32),
            struct.pack("<4sII", b"fact", 4, _in_32_bits(frames)),
            struct.pack("<4sI", b"data", 0xFFFFFFFF if long else data_bytes),
        )
    )


def _in_32_bits(size: int) -> int:
    return size if size <= _MAX_RIFF_BYTES else 0xFFFFFFFF


class LossyFile:
    """An Opus or MP3: a hidden FLAC until the gain is known, then encoded from it.

    A file that an encoder has seen cannot be scaled, and at gain 1 the encoders clip.
    """

    def __init__(
        self, path: Path, *, format: StemFormat, sample_rate_hz: int, stop: threading.Event
    ) -> None:
        self._path = path
        self._format = format
        self._sample_rate_hz = sample_rate_hz
        self._pcm = FlacFile(
            path.with_name(f".{path.name}.flac"), sample_rate_hz=sample_rate_hz, bits=24, stop=stop
        )

    def write(self, samples: NDArray[np.float32], falls: Sequence[Fall]) -> None:
        self._pcm.write(samples, falls)

    def finish(self) -> None:
        self._pcm.finish()
        output = self._open_output()
        try:
            for block in self._resampled():
                output.write(block)
            output.close()
        finally:
            output.abort()
        self._pcm.discard()

    def discard(self) -> None:
        self._pcm.discard()
        _delete(self._path)

    def _open_output(self) -> SoundOutput | Mp3Output:
        rate_hz = stored_rate_hz(self._format, self._sample_rate_hz)
        if self._format == "mp3":
            return Mp3Output(self._path, sample_rate_hz=rate_hz)
        return SoundOutput(
            self._path,
            sample_rate_hz=rate_hz,
            format="OGG",
            subtype="OPUS",
            compression_level=_OPUS_COMPRESSION_LEVEL,
        )

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        rate_hz = stored_rate_hz(self._format, self._sample_rate_hz)
        blocks = (
            block.astype(np.float32) * np.float32(2**-31) for block in self._pcm.read_blocks()
        )
        if rate_hz == self._sample_rate_hz:
            yield from blocks
            return
        resampler = soxr.ResampleStream(self._sample_rate_hz, rate_hz, 2, quality="HQ")
        for block in blocks:
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.empty((0, 2), dtype=np.float32), last=True)


def _cut(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, samples.shape[1], _BLOCK_FRAMES):
        yield samples[:, start : start + _BLOCK_FRAMES]


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
