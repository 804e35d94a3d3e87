"""F23: tags that are huge, hostile or broken. The music beside them is sound."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.zoo.animal import Animal
from tests.zoo.flac import with_comments
from tests.zoo.sound import encoded, music, written

_HTML = b"<script>alert(document.cookie)</script><img src=x onerror=alert(1)>"


def id3(frames: Mapping[bytes, bytes], *, claimed_bytes: int | None = None) -> bytes:
    """Return an ID3v2.4 tag; `claimed_bytes` is what it says of its own length."""
    body = b"".join(
        name + _syncsafe(len(content)) + b"\0\0" + content for name, content in frames.items()
    )
    return b"ID3\4\0\0" + _syncsafe(len(body) if claimed_bytes is None else claimed_bytes) + body


def _syncsafe(number: int) -> bytes:
    """Return a number in four bytes of seven bits, none of which looks like a frame's beginning."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def bare_mp3(file: Path, *, seed: int, seconds: float = 1.0) -> Path:
    """Write an MP3 of 128 kbit/s with nothing but frames."""
    plain = "-c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0"
    return encoded(file, music(seconds, seed=seed), plain)


def _tagged(tag: bytes, *, seed: int) -> Callable[[Path], object]:
    def make(file: Path) -> None:
        file.write_bytes(tag + bare_mp3(file, seed=seed).read_bytes())

    return make


def _commented(fields: list[bytes], *, seed: int) -> Callable[[Path], object]:
    def make(file: Path) -> None:
        file.write_bytes(with_comments(written(file, music(seed=seed)).read_bytes(), fields))

    return make


def _cyclic_chunks(file: Path) -> None:
    """Put lists in lists, 500 deep."""
    wav = written(file, music(seed=306)).read_bytes()
    nested = b""
    for _ in range(500):
        nested = struct.pack("<4sI4s", b"LIST", 4 + len(nested), b"INFO") + nested
    riff = wav[8:36] + nested + wav[36:]
    file.write_bytes(b"RIFF" + struct.pack("<I", len(riff)) + riff)


def _many_chunks(file: Path) -> None:
    wav = written(file, music(seed=307)).read_bytes()
    riff = wav[8:36] + 9_000 * b"note\0\0\0\0" + wav[36:]
    file.write_bytes(b"RIFF" + struct.pack("<I", len(riff)) + riff)


def _deep_boxes(file: Path) -> None:
    m4a = encoded(file, music(seed=308), "-c:a aac").read_bytes()
    box = b""
    for _ in range(5_000):
        box = struct.pack(">I", 8 + len(box)) + b"udta" + box
    file.write_bytes(m4a + box)


def _broken_cover(file: Path) -> None:
    picture = b"\0image/png\0\3\0" + b"\x89PNG\r\n\x1a\n" + b"\xff" * 20_000
    _tagged(id3({b"APIC": picture}), seed=309)(file)


ANIMALS = (
    Animal("F23", "html.mp3", _tagged(id3({b"TIT2": b"\3" + _HTML, b"TPE1": b"\3" + _HTML}), seed=300)),
    Animal("F23", "not-utf-8.mp3", _tagged(id3({b"TIT2": b"\3\xff\xfe\x80\x1b[31m"}), seed=301)),
    Animal("F23", "huge.mp3", _tagged(id3({b"TXXX": b"\3" + 2_000_000 * b"x"}), seed=302)),
    Animal("F23", "longer-than-the-file.mp3", _tagged(id3({}, claimed_bytes=200_000_000), seed=303)),
    Animal("F23", "broken-cover.mp3", _broken_cover),
    Animal("F23", "huge.flac", _commented([b"COMMENT=" + 2_000_000 * b"x"], seed=304)),
    Animal("F23", "100000-fields.flac", _commented(100_000 * [b"A=b"], seed=305)),
    Animal("F23", "not-utf-8.flac", _commented([b"TITLE=\xff\xfe\x80", b"\xff=x", b"no equals sign"], seed=310)),
    Animal("F23", "lists-in-lists.wav", _cyclic_chunks),
    Animal("F23", "9000-chunks.wav", _many_chunks),
    Animal("F23", "boxes-5000-deep.m4a", _deep_boxes),
)  # fmt: skip
