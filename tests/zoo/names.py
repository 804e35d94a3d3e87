"""F22: every name that a file can have. What lies under it is a sound WAV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.zoo.animal import Animal
from tests.zoo.sound import music, written

_NAMES: dict[str, bytes] = {
    "composed": "\u00e9.wav".encode(),
    "decomposed": "e\u0301.wav".encode(),
    "emoji": "\U0001f3b5\U0001f469\u200d\U0001f3a4.wav".encode(),
    "right-to-left": "\u05e9\u05dc\u05d5\u05dd\u202egnp.wav".encode(),
    "newline": b"a\nb.wav",
    "tab": b"a\tb.wav",
    "escape": b"\x1b[31m\x1b]0;title\x07.wav",
    "option": b"-rf.wav",
    "address": b"http:x.wav",
    "concat": b"concat:a|b.wav",
    "pattern": b"a%03d[*]?{b}.wav",
    "quotes": b"'\";$(id)`id`--.wav",
    "backslash": b"a\\b\\.wav",
    "255-bytes": b"n" * 251 + b".wav",
    "255-bytes-of-3": "\u97f3".encode() * 83 + b"nn.wav",
    "dot-last": b"trailing.wav.",
    "space-last": b"trailing.wav ",
    "space-alone": b" ",
    "no-utf-8": b"\xff\xfe\x80.wav",
    "surrogate": b"\xed\xa0\x80.wav",
    "hidden": b".hidden.wav",
    "in-a-folder": b" \n/..../\xff/x.wav",
    "like-an-output": b"manifest.json",
    "like-a-stage": b"loudness/features.json",
}  # fmt: skip


def _sound(seed: int) -> Callable[[Path], object]:
    return lambda file: written(file, music(0.5, seed=seed), container="WAV")


ANIMALS = tuple(
    Animal("F22", name, _sound(500 + number), file_name)
    for number, (name, file_name) in enumerate(_NAMES.items())
)
