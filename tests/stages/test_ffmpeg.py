from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stages import ffmpeg
from stages.base import Reason, TrackUnusable
from stages.decode import DecodeLimits, decode, read_header
from stages.ffmpeg import find_ffmpeg
from tests.stages.audio_files import (
    RATE_HZ,
    cut,
    encoded,
    noise,
    patched,
    read,
    refusal,
    scrambled,
    written,
)

AU_HEADER = (
    "echo '[info] Stream mapping:' >&2; printf '.snd"
    r"\000\000\000\030\377\377\377\377\000\000\000\006\000\000\254\104\000\000\000\002'"
)

FakeFfmpeg = Callable[[str], None]


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFfmpeg]:
    """Put a script before everything else that is called ffmpeg; it leaves its pid in `pid`."""

    def install(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "ffmpeg"
        version = 'if [ "$1" = -version ]; then echo ffmpeg version fake; exit; fi'
        program.write_text(f"#!/bin/sh\n{version}\necho $$ > {tmp_path}/pid\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr(ffmpeg, "_FILE_BYTES", 1 << 20)  # for its pid
        find_ffmpeg.cache_clear()

    yield install
    find_ffmpeg.cache_clear()


def _fake_m4a(folder: Path) -> Path:
    file = folder / "a.m4a"
    file.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    return file


def _is_gone(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.m4a", "aac", ()),
        ("b.m4a", "alac", ("-c:a", "alac")),
        ("a.wma", "wmav2", ("-c:a", "wmav2")),
        ("a.ac3", "ac3", ()),
        ("a.wv", "wavpack", ()),
        ("a.tta", "tta", ()),
        ("a.aac", "aac", ()),
        ("a.mka", "flac", ("-c:a", "flac")),
        ("a.dts", "dts", ("-strict", "-2")),
        ("a.caf", "alac", ("-c:a", "alac")),
        ("flac.ogg", "flac", ("-c:a", "flac")),
    ],
)
def test_what_libsndfile_cannot_open_ffmpeg_can(
    tmp_path: Path, name: str, codec: str, options: tuple[str, ...]
) -> None:
    samples = noise(2.0)
    file = encoded(tmp_path / name, samples, *options)

    decoded = read(file)

    assert decoded.decoder.startswith("ffmpeg ")
    assert (decoded.codec, decoded.flags, decoded.audio.channels) == (codec, (), 2)
    assert decoded.audio.duration_s == pytest.approx(2.0, abs=0.05)
    header = read_header(bytes(file))
    assert (header.sample_rate_hz, header.channels, header.codec) == (RATE_HZ, 2, codec)
    assert header.duration_s == pytest.approx(2.0, abs=0.15)
    # Not ALAC in CAF: there ffmpeg itself takes the last, short packet for a padded one.
    if codec in ("alac", "wavpack", "tta", "flac") and name != "a.caf":
        assert np.array_equal(decoded.audio.samples.T * 32_768, samples)


@pytest.mark.parametrize("channels", [1, 6, 8])
def test_all_channels_come_through_in_order(tmp_path: Path, channels: int) -> None:
    samples = noise(0.3, channels=channels)
    file = encoded(tmp_path / "a.wv", samples)

    assert np.array_equal(read(file).audio.samples.T * 32_768, samples)


def test_surround_aac_is_decoded(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.m4a", noise(0.5, channels=6))

    assert read(file).audio.channels == 6


def test_a_video_longer_than_its_sound_does_not_make_it_truncated(tmp_path: Path) -> None:
    film = ("-f", "lavfi", "-i", "testsrc=d=4:s=64x64", "-c:v", "mpeg4")

    assert read(encoded(tmp_path / "a.mp4", noise(1.0), *film)).flags == ()


def test_a_film_without_sound_is_no_audio(tmp_path: Path) -> None:
    silent = ("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-map", "1:v", "-c:v", "mpeg4")

    assert refusal(encoded(tmp_path / "a.mp4", noise(0.1), *silent)) == (
        Reason.NOT_AUDIO,
        "this mp4 file has no audio stream",
    )


def test_the_first_of_several_streams_is_taken_and_flagged(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.mka", noise(0.5), "-map", "0:a", "-map", "0:a", "-c:a", "flac")

    assert read(file).flags == ("several_streams",)


def test_a_truncated_m4a_says_both_lengths(tmp_path: Path) -> None:
    file = cut(encoded(tmp_path / "a.m4a", noise(4.0), "-movflags", "+faststart"))

    reason, detail = refusal(file)

    assert reason is Reason.TRUNCATED
    assert " s of the 4.000 s that its header promises" in detail
    assert read(file, allow_partial=True).flags == ("truncated",)


def test_an_m4a_that_lost_its_index_is_truncated(tmp_path: Path) -> None:
    file = cut(encoded(tmp_path / "a.m4a", noise(2.0)))

    reason, detail = refusal(file)

    assert reason is Reason.TRUNCATED
    assert detail.startswith(
        "the index of this mp4 file (moov) is missing; its box mdat should have"
    )
    assert detail.endswith(" are there")


def test_damage_is_found_and_quoted_without_the_path(tmp_path: Path) -> None:
    file = scrambled(encoded(tmp_path / "a.m4a", noise(4.0), "-movflags", "+faststart"))

    reason, detail = refusal(file)

    assert reason is Reason.DAMAGED
    assert detail.startswith("errors while decoding: ")
    assert str(tmp_path) not in detail
    assert read(file, allow_partial=True).flags == ("damaged",)


def test_a_codec_that_nobody_has_is_named(tmp_path: Path) -> None:
    file = patched(written(tmp_path / "a.wav", noise(0.5)), 20, "<H", 0x1234)

    reason, detail = refusal(file)

    assert reason is Reason.UNSUPPORTED
    assert detail.startswith("codec 4[18][0][0] in wav: ")


@pytest.mark.timeout(30)
def test_a_hanging_ffmpeg_is_ended_and_reaped(
    tmp_path: Path, fake_ffmpeg: FakeFfmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "STALL_S", 0.3)
    fake_ffmpeg(f"{AU_HEADER}; exec sleep 600")

    assert refusal(_fake_m4a(tmp_path)) == (
        Reason.HANG,
        "ffmpeg gave nothing for 0.3 s and was ended",
    )
    assert _is_gone(tmp_path)


@pytest.mark.timeout(30)
def test_an_ffmpeg_that_never_stops_writing_is_capped_and_reaped(
    tmp_path: Path, fake_ffmpeg: FakeFfmpeg
) -> None:
    fake_ffmpeg(f"{AU_HEADER}; exec cat /dev/zero")

    reason, _ = refusal(_fake_m4a(tmp_path), limits=DecodeLimits(max_duration_s=20))

    assert reason is Reason.TOO_LONG
    assert _is_gone(tmp_path)


@pytest.mark.timeout(30)
def test_a_flood_of_words_is_drained_and_not_kept(tmp_path: Path, fake_ffmpeg: FakeFfmpeg) -> None:
    fake_ffmpeg(
        f"head -c 20000000 /dev/zero | tr '\\000' 'x' >&2; echo >&2; echo '[info] Stream mapping:' >&2;"
        f"yes '[error] a bad {tmp_path}/a.m4a' | head -n 50000 >&2; {AU_HEADER}; head -c 80000 /dev/zero"
    )

    reason, detail = refusal(_fake_m4a(tmp_path))

    assert (reason, detail) == (
        Reason.DAMAGED,
        "errors while decoding: 50000, the first: a bad the file",
    )


def test_an_ffmpeg_that_dies_is_said_to(tmp_path: Path, fake_ffmpeg: FakeFfmpeg) -> None:
    fake_ffmpeg(f"{AU_HEADER}; head -c 80000 /dev/zero; kill -SEGV $$")

    assert refusal(_fake_m4a(tmp_path)) == (
        Reason.DAMAGED,
        "ffmpeg died: Segmentation fault",
    )


def test_a_header_waits_for_what_ffmpeg_says_of_its_input(
    tmp_path: Path, fake_ffmpeg: FakeFfmpeg
) -> None:
    said = (
        "[info]   Duration: 00:01:02.50, start: 0.000000, bitrate: 128 kb/s",
        "[info]   Stream #0:0[0x1](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, stereo",
    )
    words = "; ".join(f"echo '{line}' >&2" for line in said)
    write_audio = AU_HEADER.partition("; ")[2]
    fake_ffmpeg(
        f"{write_audio}; sleep 0.2; {words}; echo '[info] Stream mapping:' >&2; exec sleep 60"
    )

    header = read_header(bytes(_fake_m4a(tmp_path)))

    assert (header.duration_s, header.codec) == (62.5, "aac")


def test_too_long_an_m4a_is_refused_by_its_header(tmp_path: Path) -> None:
    file = encoded(tmp_path / "a.m4a", noise(20.0))
    told: list[float] = []

    with pytest.raises(TrackUnusable, match="too_long"):
        decode(bytes(file), limits=DecodeLimits(max_duration_s=10), tick=told.append)

    assert told == []


def test_reading_a_header_leaves_no_process_behind(tmp_path: Path, fake_ffmpeg: FakeFfmpeg) -> None:
    fake_ffmpeg(f"{AU_HEADER}; exec cat /dev/zero")

    assert read_header(bytes(_fake_m4a(tmp_path))).sample_rate_hz == RATE_HZ
    assert _is_gone(tmp_path)


def test_ffmpeg_runs_under_limits() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        ffmpeg._restrict(child.pid, DecodeLimits(max_duration_s=100))
        memory = resource.prlimit(child.pid, resource.RLIMIT_AS)
        cpu = resource.prlimit(child.pid, resource.RLIMIT_CPU)
        child.kill()

    assert memory == (2 * 2**30, 2 * 2**30)
    assert cpu == (85, 90)


def test_ffmpeg_gets_every_safety_option(tmp_path: Path, fake_ffmpeg: FakeFfmpeg) -> None:
    fake_ffmpeg(f'echo "$@" > {tmp_path}/arguments; exit 1')
    file = _fake_m4a(tmp_path)

    refusal(file)

    arguments = (tmp_path / "arguments").read_text()
    assert arguments.startswith("-nostdin ")
    assert "-protocol_whitelist file,pipe " in arguments
    assert f"-i file:{file} -map 0:a:0 " in arguments
    assert "-t 14401.000 " in arguments
    assert not {"hls", "concat", "sdp", "dash", "rtsp"} & set(ffmpeg._DEMUXERS.split(","))


def test_without_any_ffmpeg_the_message_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ffmpeg, "_bundled", lambda: None)
    find_ffmpeg.cache_clear()

    reason, detail = refusal(_fake_m4a(tmp_path))
    find_ffmpeg.cache_clear()

    assert reason is Reason.UNSUPPORTED
    assert "apt install ffmpeg" in detail


def test_a_broken_system_ffmpeg_gives_way_to_the_bundled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    find_ffmpeg.cache_clear()

    found = find_ffmpeg()
    find_ffmpeg.cache_clear()

    assert found is not None
    assert "imageio_ffmpeg" in found.path
