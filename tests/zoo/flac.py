"""FLAC written by hand: hours of silence in a few kilobytes, headers that lie, tags of any size."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import starmap

BLOCK_FRAMES = 65_535
_COMMENTS = 4
_STREAM_INFO_BYTES = 34


def silence(frames: int, *, sample_rate_hz: int, declared_frames: int) -> bytes:
    """Return a mono file of so much silence: 15 bytes for each 65,535 samples.

    `declared_frames` is what its header says; 0 means that it does not say.
    """
    blocks = -(-frames // BLOCK_FRAMES)
    head = b"fLaC" + bytes((0x80,)) + _STREAM_INFO_BYTES.to_bytes(3, "big")
    info = stream_info(sample_rate_hz=sample_rate_hz, channels=1, frames=declared_frames)
    return head + info + b"".join(map(_constant_block, range(blocks)))


def stream_info(*, sample_rate_hz: int, channels: int, frames: int) -> bytes:
    """Return the block STREAMINFO of 16-bit audio, without an MD5."""
    packed = sample_rate_hz << 44 | (channels - 1) << 41 | 15 << 36 | frames
    return struct.pack(">HH3s3sQ16x", BLOCK_FRAMES, BLOCK_FRAMES, bytes(3), bytes(3), packed)


def _constant_block(number: int) -> bytes:
    # Block size in 16 bits at the end of the header; rate and sample size as in STREAMINFO; mono.
    header = b"\xff\xf8\x70\x00" + chr(number).encode() + struct.pack(">H", BLOCK_FRAMES - 1)
    header += _crc(header, bits=8, polynomial=0x07).to_bytes(1, "big")
    frame = header + b"\x00\x00\x00"  # subframe "constant", value 0
    return frame + _crc(frame, bits=16, polynomial=0x8005).to_bytes(2, "big")


def _crc(content: bytes, *, bits: int, polynomial: int) -> int:
    value, top, mask = 0, 1 << (bits - 1), (1 << bits) - 1
    for byte in content:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value


def with_comments(content: bytes, comments: Iterable[bytes]) -> bytes:
    """Return a FLAC file with these fields (`NAME=value`) in place of the ones it has."""
    fields = list(comments)
    block = struct.pack("<I", 4) + b"made" + struct.pack("<I", len(fields))
    block += b"".join(struct.pack("<I", len(field)) + field for field in fields)
    kept, audio = _blocks(content)
    blocks = [kept[0], (_COMMENTS, block), *(one for one in kept[1:] if one[0] != _COMMENTS)]
    *before, last = starmap(_packed, blocks)
    return b"fLaC" + b"".join(before) + bytes((last[0] | 0x80,)) + last[1:] + audio


def _packed(kind: int, block: bytes) -> bytes:
    return bytes((kind,)) + len(block).to_bytes(3, "big") + block


def _blocks(content: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return kind and content of each metadata block, and the audio behind them."""
    found: list[tuple[int, bytes]] = []
    offset, last = 4, False
    while not last:
        last, kind = bool(content[offset] & 0x80), content[offset] & 0x7F
        size = int.from_bytes(content[offset + 1 : offset + 4], "big")
        found.append((kind, content[offset + 4 : offset + 4 + size]))
        offset += 4 + size
    return found, content[offset:]
