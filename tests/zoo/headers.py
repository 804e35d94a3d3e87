"""F1, F7 and F15: files of a header and nothing else, streamed files, headers that cannot be."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.zoo.animal import Animal
from tests.zoo.flac import stream_info
from tests.zoo.sound import encoded, music, overwritten, replaced, shortened, written
from tests.zoo.tags import id3

_RATE, _CHANNELS, _BLOCK, _BITS, _DATA_BYTES = 24, 22, 32, 34, 40  # offsets in a plain WAV
_NOTHING = np.zeros((0, 2), dtype=np.float32)


def _of(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def _header_alone(file: Path) -> None:
    written(file, _NOTHING)


def _twenty_bytes(file: Path) -> None:
    written(file, music(seed=1))
    file.write_bytes(file.read_bytes()[:20])


def _flac_without_blocks(file: Path) -> None:
    info = stream_info(sample_rate_hz=44_100, channels=2, frames=0)
    file.write_bytes(b"fLaC\x80\0\0\x22" + info)


def _m4a_without_samples(file: Path) -> None:
    encoded(file, music(), "-c:a aac -t 0")


def _patched_wav(offset: int, layout: str, value: int, *, seed: int) -> Callable[[Path], object]:
    def make(file: Path) -> None:
        overwritten(written(file, music(seed=seed)), offset, struct.pack(layout, value))

    return make


def _piped(options: str, *, seed: int) -> Callable[[Path], object]:
    """Write as into a pipe, where the size of what comes is not known beforehand."""

    def make(file: Path) -> None:
        encoded(file, music(seed=seed), options)

    return make


def _no_length_flac(file: Path) -> None:
    # The low 36 bits of STREAMINFO's packed field are the number of samples.
    content = bytearray(written(file, music(seed=13)).read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    file.write_bytes(content)


def _flac_rate_0(file: Path) -> None:
    content = bytearray(written(file, music(seed=14)).read_bytes())
    content[18:20] = bytes(2)
    content[20] &= 0x0F
    file.write_bytes(content)


def _aiff_channels_0(file: Path) -> None:
    content = written(file, music(seed=15)).read_bytes()
    overwritten(file, content.index(b"COMM") + 8, bytes(2))


def _aiff_rate_huge(file: Path) -> None:
    content = written(file, music(seed=16)).read_bytes()
    overwritten(file, content.index(b"COMM") + 16, b"\x43\xff" + b"\xff" * 8)


def _no_fmt(file: Path) -> None:
    replaced(written(file, music(seed=17)), b"fmt ", b"junk")


def _au_rate_0(file: Path) -> None:
    overwritten(written(file, music(seed=18)), 16, bytes(4))


def _box_of_all_the_rest(file: Path) -> None:
    """Say of the index that it is as long as 64 bits can say."""
    content = encoded(file, music(seed=19), "-c:a aac -movflags +faststart").read_bytes()
    place = content.index(b"moov")
    file.write_bytes(content[: place - 4] + b"\0\0\0\1moov" + b"\xff" * 8 + content[place + 4 :])


def _moov_cut(file: Path) -> None:
    shortened(encoded(file, music(seed=20), "-c:a aac -movflags +faststart"), 0.01)


ANIMALS = (
    Animal("F1", "no-bytes.wav", _of(b"")),
    Animal("F1", "twenty-bytes.wav", _twenty_bytes),
    Animal("F1", "header-only.wav", _header_alone),
    Animal("F1", "header-only.aiff", _header_alone),
    Animal("F1", "header-only.ogg", _header_alone),
    Animal("F1", "header-only.flac", _flac_without_blocks),
    Animal("F1", "no-samples.m4a", _m4a_without_samples),
    Animal("F1", "tag-only.mp3", _of(id3({b"TXXX": b"\3" + 5_000 * b"x"}))),
    Animal("F1", "magic-only.flac", _of(b"fLaC")),
    Animal("F7", "size-ffffffff.wav", _patched_wav(_DATA_BYTES, "<I", 0xFFFFFFFF, seed=10)),
    Animal("F7", "size-7ffff000.wav", _patched_wav(_DATA_BYTES, "<I", 0x7FFFF000, seed=11)),
    Animal("F7", "size-0.wav", _patched_wav(_DATA_BYTES, "<I", 0, seed=12)),
    Animal("F7", "no-length.flac", _no_length_flac),
    Animal("F7", "fragmented.m4a", _piped("-c:a aac -movflags frag_keyframe+empty_moov", seed=21)),
    Animal("F15", "rate-0.wav", _patched_wav(_RATE, "<I", 0, seed=22)),
    Animal("F15", "rate-4-billion.wav", _patched_wav(_RATE, "<I", 4_000_000_000, seed=23)),
    Animal("F15", "rate-3999.wav", _patched_wav(_RATE, "<I", 3_999, seed=24)),
    Animal("F15", "channels-0.wav", _patched_wav(_CHANNELS, "<H", 0, seed=25)),
    Animal("F15", "channels-65535.wav", _patched_wav(_CHANNELS, "<H", 65_535, seed=26)),
    Animal("F15", "bits-0.wav", _patched_wav(_BITS, "<H", 0, seed=27)),
    Animal("F15", "block-0.wav", _patched_wav(_BLOCK, "<H", 0, seed=28)),
    Animal("F15", "no-fmt.wav", _no_fmt),
    Animal("F15", "rate-0.flac", _flac_rate_0),
    Animal("F15", "rate-0.au", _au_rate_0),
    Animal("F15", "channels-0.aiff", _aiff_channels_0),
    Animal("F15", "rate-huge.aiff", _aiff_rate_huge),
    Animal("F15", "endless-box.m4a", _box_of_all_the_rest),
    Animal("F15", "index-cut.m4a", _moov_cut),
)
