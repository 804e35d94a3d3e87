"""The pages of an Ogg file. Vorbis decoders hide a damaged page: only its checksum tells."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from typing import BinaryIO

_BEGINS, _ENDS = 0x02, 0x04

# Ogg's CRC is zlib's polynomial with the bits of every byte in the other order, started at zero.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Pages:
    """What the pages of a file show.

    `damage` describes the first bad page, `cut` a last page that the file's end cuts off. `ended`:
    the last page is marked as the last, which recorded radio often lacks. `chained`: several
    streams one after the other, of which libsndfile plays the first only.
    """

    damage: str | None
    cut: str | None
    ended: bool
    chained: bool


def read_pages(fd: int) -> Pages:
    """Walk all pages of an open Ogg file, checking each. The position is left where it was.

    Raises:
        OSError: the file cannot be read.
    """
    position = os.lseek(fd, 0, os.SEEK_CUR)
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        with os.fdopen(os.dup(fd), "rb", buffering=1 << 20) as file:
            return _walk(file)
    finally:
        os.lseek(fd, position, os.SEEK_SET)


def _walk(file: BinaryIO) -> Pages:
    damage: str | None = None
    started = ended = chained = False
    offset = 0
    while header := file.read(27):
        if header[:4] != b"OggS":
            if not ended:  # what follows the last page is some other program's tag
                damage = damage or f"no page where one should begin, at byte {offset}"
            break
        table = file.read(header[26]) if len(header) == 27 else b""
        body = file.read(sum(table))
        if len(header) + len(table) + len(body) < _page_bytes(header, table):
            return Pages(damage, f"the last page, at byte {offset}, is cut off", False, chained)
        if not _is_whole(header, table + body):
            damage = damage or f"the page at byte {offset} fails its checksum"
        begins = bool(header[5] & _BEGINS)
        chained = chained or (begins and started)
        started = started or not begins
        ended = bool(header[5] & _ENDS)
        offset += 27 + len(table) + len(body)
    return Pages(damage, None, ended, chained)


def _page_bytes(header: bytes, table: bytes) -> int:
    segments = header[26] if len(header) == 27 else 1
    return 27 + segments + sum(table)


def _is_whole(header: bytes, rest: bytes) -> bool:
    page = header[:22] + bytes(4) + header[26:] + rest
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2) == int.from_bytes(header[22:26], "little")
