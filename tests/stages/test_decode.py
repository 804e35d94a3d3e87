from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages import collect
from stages.base import TrackUnusable
from stages.decode import DecodeLimits, Reading, decode, decode_into, read_header
from tests.stages.audio_files import (
    RATE_HZ,
    cut,
    encoded,
    noise,
    patched,
    read,
    scaled,
    written,
)

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "audio"


@pytest.mark.parametrize("channels", [1, 2, 6, 16])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.caf", "a.au", "a.w64"])
def test_lossless_files_decode_to_the_very_samples(
    tmp_path: Path, name: str, channels: int
) -> None:
    if name == "a.flac" and channels > 8:
        channels = 8
    samples = noise(1.9, channels=channels)
    file = written(tmp_path / name, samples)

    decoded = read(file)

    assert np.array_equal(decoded.audio.samples, scaled(samples))
    assert decoded.audio.samples.dtype == np.float32
    assert decoded.audio.samples.flags.c_contiguous
    assert decoded.audio.sample_rate_hz == RATE_HZ
    assert decoded.decoder.startswith("libsndfile 1.")
    assert decoded.flags == ()


def test_24_bits_and_samples_above_full_scale_stay_exact(tmp_path: Path) -> None:
    loud = np.array([[1.5, -3.25], [0.1, 2**-23]], dtype=np.float32)
    float_file = written(tmp_path / "f.wav", loud, subtype="FLOAT")
    deep_file = written(tmp_path / "d.flac", loud[1:], subtype="PCM_24")

    assert np.array_equal(read(float_file).audio.samples, loud.T)
    assert read(deep_file).audio.samples[1, 0] == 2**-23


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp3", "mp3", {}),
        ("a.ogg", "vorbis", {}),
        ("a.opus", "opus", {"format": "OGG", "subtype": "OPUS", "samplerate": 48_000}),
    ],
)
def test_lossy_files_keep_their_length(
    tmp_path: Path, name: str, codec: str, options: dict[str, str | int]
) -> None:
    # 176,400 frames: the case in which three decoders gave three lengths, encoder delay and all.
    file = written(tmp_path / name, noise(4.0), **options)

    decoded = read(file)

    assert decoded.audio.samples.shape == (2, 176_400)
    assert (decoded.codec, decoded.flags) == (codec, ())


def test_progress_is_told_by_block_and_at_the_end(tmp_path: Path) -> None:
    file = written(tmp_path / "a.flac", noise(10.0, channels=1))
    told: list[float] = []

    decode(bytes(file), tick=told.append)

    assert told == sorted(told)
    assert told[-1] == 10.0
    assert len(told) == 10 * RATE_HZ // 65_536 + 1


def test_audio_of_many_slabs_is_joined_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "_SLAB_BYTES", 40_000)
    samples = noise(2.0)
    file = patched(written(tmp_path / "a.flac", samples), 22, ">I", 0)  # length unknown

    decoded = read(file)

    assert np.array_equal(decoded.audio.samples, scaled(samples))


class Notes:
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.blocks: list[NDArray[np.float32]] = []

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        self.told.append(f"begin {sample_rate_hz} {channels} {expected_frames}")
        self.blocks.clear()

    def add(self, block: NDArray[np.float32]) -> None:
        assert block.flags.c_contiguous
        assert block.dtype == np.float32
        assert np.isfinite(block).all()
        self.blocks.append(block.copy())

    def end(self) -> None:
        self.told.append("end")


@pytest.mark.parametrize("name", ["a.flac", "a.m4a"])
def test_a_sink_gets_the_very_samples_in_blocks(tmp_path: Path, name: str) -> None:
    file = (written if name == "a.flac" else encoded)(tmp_path / name, noise(4.0, channels=1))
    decoded = decode(bytes(file))
    notes = Notes()

    reading = decode_into(bytes(file), notes)

    frames = decoded.audio.samples.shape[1]
    assert reading == Reading(frames, RATE_HZ, 1, decoded.decoder, decoded.codec, decoded.flags)
    assert notes.told == [f"begin 44100 1 {frames if name == 'a.flac' else None}", "end"]
    assert len(notes.blocks) == 3
    assert np.array_equal(np.concatenate(notes.blocks).T, decoded.audio.samples)


def test_a_sink_begins_anew_with_another_decoder_unless_that_is_known(tmp_path: Path) -> None:
    file = written(tmp_path / "a.mp3", noise(3.0))
    file.write_bytes(file.read_bytes() * 3)
    first, second = Notes(), Notes()

    reading = decode_into(bytes(file), first)
    again = decode_into(bytes(file), second, decoder=reading.decoder)

    assert first.told == ["begin 44100 2 132300", "begin 44100 2 None", "end"]
    assert second.told == ["begin 44100 2 None", "end"]
    assert (reading.flags, again.flags) == (("length_differs",), ())
    assert reading.frames == again.frames == sum(map(len, first.blocks))
    assert np.array_equal(np.concatenate(first.blocks), np.concatenate(second.blocks))


def test_nothing_is_passed_on_from_a_block_with_a_bad_sample_on(tmp_path: Path) -> None:
    samples = np.zeros((300_000, 2), dtype=np.float32)
    samples[[100_000, 299_999]] = [[0.0, np.nan], [np.inf, 0.0]]
    file = written(tmp_path / "a.wav", samples, subtype="FLOAT")
    notes = Notes()

    with pytest.raises(TrackUnusable, match="2 of 600000 samples are not finite"):
        decode_into(bytes(file), notes)

    assert notes.told == ["begin 44100 2 300000"]
    assert len(notes.blocks) == 1


def test_a_sink_does_not_hear_the_end_of_a_file_that_is_not_whole(tmp_path: Path) -> None:
    file = cut(written(tmp_path / "a.flac", noise(4.0)))
    refused, allowed = Notes(), Notes()

    with pytest.raises(TrackUnusable, match="truncated"):
        decode_into(bytes(file), refused)
    reading = decode_into(bytes(file), allowed, limits=DecodeLimits(allow_partial=True))

    assert [told.split()[0] for told in refused.told] == ["begin"]
    assert [told.split()[0] for told in allowed.told] == ["begin", "end"]
    assert reading.flags == ("truncated",)


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 96_000, 192_000, 352_800])
def test_every_sane_rate_is_kept(tmp_path: Path, sample_rate_hz: int) -> None:
    file = written(tmp_path / "a.wav", noise(0.1), samplerate=sample_rate_hz)

    assert read(file).audio.sample_rate_hz == sample_rate_hz


@pytest.mark.parametrize("name", ["a.mp3", "noname", "A.WAV", "a.txt"])
def test_a_flac_file_is_one_under_any_name(tmp_path: Path, name: str) -> None:
    file = written(tmp_path / name, noise(0.2), format="FLAC")

    assert read(file).codec == "flac"


NAMES: Sequence[bytes] = (
    "é NFC".encode(),
    b"e\xcc\x81 NFD",
    "🎧 عربي".encode(),
    b"new\nline\ttab\x1b[31m",
    b"-y",
    b"http:",
    b"concat:a|b",
    b"%d 'quoted\" \\ ;$(x)",
    b"n" * 251,
    b"trailing. ",
    b"\xff\xfe undecodable",
)


@pytest.mark.parametrize("ending", [b".wav", b".m4a"])
@pytest.mark.parametrize("name", NAMES)
def test_every_name_works(tmp_path: Path, name: bytes, ending: bytes) -> None:
    source = (
        written(tmp_path / "source.wav", noise(0.2))
        if ending == b".wav"
        else encoded(tmp_path / "source.m4a", noise(0.2))
    )
    path = os.path.join(os.fsencode(tmp_path), name + ending)
    os.rename(source, path)

    assert decode(path).audio.channels == 2
    assert read_header(path).channels == 2


@pytest.mark.parametrize("name", ["-y.m4a", "http:x.m4a", "concat:a|b.m4a", "pipe:0.m4a"])
def test_a_relative_name_that_means_something_to_ffmpeg_is_only_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    encoded(tmp_path / "a.m4a", noise(0.2)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)

    assert decode(os.fsencode(name)).codec == "aac"


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_16"), ("a.flac", "flac"), ("a.mp3", "mp3")]
)
def test_a_header_is_read_without_decoding(tmp_path: Path, name: str, codec: str) -> None:
    file = written(tmp_path / name, noise(4.0))

    header = read_header(bytes(file))

    assert (header.duration_s, header.sample_rate_hz, header.channels) == (4.0, RATE_HZ, 2)
    assert header.codec == codec


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS}")
def test_real_recordings_decode_without_remark() -> None:
    files = sorted(file for file in RECORDINGS.iterdir() if file.suffix != ".md")

    flags = {file.name: read(file).flags for file in files}

    assert flags
    assert set(flags.values()) == {()}
    lossless, lossy = (read(RECORDINGS / f"stereo-4s{end}").audio for end in (".flac", ".m4a"))
    assert abs(lossless.duration_s - lossy.duration_s) < 0.05
