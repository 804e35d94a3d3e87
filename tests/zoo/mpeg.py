"""F5 and F6: MP3s that miscount their frames, and what is glued before, between and behind them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from tests.zoo.animal import Animal
from tests.zoo.sound import encoded, music
from tests.zoo.tags import bare_mp3, id3

_COUNTED = "-c:a libmp3lame -b:a 128k -id3v2_version 0"
_APE_TAG = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32, 0, 0)
_BIG_PICTURE_BYTES = 20_000_000


def _counted(file: Path, factor: float, *, seed: int) -> None:
    """Multiply the count of frames in the Xing header."""
    content = bytearray(encoded(file, music(2.0, seed=seed), _COUNTED).read_bytes())
    place = max(content.find(b"Xing"), content.find(b"Info")) + 8
    (frames,) = struct.unpack_from(">I", content, place)
    struct.pack_into(">I", content, place, int(frames * factor))
    file.write_bytes(content)


def _twice_as_many(file: Path) -> None:
    _counted(file, 2, seed=160)


def _half_as_many(file: Path) -> None:
    _counted(file, 0.5, seed=161)


def _ten_hours_counted(file: Path) -> None:
    _counted(file, 18_000, seed=162)


def _none_counted(file: Path) -> None:
    _counted(file, 0, seed=163)


def _no_count(file: Path) -> None:
    bare_mp3(file, seed=164, seconds=2.0)


def _no_count_vbr(file: Path) -> None:
    silent_then_loud = np.concatenate([music(1.0, seed=165) * 0.001, music(1.0, seed=166)])
    plain = "-c:a libmp3lame -q:a 4 -write_xing 0 -id3v2_version 0"
    encoded(file, silent_then_loud, plain)


def _vbri(file: Path) -> None:
    """Write the count as Fraunhofer's encoder does."""
    frames = bare_mp3(file, seed=167, seconds=2.0).read_bytes()
    count = struct.pack(">4sHHHIIHHHH", b"VBRI", 1, 0, 75, len(frames), 78, 0, 1, 2, 100)
    head = frames[:2] + bytes((frames[2] & 0xFD,)) + frames[3:4] + bytes(32) + count
    file.write_bytes(head + bytes(417 - len(head)) + frames)


def _two_joined(file: Path) -> None:
    first = encoded(file, music(1.0, seed=168), _COUNTED).read_bytes()
    second = encoded(file, music(1.0, seed=169), _COUNTED).read_bytes()
    file.write_bytes(first + second)


def _two_joined_with_tags(file: Path) -> None:
    first, second = (
        id3({b"TIT2": b"\3one"}) + bare_mp3(file, seed=seed).read_bytes() for seed in (170, 171)
    )
    file.write_bytes(first + second)


def _rates_change(file: Path) -> None:
    first = bare_mp3(file, seed=172).read_bytes()
    options = "-ar 22050 -c:a libmp3lame -write_xing 0 -id3v2_version 0"
    file.write_bytes(first + encoded(file, music(1.0, seed=173), options).read_bytes())


def _big_picture(file: Path) -> None:
    picture = b"\0image/png\0\3\0" + bytes(_BIG_PICTURE_BYTES)
    file.write_bytes(id3({b"APIC": picture}) + bare_mp3(file, seed=174).read_bytes())


def _junk_first(file: Path) -> None:
    junk = np.random.default_rng(1).integers(0, 0x7F, 700, dtype=np.uint8).tobytes()
    file.write_bytes(junk + bare_mp3(file, seed=175).read_bytes())


def _zeros_first(file: Path) -> None:
    file.write_bytes(bytes(700) + bare_mp3(file, seed=176).read_bytes())


def _junk_last(file: Path) -> None:
    junk = np.random.default_rng(2).bytes(5_000)
    file.write_bytes(bare_mp3(file, seed=177).read_bytes() + junk)


def _tags_last(file: Path) -> None:
    mp3 = bare_mp3(file, seed=178).read_bytes()
    file.write_bytes(mp3 + _APE_TAG + b"TAG" + b"song".ljust(125, b"\0"))


def _two_tags_first(file: Path) -> None:
    tags = id3({b"TIT2": b"\3one"}) + id3({b"TIT2": b"\3two"})
    file.write_bytes(tags + bare_mp3(file, seed=179).read_bytes())


ANIMALS = (
    Animal("F5", "counts-twice-as-many.mp3", _twice_as_many),
    Animal("F5", "counts-half-as-many.mp3", _half_as_many),
    Animal("F5", "counts-ten-hours.mp3", _ten_hours_counted),
    Animal("F5", "counts-none.mp3", _none_counted),
    Animal("F5", "no-count.mp3", _no_count),
    Animal("F5", "no-count-vbr.mp3", _no_count_vbr),
    Animal("F5", "vbri.mp3", _vbri),
    Animal("F6", "two-joined.mp3", _two_joined),
    Animal("F6", "two-joined-with-tags.mp3", _two_joined_with_tags),
    Animal("F6", "rate-changes.mp3", _rates_change),
    Animal("F6", "picture-of-20-mb.mp3", _big_picture),
    Animal("F6", "junk-first.mp3", _junk_first),
    Animal("F6", "zeros-first.mp3", _zeros_first),
    Animal("F6", "junk-last.mp3", _junk_last),
    Animal("F6", "tags-last.mp3", _tags_last),
    Animal("F6", "two-tags-first.mp3", _two_tags_first),
)
