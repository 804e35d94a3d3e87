"""Sound files with damage by chance: bits turned, pieces cut, put in, doubled, sizes made absurd."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.zoo.sound import Samples, encoded, music, written

_RATE_HZ = 22_050
_HEAD_BYTES = 512  # headers are favoured: there lies what decoders believe
_ABSURD = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
)

Change = Callable[[bytearray, random.Random], None]


def _place(content: bytearray, chance: random.Random) -> int:
    end = len(content) if chance.random() < 0.4 else min(_HEAD_BYTES, len(content))
    return chance.randrange(end)


def flip_bits(content: bytearray, chance: random.Random) -> None:
    """Turn over 1 to 16 bits."""
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        content[_place(content, chance)] ^= 1 << chance.randrange(8)


def new_bytes(content: bytearray, chance: random.Random) -> None:
    """Overwrite up to 64 bytes."""
    place = _place(content, chance)
    count = min(chance.randint(1, 64), len(content) - place)
    content[place : place + count] = chance.randbytes(count)


def absurd_number(content: bytearray, chance: random.Random) -> None:
    """Write nothing, everything or the highest number where a size or a count may stand."""
    place = _place(content, chance)
    absurd = chance.choice(_ABSURD)[: chance.choice((1, 2, 4))]
    content[place : place + len(absurd)] = absurd


def cut_out(content: bytearray, chance: random.Random) -> None:
    """Leave out a piece."""
    place = _place(content, chance)
    del content[place : place + chance.randint(1, 3_000)]


def cut_off(content: bytearray, chance: random.Random) -> None:
    """Leave out all from somewhere on."""
    del content[max(1, _place(content, chance)) :]


def put_in(content: bytearray, chance: random.Random) -> None:
    """Put random bytes, or zeros, in between."""
    place, count = _place(content, chance), chance.randint(1, 3_000)
    content[place:place] = chance.randbytes(count) if chance.random() < 0.5 else bytes(count)


def double(content: bytearray, chance: random.Random) -> None:
    """Write a piece several times."""
    place, count = _place(content, chance), chance.randint(1, 3_000)
    content[place:place] = content[place : place + count] * chance.choice((1, 2, 20))


def exchange(content: bytearray, chance: random.Random) -> None:
    """Put two pieces in each other's places."""
    one, other = sorted((_place(content, chance), _place(content, chance)))
    count = min(chance.randint(1, 500), other - one, len(content) - other)
    content[one : one + count], content[other : other + count] = (
        content[other : other + count],
        content[one : one + count],
    )


CHANGES: tuple[Change, ...] = (
    flip_bits, flip_bits, new_bytes, absurd_number, absurd_number, cut_out, cut_off, put_in, double,
    exchange,
)  # fmt: skip


def mutant(sound: bytes, seed: str) -> bytes:
    """Return a sound file with one to three changes; the same ones for the same seed."""
    chance = random.Random(seed)
    content = bytearray(sound)
    for change in chance.choices(CHANGES, k=chance.choice((1, 1, 2, 3))):
        change(content, chance)
    return bytes(content) if bytes(content) != sound else mutant(sound, seed + "'")


_FFMPEG = {
    "mp3": "-c:a libmp3lame -b:a 64k",
    "opus": "-c:a libopus",
    "m4a": "-c:a aac -movflags +faststart",
    "wma": "-c:a wmav2",
    "mka": "-c:a libvorbis",
    "wv": "-c:a wavpack",
}
FORMATS = ("wav", "flac", "ogg", "aiff", *_FFMPEG)


def sound_file(folder: Path, kind: str) -> bytes:
    """Return a second of sound, short enough that a change by chance hits something that matters."""
    samples: Samples = music(1.0, channels=1, sample_rate_hz=_RATE_HZ, seed=FORMATS.index(kind))
    file = folder / f"sound.{kind}"
    if kind in _FFMPEG:
        encoded(file, samples, _FFMPEG[kind], sample_rate_hz=_RATE_HZ)
    else:
        written(file, samples, sample_rate_hz=_RATE_HZ)
    return file.read_bytes()


def mutants(folder: Path, kind: str, *, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Give names and contents of so many mutants of a format."""
    sound = sound_file(folder, kind)
    for number in range(count):
        yield f"{number:03}.{kind}", mutant(sound, f"{seed} {kind} {number}")
