"""The boxes that an MP4 file is made of: whether its end is missing."""

from __future__ import annotations

import os
import struct

# What stands at the top of a file. Behind the last of them other programs leave tags of their own.
_TOP = frozenset(
    b"ftyp styp moov moof mfra mdat free skip wide sidx ssix uuid meta pdin prft emsg".split()
)
_HEADER_BYTES = 8
_LONG_HEADER_BYTES = 16
_MAX_BOXES = 100_000


def cut_box(fd: int) -> str | None:
    """Return words when a box of an open MP4 file should be longer than the file is, else None.

    Raises:
        OSError: the file cannot be read.
    """
    size, offset = os.fstat(fd).st_size, 0
    for _ in range(_MAX_BOXES):
        header = os.pread(fd, _LONG_HEADER_BYTES, offset)
        if len(header) < _HEADER_BYTES or header[4:8] not in _TOP:
            return None
        length = _length(header)
        if length == 0:  # goes on to the end of the file
            return None
        if offset + length > size:
            name = header[4:8].decode()
            return f"its box {name} should have {length} bytes, {size - offset} are there"
        offset += length
    return None


def _length(header: bytes) -> int:
    (length,) = struct.unpack(">I", header[:4])
    if length == 1 and len(header) == _LONG_HEADER_BYTES:
        (length,) = struct.unpack(">Q", header[8:])
        return max(int(length), _LONG_HEADER_BYTES)
    return max(int(length), _HEADER_BYTES) if length else 0
