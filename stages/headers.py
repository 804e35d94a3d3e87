"""What a file's header promises, read from the bytes: libsndfile clips its own count to the file's size."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# sox writes this into a WAV that it streams, rounded down to whole frames (`MS_UNSPEC` in its wav.c).
_SOX_STREAMED_BYTES = 0x7FFFF000
_STREAMED_BYTES = (0, 0xFFFFFFFF)

_WAVE_EXTENSIBLE = 0xFFFE
# PCM, IEEE float, A-law, mu-law: one block is one frame. In any other a block holds many frames.
_WAVE_FRAME_CODECS = (1, 3, 6, 7)
_AIFC_FRAME_CODECS = frozenset(
    b"NONE,twos,sowt,raw ,in24,in32,fl32,FL32,fl64,FL64,alaw,ALAW,ulaw,ULAW".split(b",")
)

# A header with more chunks than this before its audio is not worth the walk.
_MAX_CHUNKS = 10_000


@dataclass(frozen=True)
class Declared:
    """What a header says, None where it says nothing or cannot know (a stream)."""

    frames: int | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    sample_bits: int | None = None


def read_declared(fd: int, container: str | None) -> Declared:
    """Return what the header of an open WAV, RF64, AIFF or AU file says; nothing for other kinds.

    Raises:
        OSError: the file cannot be read.
    """
    if container in ("wav", "rf64"):
        return _wave(fd)
    if container == "aiff":
        return _aiff(fd)
    if container == "au":
        return _au(fd)
    return Declared()


def _chunks(fd: int, byte_order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, declared size and offset of the content of every chunk of a RIFF or IFF file."""
    offset = 12
    for _ in range(_MAX_CHUNKS):
        header = os.pread(fd, 8, offset)
        if len(header) < 8:
            return
        size = int(struct.unpack(byte_order + "I", header[4:])[0])
        yield header[:4], size, offset + 8
        offset += 8 + size + size % 2


def _wave(fd: int) -> Declared:
    form = _WaveForm()
    long_data_bytes: int | None = None
    for name, size, offset in _chunks(fd, "<"):
        if name == b"ds64":
            content = os.pread(fd, 16, offset)
            long_data_bytes = struct.unpack("<8xQ", content)[0] if len(content) == 16 else None
        elif name == b"fmt ":
            form = _wave_form(os.pread(fd, min(size, 40), offset))
        elif name == b"data":
            data_bytes = long_data_bytes if size == 0xFFFFFFFF and long_data_bytes else size
            return form.declared(_wave_frames(data_bytes, form))
    return form.declared(None)


@dataclass(frozen=True)
class _WaveForm:
    """The content of a `fmt ` chunk, as far as it is there."""

    codec: int | None = None
    channels: int | None = None
    sample_rate_hz: int | None = None
    block_bytes: int = 0
    sample_bits: int | None = None

    def declared(self, frames: int | None) -> Declared:
        bits = self.sample_bits if self.codec in _WAVE_FRAME_CODECS else None
        return Declared(frames, self.sample_rate_hz, self.channels, bits)


def _wave_form(content: bytes) -> _WaveForm:
    if len(content) < 16:
        return _WaveForm()
    codec, channels, rate_hz, _, block_bytes, bits = struct.unpack("<HHIIHH", content[:16])
    if codec == _WAVE_EXTENSIBLE and len(content) >= 26:
        codec = struct.unpack("<H", content[24:26])[0]
    return _WaveForm(codec, channels, rate_hz, block_bytes, bits)


def _wave_frames(data_bytes: int, form: _WaveForm) -> int | None:
    if form.codec not in _WAVE_FRAME_CODECS or form.block_bytes == 0:
        return None
    if data_bytes in _STREAMED_BYTES:
        return None
    if _SOX_STREAMED_BYTES - form.block_bytes < data_bytes <= _SOX_STREAMED_BYTES:
        return None
    return data_bytes // form.block_bytes


def _aiff(fd: int) -> Declared:
    compressed = os.pread(fd, 12, 0)[8:12] == b"AIFC"
    for name, size, offset in _chunks(fd, ">"):
        if name != b"COMM":
            continue
        content = os.pread(fd, 22, offset)[:size]
        if len(content) < 18:
            return Declared()
        channels, frames = struct.unpack(">HI", content[:6])
        countable = not compressed or content[18:22] in _AIFC_FRAME_CODECS
        return Declared(frames if countable and frames else None, None, channels)
    return Declared()


def _au(fd: int) -> Declared:
    # Its length is left to the decoders: "unknown" is legal there, and common.
    header = os.pread(fd, 24, 0)
    if len(header) < 24:
        return Declared()
    sample_rate_hz, channels = struct.unpack(">16xII", header)
    return Declared(None, sample_rate_hz, channels)
