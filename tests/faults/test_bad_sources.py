"""F1 to F22: sources that are no music, or not all of it. The others go on."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.faults.conftest import Stage
from tests.faults.rows import row

RATE = 44_100


def _tone(path: Path, **options: object) -> None:
    times = np.arange(4 * RATE) / RATE
    sf.write(path, 0.3 * np.sin(2 * np.pi * 440 * times), RATE, **options)


def _header(
    path: Path, *, rate: int = RATE, channels: int = 1, bits: int = 16, data: int = 4
) -> None:
    fields = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + data, b"WAVE", b"fmt ", 16, 1, channels, rate & 0xFFFFFFFF,
        (rate * channels * bits // 8) & 0xFFFFFFFF, (channels * bits // 8) & 0xFFFF, bits,
        b"data", data,
    )  # fmt: skip
    path.write_bytes(fields + bytes(data))


def _cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def _empty(folder: Path) -> str:
    (folder / "bad.wav").write_bytes(b"")
    return "bad.wav"


def _header_only(folder: Path) -> str:
    _header(folder / "bad.wav", data=0)
    return "bad.wav"


def _stub(folder: Path) -> str:
    (folder / "bad.wav").write_bytes(b"RIFF\x10\0\0\0WAVEfmt \0\0\0\0")
    return "bad.wav"


def _text(folder: Path) -> str:
    (folder / "bad.mp3").write_bytes(b"<html><body>404 Not Found</body></html>\n" * 40)
    return "bad.mp3"


def _picture(folder: Path) -> str:
    noise = np.random.default_rng(0).bytes(5000)
    (folder / "bad.mp3").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0" + noise)
    return "bad.mp3"


def _cut_wav(folder: Path) -> str:
    _tone(folder / "bad.wav")
    _cut(folder / "bad.wav", 0.6)
    return "bad.wav"


def _cut_flac(folder: Path) -> str:
    _tone(folder / "bad.flac")
    _cut(folder / "bad.flac", 0.6)
    return "bad.flac"


def _flipped_flac(folder: Path) -> str:
    path = folder / "bad.flac"
    _tone(path)
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 400):
        content[place] ^= 0x5A
    path.write_bytes(content)
    return "bad.flac"


def _not_a_number(folder: Path) -> str:
    samples = np.zeros(RATE, dtype=np.float32)
    samples[777] = np.nan
    sf.write(folder / "bad.wav", samples, RATE, subtype="FLOAT")
    return "bad.wav"


def _ten_hours(folder: Path) -> str:
    data = 10 * 3600 * 8000 * 2
    path = folder / "bad.wav"
    _header(path, rate=8000, data=4)
    with path.open("r+b") as file:
        file.seek(4)
        file.write(struct.pack("<I", 36 + data))
        file.seek(40)
        file.write(struct.pack("<I", data))
        file.truncate(44 + data)  # sparse: no byte of it lies on the disk
    return "bad.wav"


def _no_rate(folder: Path) -> str:
    _header(folder / "bad.wav", rate=0)
    return "bad.wav"


def _huge_rate(folder: Path) -> str:
    _header(folder / "bad.wav", rate=4_000_000_000)
    return "bad.wav"


def _many_channels(folder: Path) -> str:
    _header(folder / "bad.wav", channels=65_535)
    return "bad.wav"


def _no_bits(folder: Path) -> str:
    _header(folder / "bad.wav", bits=0)
    return "bad.wav"


BAD: list[tuple[str, Callable[[Path], str], set[str]]] = [
    ("F1", _empty, {"empty"}),
    ("F1", _header_only, {"empty"}),
    ("F1", _stub, {"empty", "not_audio", "bad_header"}),
    ("F2", _text, {"not_audio"}),
    ("F2", _picture, {"not_audio"}),
    ("F3", _cut_wav, {"truncated"}),
    ("F3", _cut_flac, {"truncated", "damaged"}),
    ("F4", _flipped_flac, {"damaged"}),
    ("F8", _not_a_number, {"nonfinite"}),
    ("F12", _ten_hours, {"too_long"}),
    ("F15", _no_rate, {"bad_header"}),
    ("F15", _huge_rate, {"bad_header"}),
    ("F15", _many_channels, {"bad_header", "unsupported"}),
    ("F15", _no_bits, {"bad_header"}),
]


@pytest.mark.parametrize(
    ("row", "make", "reasons"),
    BAD,
    ids=[f"{name}-{make.__name__.strip('_')}" for name, make, _ in BAD],
    indirect=["row"],
)
def test_a_bad_source_fails_alone_with_its_reason_and_no_work_is_repeated(
    make: Callable[[Path], str],
    reasons: set[str],
    scene: Stage,
    undisturbed: dict[str, object],
) -> None:
    box = scene()
    name = make(box.dataset)
    box.forget_sources()
    box.faults += 1

    first, second = box.run(), box.run()

    assert (first.returncode, second.returncode) == (1, 1), first.stderr + second.stderr
    assert box.calls().total() == 3
    listed = box.command("tracks", str(box.dataset), "--state", "unreadable", "--json").stdout
    failed = box.command("tracks", str(box.dataset), "--state", "failed", "--json").stdout
    said = listed + failed
    assert name in said
    assert any(f'"{reason}"' in said for reason in reasons), said
    box.wait_until_gone()
    box.check()
    box.wrote_nothing_outside()
    assert box.outputs() == undisturbed


NAMES = [
    b"-rf.wav", b"\xff\xfe\x80.wav", "e\u0301.wav".encode(), "\u00e9.wav".encode(),
    b"a\nb\tc\x1b[31m.wav", b"http:.wav", b"'\";--.wav", "\U0001f3b5\u202e.wav".encode(),
    b"trailing. /x .wav", b"n" * 251 + b".wav",
]  # fmt: skip


@row("F22")
def test_any_name_a_file_can_have_is_done_and_moves_nothing_else(
    scene: Stage, undisturbed: dict[str, object]
) -> None:
    box = scene()
    for number, name in enumerate(NAMES):
        box.add(name, seed=200 + number)
    box.forget_sources()
    box.faults += len(NAMES)

    done = box.run()

    assert done.returncode == 0, done.stderr
    assert box.counts() == {"done": 3 + len(NAMES)}
    box.wait_until_gone()
    box.check()
    box.wrote_nothing_outside()
    assert undisturbed.items() <= box.outputs().items()
    box.does_nothing_more()
