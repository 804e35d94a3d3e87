"""MP4, Matroska and Ogg: what is missing, what is encrypted, what is broken in the middle."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from stages.base import Reason
from stages.boxes import cut_box
from tests.stages.audio_files import (
    cut,
    encoded,
    noise,
    patched,
    read,
    refusal,
    scrambled,
)

INDEX_FIRST = ("-movflags", "+faststart")


def _cut_box(file: Path) -> str | None:
    fd = os.open(file, os.O_RDONLY)
    try:
        return cut_box(fd)
    finally:
        os.close(fd)


def test_a_whole_mp4_has_no_cut_box_whatever_stands_behind_it(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.m4a", noise(0.5))
    assert _cut_box(file) is None

    file.write_bytes(file.read_bytes() + b"TAG" + b"x" * 125)

    assert _cut_box(file) is None


@pytest.mark.parametrize(
    ("head", "missing"),
    [
        (struct.pack(">I4s", 108, b"mdat") + bytes(100), None),
        (struct.pack(">I4s", 109, b"mdat") + bytes(100), "mdat should have 109 bytes, 108 are there"),
        (struct.pack(">I4s", 0, b"mdat") + bytes(100), None),  # up to the end of the file
        (struct.pack(">I4sQ", 1, b"mdat", 116) + bytes(100), None),
        (struct.pack(">I4sQ", 1, b"mdat", 2**40) + bytes(100), "mdat should have 1099511627776 bytes"),
        (struct.pack(">I4s", 3, b"free") + bytes(100), None),
        (struct.pack(">I4s", 8, b"free") * 1_000, None),
        (b"\0\0\0", None),
    ],
)  # fmt: skip
def test_a_box_is_cut_when_it_should_be_longer_than_the_file(
    tmp_path: Path, head: bytes, missing: str | None
) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(head)

    said = _cut_box(file)

    assert said is None if missing is None else missing in str(said)


def test_an_mp4_that_ends_in_its_index_is_truncated_and_not_without_audio(tmp_path: Path) -> None:
    file = cut(encoded(tmp_path / "a.m4a", noise(1.0), *INDEX_FIRST), 0.01)

    reason, detail = refusal(file)

    assert reason is Reason.TRUNCATED
    assert detail.startswith("its box moov should have ")


def test_an_mp4_that_is_whole_and_lost_frames_was_damaged_and_not_cut(tmp_path: Path) -> None:
    file = scrambled(encoded(tmp_path / "a.m4a", noise(2.0), *INDEX_FIRST), count=4_000)

    assert refusal(file)[0] is Reason.DAMAGED
    assert read(file, allow_partial=True).flags == ("damaged",)


@pytest.mark.parametrize("scheme", [b"drms", b"enca"])
def test_an_encrypted_mp4_says_so_and_is_not_called_damaged(tmp_path: Path, scheme: bytes) -> None:
    file = encoded(tmp_path / "a.m4a", noise(1.0), *INDEX_FIRST)
    content = file.read_bytes().replace(b"mp4a", scheme, 1)
    place = content.index(b"mdat") + 4
    file.write_bytes(content[:place] + np.random.default_rng(1).bytes(len(content) - place))

    reason, detail = refusal(file)

    assert reason is Reason.UNSUPPORTED
    assert detail.startswith(f"codec aac in mp4 is encrypted ({scheme.decode()}): ")
    assert "Get a copy" in detail


@pytest.mark.parametrize("size", [125, 600])
def test_a_matroska_file_that_ends_in_its_header_is_not_called_a_fault_of_the_disk(
    tmp_path: Path, size: int
) -> None:
    file = encoded(tmp_path / "a.mka", noise(1.0), "-c:a", "libvorbis")
    file.write_bytes(file.read_bytes()[:size])

    assert refusal(file)[0] is Reason.TRUNCATED


def test_a_matroska_file_that_ends_in_its_music_is_truncated(tmp_path: Path) -> None:
    file = cut(encoded(tmp_path / "a.mka", noise(2.0), "-c:a", "libvorbis"))

    assert refusal(file)[0] is Reason.TRUNCATED
    assert read(file, allow_partial=True).flags == ("truncated",)


def test_an_opus_file_of_which_ffmpeg_leaves_out_a_page_is_damaged(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.opus", noise(1.0), "-c:a", "libopus")
    tags = file.read_bytes().index(b"OpusTags")
    music = file.read_bytes().index(b"OggS", tags)
    patched(file, music + 400, "B", 0xA5)  # libsndfile cannot open it any more

    assert refusal(file) == (Reason.DAMAGED, f"the page at byte {music} fails its checksum")
    assert read(file, allow_partial=True).audio.duration_s < 0.1


def test_a_vorbis_file_with_a_damaged_header_is_damaged(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.ogg", noise(1.0), "-c:a", "libvorbis")
    tags = file.read_bytes().index(b"OggS", 1)
    patched(file, tags + 40, "B", 0xA5)

    reason, detail = refusal(file)

    assert reason is Reason.DAMAGED
    assert detail.endswith(f"the page at byte {tags} fails its checksum")
