"""F3 and F4: files of which a part is missing, or in which bits were turned over."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from tests.zoo.animal import Animal
from tests.zoo.sound import encoded, flipped, music, overwritten, shortened, written

# Long enough that six tenths of it are short by more than the decoders' roundings.
_SECONDS = 2.0

_OPTIONS = {
    "aac.m4a": "-c:a aac -movflags +faststart",
    "alac.m4a": "-c:a alac -movflags +faststart",
    "index-last.m4a": "-c:a aac",
    "aac.aac": "-c:a aac",
    "opus.opus": "-c:a libopus",
    "wma.wma": "-c:a wmav2",
    "wavpack.wv": "-c:a wavpack",
    "matroska.mka": "-c:a libvorbis",
    "ac3.ac3": "-c:a ac3",
    "mp3.mp3": "-c:a libmp3lame -b:a 128k",
}


def _whole(file: Path, name: str, *, seed: int) -> Path:
    sound = music(_SECONDS, seed=seed)
    return encoded(file, sound, _OPTIONS[name]) if name in _OPTIONS else written(file, sound)


def _cut(name: str, *, seed: int) -> Callable[[Path], object]:
    return lambda file: shortened(_whole(file, name, seed=seed))


def _flipped(name: str, *, seed: int, count: int) -> Callable[[Path], object]:
    return lambda file: flipped(_whole(file, name, seed=seed), count=count)


def _one_bit(file: Path) -> None:
    flipped(written(file, music(_SECONDS, seed=140)), count=1)


def _last_page_missing(file: Path) -> None:
    content = written(file, music(_SECONDS, seed=141)).read_bytes()
    file.write_bytes(content[: content.rindex(b"OggS")])


def _ten_hours_promised(file: Path) -> None:
    ten_hours = 10 * 3600 * 44_100 * 4 & 0xFFFFFFFC
    overwritten(written(file, music(seed=142)), 40, struct.pack("<I", ten_hours & 0x7FFF0000))


def _a_few_samples_missing(file: Path) -> None:
    shortened(written(file, music(_SECONDS, seed=143)), 0.98)


def _zeros_at_the_end(file: Path) -> None:
    """As a file system leaves a download that a power cut ended."""
    content = encoded(file, music(_SECONDS, seed=144), _OPTIONS["mp3.mp3"]).read_bytes()
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes(half))


def _hole(file: Path) -> None:
    content = written(file, music(_SECONDS, seed=145)).read_bytes()
    third = len(content) // 3
    file.write_bytes(content[:third] + bytes(8_192) + content[third + 8_192 :])


def _piece_twice(file: Path) -> None:
    content = written(file, music(_SECONDS, seed=146)).read_bytes()
    half = len(content) // 2
    file.write_bytes(content[:half] + content[half - 5_000 :])


def _first_page_of_music(file: Path) -> None:
    """Break the page without which libsndfile opens nothing, and which ffmpeg leaves out."""
    content = encoded(file, music(seed=147), _OPTIONS["opus.opus"]).read_bytes()
    overwritten(file, content.index(b"OggS", content.index(b"OpusTags")) + 400, b"\xa5\x5a")


_CUT = (
    "wav.wav", "aiff.aiff", "flac.flac", "vorbis.ogg", "opus.opus", "aac.m4a", "alac.m4a",
    "index-last.m4a", "wavpack.wv", "mp3.mp3", "aac.aac", "ac3.ac3", "wma.wma", "matroska.mka",
)  # fmt: skip
_FLIPPED = (
    "flac.flac", "vorbis.ogg", "opus.opus", "mp3.mp3", "aac.m4a", "alac.m4a", "wavpack.wv",
    "aac.aac", "ac3.ac3", "wma.wma", "matroska.mka", "wav.wav",
)  # fmt: skip

ANIMALS = (
    *(Animal("F3", f"cut-{name}", _cut(name, seed=100 + n)) for n, name in enumerate(_CUT)),
    Animal("F3", "last-page-missing.ogg", _last_page_missing),
    Animal("F3", "promises-hours.wav", _ten_hours_promised),
    Animal("F3", "2-percent-missing.wav", _a_few_samples_missing),
    *(
        Animal("F4", f"flipped-{name}", _flipped(name, seed=120 + n, count=2_000))
        for n, name in enumerate(_FLIPPED)
    ),
    Animal("F4", "first-page.opus", _first_page_of_music),
    Animal("F4", "one-bit.flac", _one_bit),
    Animal("F4", "half-zeros.mp3", _zeros_at_the_end),
    Animal("F4", "hole.flac", _hole),
    Animal("F4", "piece-twice.flac", _piece_twice),
)
