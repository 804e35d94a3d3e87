from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.containers import AUDIO_EXTENSIONS, sniff
from stages.headers import read_declared
from stages.mpeg import has_frame_count
from stages.ogg import read_pages
from tests.stages.audio_files import RATE_HZ, cut, encoded, noise, patched, scrambled, written

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
MPEG_FRAME = b"\xff\xfb\x90\x64"
ADTS_FRAME = b"\xff\xf1\x50\x80\x17\x7f\xfc"


def _mp4(brand: bytes) -> bytes:
    return b"\0\0\0\x20ftyp" + brand + bytes(48)


def _id3(length: int) -> bytes:
    return b"ID3\x04\x00\x00" + bytes((0, 0, length >> 7, length & 0x7F)) + b"T" * length


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "wav"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "rf64"),
        (b"FORM\0\0\0\x2eAIFFCOMM", "aiff"),
        (b"FORM\0\0\0\x2eAIFCFVER", "aiff"),
        (b"FRM8\0\0\0\0\0\0\0\x10DSD FVER", "dff"),
        (b"fLaC\0\0\0\x22", "flac"),
        (b"OggS\0\x02", "ogg"),
        (b"caff\0\x01\0\0desc", "caf"),
        (b"wvpk\0\0", "wavpack"),
        (b"MAC \x96\x0f", "ape"),
        (b".snd\0\0\0\x20", "au"),
        (b"TTA1\x01\0", "tta"),
        (b"DSD \x1c\0\0\0", "dsf"),
        (ASF, "asf"),
        (b"\x1a\x45\xdf\xa3\x01\0", "matroska"),
        (b"\x0b\x77\x1c\x94\x14\x40", "ac3"),
        (_mp4(b"M4A "), "mp4"),
        (_mp4(b"isom"), "mp4"),
        (MPEG_FRAME + bytes(60), "mpeg"),
        (b"\xff\xfd\xa4\x04" + bytes(60), "mpeg"),
        (ADTS_FRAME, "adts"),
        (_id3(20) + MPEG_FRAME + bytes(60), "mpeg"),
        (_id3(20) + ADTS_FRAME, "adts"),
        (_id3(20) + b"fLaC\0\0\0\x22", "flac"),
        (_id3(9_000)[:64], "mpeg"),
    ],
)
def test_audio_is_known_by_its_first_bytes(head: bytes, name: str) -> None:
    assert sniff(head) == name


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff",
        b"\xff\xfb",
        b"hello world",
        "hello world, in Windows' own way".encode("utf-16"),
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
        b"\x89PNG\r\n\x1a\n",
        b"<!DOCTYPE html>",
        b"#EXTM3U\nhttp://127.0.0.1/a.ts",
        b"ffconcat version 1.0\nfile a.wav",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1",
        b"RIFF\x24\x00\x00\x00AVI LIST",
        b"RIFF\x24\x00\x00\x00WEBPVP8 ",
        _mp4(b"heic"),
        _mp4(b"avif"),
        _mp4(b"jp2 "),
        b"\xff\xfb\xf0\x64" + bytes(60),
        b"\xff\xfb\x9c\x64" + bytes(60),
        b"\xff\xeb\x90\x64" + bytes(60),
        _id3(20) + b"#EXTM3U\nhttp://127.0.0.1/a.ts",
    ],
)
def test_what_is_not_audio_is_not_taken_for_it(head: bytes) -> None:
    assert sniff(head) is None


def test_extensions_are_lower_case_bytes_with_a_dot() -> None:
    assert {b".mp3", b".flac", b".wav", b".m4a", b".opus"} <= AUDIO_EXTENSIONS
    assert all(name.startswith(b".") and name == name.lower() for name in AUDIO_EXTENSIONS)


def test_sniffing_imports_no_numeric_library() -> None:
    program = (
        "import sys, types; package = types.ModuleType('stages'); package.__path__ = ['stages'];"
        "sys.modules['stages'] = package; import stages.containers;"
        "print(sorted({'numpy', 'soundfile', 'soxr'} & set(sys.modules)))"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert answer.stdout == b"[]\n"


def _frames(file: Path) -> int | None:
    with file.open("rb") as opened:
        return read_declared(opened.fileno(), sniff(opened.read(64))).frames


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.wav", {"format": "WAVEX"}),
        ("a.wav", {"format": "RF64"}),
        ("a.aiff", {}),
        ("a.aiff", {"subtype": "FLOAT"}),
    ],
)
def test_a_header_promises_its_frames_also_when_the_file_is_cut(
    tmp_path: Path, name: str, options: dict[str, str], share: float
) -> None:
    file = cut(written(tmp_path / name, noise(0.5), **options), share)

    assert _frames(file) == RATE_HZ // 2


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_promises_nothing(tmp_path: Path, size: int) -> None:
    file = patched(written(tmp_path / "a.wav", noise(0.5)), 40, "<I", size)

    assert _frames(file) is None


def test_a_compressed_wav_promises_no_frames(tmp_path: Path) -> None:
    file = written(tmp_path / "a.wav", noise(0.5), subtype="IMA_ADPCM")

    assert _frames(file) is None


def test_a_wav_with_thousands_of_chunks_before_its_audio_is_given_up(tmp_path: Path) -> None:
    file = written(tmp_path / "a.wav", noise(0.1))
    data = file.read_bytes()
    file.write_bytes(data[:12] + b"junk\0\0\0\0" * 20_000 + data[12:])

    assert _frames(file) is None


@pytest.mark.parametrize(("xing", "counted"), [("1", True), ("0", False)])
def test_an_mp3_tells_whether_it_counts_its_frames(
    tmp_path: Path, xing: str, counted: bool
) -> None:
    file = encoded(tmp_path / "a.mp3", noise(0.5), "-write_xing", xing)

    with file.open("rb") as opened:
        assert has_frame_count(opened.fileno()) is counted


def test_the_pages_of_a_whole_ogg_file_are_whole(tmp_path: Path) -> None:
    file = written(tmp_path / "a.ogg", noise())

    with file.open("rb") as opened:
        pages = read_pages(opened.fileno())
        assert os.lseek(opened.fileno(), 0, os.SEEK_CUR) == 0

    assert (pages.damage, pages.cut, pages.ended, pages.chained) == (None, None, True, False)


def test_a_damaged_ogg_page_is_named(tmp_path: Path) -> None:
    file = scrambled(written(tmp_path / "a.ogg", noise()))

    with file.open("rb") as opened:
        pages = read_pages(opened.fileno())

    assert pages.damage is not None
    assert "fails its checksum" in pages.damage


def test_a_tag_behind_the_last_ogg_page_is_no_damage(tmp_path: Path) -> None:
    file = written(tmp_path / "a.ogg", noise(0.5))
    file.write_bytes(file.read_bytes() + b"TAG" + b"x" * 125)

    with file.open("rb") as opened:
        pages = read_pages(opened.fileno())

    assert (pages.damage, pages.cut, pages.ended) == (None, None, True)


def test_two_ogg_streams_in_a_row_are_a_chain(tmp_path: Path) -> None:
    file = written(tmp_path / "a.ogg", noise(0.5))
    file.write_bytes(file.read_bytes() * 2)

    with file.open("rb") as opened:
        assert read_pages(opened.fileno()).chained


def test_random_bytes_are_hardly_ever_taken_for_audio() -> None:
    heads = [np.random.default_rng(seed).bytes(64) for seed in range(20_000)]

    assert sum(sniff(head) is not None for head in heads) < 40
