from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from stages import decode as decode_module
from stages.base import Reason, TrackUnusable
from stages.collect import Collector
from stages.decode import DecodeLimits, decode, read_header
from tests.stages.audio_files import (
    RATE_HZ,
    cut,
    encoded,
    noise,
    patched,
    read,
    refusal,
    scaled,
    scrambled,
    written,
)


@pytest.mark.parametrize("size", [20, 0])
def test_a_file_without_even_a_header_is_empty(tmp_path: Path, size: int) -> None:
    file = written(tmp_path / "a.wav", noise(0.1))
    file.write_bytes(file.read_bytes()[:size])

    reason, detail = refusal(file)

    assert reason is Reason.EMPTY
    assert detail.startswith(f"{size} bytes")


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.ogg"])
def test_a_header_with_no_samples_is_empty(tmp_path: Path, name: str) -> None:
    file = written(tmp_path / name, noise(0.0))

    assert refusal(file)[0] is Reason.EMPTY


@pytest.mark.parametrize(
    "content",
    [
        b"hello world " * 500,
        "hello world ".encode("utf-16") * 500,
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(range(256)) * 20,
        b"<!DOCTYPE html><html>" * 500,
        np.random.default_rng(0).bytes(50_000),
        b"\xff\xfb\x90\x64" + np.random.default_rng(1).bytes(5_000),
    ],
    ids=["text", "utf-16", "jpeg", "html", "random", "random with a sync"],
)
def test_what_is_not_audio_says_so_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(content)

    reason, detail = refusal(file)

    assert reason is Reason.NOT_AUDIO
    assert repr(content[:16]) in detail or "looks like mpeg" in detail
    assert "exist" not in detail


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac"])
def test_a_truncated_file_says_both_lengths(tmp_path: Path, name: str) -> None:
    file = cut(written(tmp_path / name, noise(4.0)))

    reason, detail = refusal(file)

    assert reason is Reason.TRUNCATED
    assert " s of the 4.000 s that its header promises" in detail
    decoded = read(file, allow_partial=True)
    assert decoded.flags == ("truncated",)
    assert np.array_equal(
        decoded.audio.samples, scaled(noise(4.0))[:, : decoded.audio.samples.shape[1]]
    )
    assert 2.0 < decoded.audio.duration_s < 2.5
    assert decoded.audio.samples.flags.c_contiguous


def test_an_ogg_file_cut_in_a_page_is_truncated(tmp_path: Path) -> None:
    file = cut(written(tmp_path / "a.ogg", noise(4.0)))

    assert refusal(file)[0] is Reason.TRUNCATED
    assert read(file, allow_partial=True).flags == ("truncated",)


def test_an_ogg_file_without_its_last_page_is_flagged(tmp_path: Path) -> None:
    file = written(tmp_path / "a.ogg", noise(4.0))
    data = file.read_bytes()
    file.write_bytes(data[: data.rindex(b"OggS")])

    assert read(file).flags == ("no_end",)


def test_a_few_missing_samples_are_not_a_truncation(tmp_path: Path) -> None:
    file = cut(written(tmp_path / "a.wav", noise(4.0)), 0.98)

    assert read(file).flags == ()


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_damage_in_the_middle_is_found(tmp_path: Path, name: str) -> None:
    file = scrambled(written(tmp_path / name, noise(4.0)), count=4_000)

    reason, _ = refusal(file)

    assert reason is Reason.DAMAGED
    decoded = read(file, allow_partial=True)
    assert decoded.flags == ("damaged",)
    assert decoded.audio.duration_s > 1.5


def test_a_bad_sector_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cut(written(tmp_path / "a.flac", noise(4.0)))
    pread = os.pread

    def failing(fd: int, count: int, offset: int) -> bytes:
        if offset > 100_000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, count, offset)

    monkeypatch.setattr(decode_module, "_READ_BYTES", 65_536)
    monkeypatch.setattr(os, "pread", failing)

    assert refusal(file) == (Reason.IO, f"Input/output error (errno {errno.EIO})")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0])
def test_a_streamed_wav_is_whole(tmp_path: Path, size: int) -> None:
    samples = noise(1.0)
    file = patched(written(tmp_path / "a.wav", samples), 40, "<I", size)

    decoded = read(file)

    assert np.array_equal(decoded.audio.samples, scaled(samples))
    assert decoded.flags == ()


def test_samples_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    samples = np.zeros((1_323_000, 1), dtype=np.float32)
    samples[[round(12.402 * RATE_HZ), 700_000, 800_000]] = [[np.nan], [np.inf], [-np.inf]]
    file = written(tmp_path / "a.wav", samples, subtype="FLOAT")

    expected = "3 of 1323000 samples are not finite, the first at 12.402 s"
    assert refusal(file) == (Reason.NONFINITE, expected)


@pytest.mark.parametrize("peak", [2e12, -3e38])
def test_samples_whose_power_no_stage_can_hold_are_no_sound(tmp_path: Path, peak: float) -> None:
    samples = np.zeros((RATE_HZ, 2), dtype=np.float32)
    samples[[441, 4410], [0, 1]] = peak
    file = written(tmp_path / "a.wav", samples, subtype="FLOAT")

    expected = "2 of 88200 samples are not finite, or beyond 1e+12, the first at 0.010 s"
    assert refusal(file) == (Reason.NONFINITE, expected)


def test_samples_far_above_full_scale_are_taken_as_they_are(tmp_path: Path) -> None:
    samples = np.full((RATE_HZ, 1), 9e11, dtype=np.float32)
    file = written(tmp_path / "a.wav", samples, subtype="FLOAT")

    assert np.array_equal(read(file).audio.samples, samples.T)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "words"),
    [
        (24, "<I", 0, "sample rate 0 Hz"),
        (24, "<I", 4_000_000_000, "sample rate 4000000000 Hz"),
        (22, "<H", 0, "0 channels"),
        (22, "<H", 65_535, "65535 channels"),
        (34, "<H", 0, "0 bits"),
    ],
)
def test_an_absurd_header_is_refused_with_its_value(
    tmp_path: Path, offset: int, layout: str, value: int, words: str
) -> None:
    file = patched(written(tmp_path / "a.wav", noise(0.1)), offset, layout, value)

    reason, detail = refusal(file)

    assert reason is Reason.BAD_HEADER
    assert detail.startswith(words)
    with pytest.raises(TrackUnusable, match=words):
        read_header(bytes(file))


@pytest.mark.parametrize(
    ("offset", "value", "words"), [(16, 0, "sample rate 0 Hz"), (20, 65_535, "65535 channels")]
)
def test_an_absurd_au_header_is_refused_with_its_value(
    tmp_path: Path, offset: int, value: int, words: str
) -> None:
    file = patched(written(tmp_path / "a.au", noise(0.1)), offset, ">I", value)

    reason, detail = refusal(file)

    assert reason is Reason.BAD_HEADER
    assert detail.startswith(words)


def test_what_stands_behind_a_tag_and_is_no_audio_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + b"hello world " * 500)

    expected = "behind its ID3 tag stands no audio that is known: b'hello world hell'"
    assert refusal(file) == (Reason.NOT_AUDIO, expected)


@pytest.mark.parametrize("limits", [DecodeLimits(max_duration_s=60), DecodeLimits(max_bytes=10**6)])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, limits: DecodeLimits) -> None:
    file = written(tmp_path / "a.flac", np.zeros((120 * RATE_HZ, 2), dtype=np.int16))
    assert file.stat().st_size < 40_000

    assert refusal(file, limits=limits)[0] is Reason.TOO_LONG
    with pytest.raises(TrackUnusable, match="too_long"):
        read_header(bytes(file), limits=limits)


def test_a_bomb_whose_header_lies_is_stopped_on_the_way(tmp_path: Path) -> None:
    file = encoded(
        tmp_path / "a.mp3", np.zeros((60 * RATE_HZ, 2), dtype=np.int16), "-write_xing", "0"
    )
    told: list[float] = []

    with pytest.raises(TrackUnusable, match="too_long"):
        decode(bytes(file), limits=DecodeLimits(max_duration_s=10), tick=told.append)

    assert max(told) <= 10


def test_chained_ogg_streams_are_all_read(tmp_path: Path) -> None:
    file = written(tmp_path / "a.ogg", noise(1.0))
    file.write_bytes(file.read_bytes() * 2)

    decoded = read(file)

    assert decoded.audio.duration_s == pytest.approx(2.0, abs=0.02)
    assert decoded.flags == ("chained",)


@pytest.mark.timeout(20)
def test_a_fifo_named_like_audio_does_not_block(tmp_path: Path) -> None:
    fifo = tmp_path / "a.wav"
    os.mkfifo(fifo)

    assert refusal(fifo) == (Reason.NOT_AUDIO, "not a regular file (prw-r--r--)")
    assert refusal(tmp_path)[0] is Reason.NOT_AUDIO


def test_a_missing_file_is_an_io_problem(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.wav") == (Reason.IO, "No such file or directory (errno 2)")


def test_too_little_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "a.wav", noise(0.2))

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Collector, "begin", full)

    assert refusal(file)[0] is Reason.MEMORY


def test_a_listener_that_is_gone_is_not_the_tracks_fault(tmp_path: Path) -> None:
    file = written(tmp_path / "a.wav", noise(0.2))

    def gone(done_s: float) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        decode(bytes(file), tick=gone)
