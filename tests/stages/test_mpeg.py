from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from stages.base import Reason
from stages.decode import read_header
from stages.mpeg_frames import frame_bytes
from tests.stages.audio_files import (
    RATE_HZ,
    cut,
    encoded,
    noise,
    patched,
    read,
    refusal,
    written,
)

APE_ITEM = struct.pack("<II", 100_000, 2) + b"Cover\0" + np.random.default_rng(3).bytes(100_000)
APE_END = struct.pack("<8sIIII8x", b"APETAGEX", 2_000, len(APE_ITEM) + 32, 1, 0x80000000)
APE_TAG = APE_END[:20] + struct.pack("<I8x", 0xA0000000) + APE_ITEM + APE_END
ID3_TAG = b"ID3\x04\0\0\0\x06\x0d\x20" + np.random.default_rng(3).bytes(100_000)
LYRICS = b"LYRICSBEGIN" + b"IND00002" * 1_000 + b"LYRICS200"


def _concatenated(file: Path) -> None:
    file.write_bytes(file.read_bytes() * 2)


def _half_counted(file: Path) -> None:
    mark = file.read_bytes().find(b"Xing")
    patched(file, mark + 8, ">I", 40)


@pytest.mark.parametrize(
    ("spoil", "seconds"), [(_concatenated, 8.0), (_half_counted, 4.0)], ids=["joined", "miscounted"]
)
def test_an_mp3_is_as_long_as_it_plays_not_as_it_says(
    tmp_path: Path, spoil: object, seconds: float
) -> None:
    assert callable(spoil)
    file = written(tmp_path / "a.mp3", noise(4.0))
    spoil(file)

    decoded = read(file)

    assert decoded.audio.duration_s == pytest.approx(seconds, abs=0.15)
    assert decoded.flags == ("length_differs",)


def test_an_mp3_that_promises_too_much_is_flagged(tmp_path: Path) -> None:
    file = cut(written(tmp_path / "a.mp3", noise(4.0)))

    decoded = read(file)

    assert decoded.flags == ("length_differs",)
    assert 2.0 < decoded.audio.duration_s < 2.5


@pytest.mark.parametrize("xing", ["0", "1"])
@pytest.mark.parametrize(
    "behind",
    [APE_TAG, ID3_TAG, LYRICS, b"TAG" + b"x" * 125, bytes(3_000)],
    ids=["APE", "ID3", "Lyrics3", "ID3v1", "zeros"],
)
def test_what_stands_behind_the_last_mp3_frame_is_no_damage(
    tmp_path: Path, behind: bytes, xing: str
) -> None:
    file = encoded(tmp_path / "a.mp3", noise(2.0), "-write_xing", xing)
    clean = read(file).audio.samples
    file.write_bytes(file.read_bytes() + behind)

    decoded = read(file)

    assert np.array_equal(decoded.audio.samples, clean)
    assert decoded.flags == ()


def test_junk_behind_an_mp3_that_is_as_long_as_it_says_is_no_damage(tmp_path: Path) -> None:
    file = written(tmp_path / "a.mp3", noise(2.0))
    file.write_bytes(file.read_bytes() + bytes(100_000))

    assert read(file).flags == ()


@pytest.mark.parametrize("xing", ["0", "1"])
def test_an_mp3_whose_second_half_was_never_written_is_damaged(tmp_path: Path, xing: str) -> None:
    file = encoded(tmp_path / "a.mp3", noise(8.0), "-write_xing", xing)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))

    assert refusal(file)[0] is Reason.DAMAGED


def test_a_variable_mp3_without_a_count_is_read_to_its_end(tmp_path: Path) -> None:
    # Loud first: by its first frame libsndfile takes the file for shorter than it is.
    samples = np.concatenate([noise(0.5), np.zeros((8 * RATE_HZ, 2), dtype=np.int16)])
    file = encoded(tmp_path / "a.mp3", samples, "-q:a", "0", "-write_xing", "0")

    assert read(file).audio.duration_s == pytest.approx(8.5, abs=0.1)


BARE = ("-write_xing", "0", "-id3v2_version", "0", "-b:a", "128k")


@pytest.mark.parametrize(
    "junk", [bytes(700), b"what a tag left behind " * 30], ids=["zeros", "text"]
)
def test_junk_before_the_first_mp3_frame_is_stepped_over(tmp_path: Path, junk: bytes) -> None:
    file = encoded(tmp_path / "a.mp3", noise(2.0), *BARE)
    clean = read(file).audio.duration_s
    file.write_bytes(junk + file.read_bytes())

    decoded = read(file)

    assert decoded.audio.duration_s == pytest.approx(clean, abs=0.05)
    assert decoded.flags == ()


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_behind_an_mp3_are_no_damage(tmp_path: Path, seed: int) -> None:
    file = encoded(tmp_path / "a.mp3", noise(0.5), *BARE)
    file.write_bytes(file.read_bytes() + np.random.default_rng(seed).bytes(5_000))

    assert read(file).flags == ()


def test_an_mp3_whose_rate_changes_is_read_to_its_end(tmp_path: Path) -> None:
    first = encoded(tmp_path / "a.mp3", noise(1.0), *BARE).read_bytes()
    second = encoded(tmp_path / "b.mp3", noise(1.0), *BARE, "-ar", "22050", "-b:a", "64k")
    assert second.stat().st_size < 16_384  # as little as otherwise passes for junk
    file = tmp_path / "c.mp3"
    file.write_bytes(first + second.read_bytes())

    decoded = read(file)

    assert decoded.audio.duration_s == pytest.approx(2.0, abs=0.2)
    assert decoded.flags == ("length_differs",)


def test_an_mp3_that_counts_hours_is_as_long_as_it_plays(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.mp3", noise(2.0), "-b:a", "128k")
    mark = file.read_bytes().find(b"Info")
    patched(file, mark + 8, ">I", 2_000_000)  # of frames: 14 hours

    decoded = read(file)

    assert decoded.audio.duration_s == pytest.approx(2.0, abs=0.1)
    assert decoded.flags == ("length_differs",)
    assert read_header(bytes(file)).duration_s is None


def test_an_id3_tag_that_is_longer_than_the_file_says_what_is_missing(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.mp3", noise(1.0), *BARE)
    file.write_bytes(b"ID3\4\0\0\0\x7f\x7f\x7f" + file.read_bytes())

    reason, detail = refusal(file)

    assert reason is Reason.TRUNCATED
    size = file.stat().st_size
    assert detail == f"its ID3 tag alone should have 2097161 bytes, the file has {size}"


def test_an_id3_tag_and_nothing_else_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(b"ID3\4\0\0\0\0\x27\x08" + bytes(5_000))

    assert refusal(file) == (Reason.EMPTY, "nothing follows its ID3 tag of 5010 bytes")


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (
            b"\xff\xfb\x90\x00",
            417,
        ),  # version 1, layer III, 128 kbit/s, 44.1 kHz: 144 * 128000 / 44100
        (b"\xff\xfb\x92\x00", 418),  # the same, padded
        (
            b"\xff\xf3\x80\x00",
            208,
        ),  # version 2, layer III, 64 kbit/s, 22.05 kHz: 72 * 64000 / 22050
        (b"\xff\xfd\xa4\x00", 576),  # version 1, layer II, 192 kbit/s, 48 kHz: 144 * 192000 / 48000
        (b"\xff\xfb\x00\x00", None),  # free format
        (b"\xff\xfb\xf0\x00", None),  # no such bitrate
        (b"\xff\xfe\x41\x00", None),  # UTF-16
        (b"\xff\xfb", None),
    ],
)
def test_the_length_of_a_frame_is_that_of_the_standard(header: bytes, length: int | None) -> None:
    assert frame_bytes(header) == length
