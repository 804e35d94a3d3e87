from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import decode as decode_module
from stages import ffmpeg
from stages.base import Reason, TrackUnusable
from stages.decode import DecodeLimits
from tests.listening import listening
from tests.stages.audio_files import (
    noise,
    refusal,
    written,
)


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    with listening() as server:
        yield server


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.mp3\n#EXT-X-ENDLIST\n",
    "m3u": "#EXTM3U\n#EXTINF:9,x\nhttp://127.0.0.1:{port}/a.mp3\n",
    "ffconcat": "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp3\n",
    "local": "ffconcat version 1.0\nfile '{folder}/other.wav'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 96\n",
}


@pytest.mark.parametrize(
    "tag", [b"", b"ID3\x04\0\0\0\0\0\x0a" + bytes(10), b"ID3\x04\0\0\0\0\x7f\x7f" + bytes(0x3FFF)]
)
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_opens_no_address_and_no_other_file(
    tmp_path: Path, listener: tuple[int, list[object]], kind: str, tag: bytes
) -> None:
    port, calls = listener
    written(tmp_path / "other.wav", noise(0.5))
    file = tmp_path / "a.mp3"
    file.write_bytes(tag + PLAYLISTS[kind].format(port=port, folder=tmp_path).encode())

    assert refusal(file)[0] is Reason.NOT_AUDIO
    assert calls == []


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_never_reaches_ffmpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(decode_module, "FfmpegSource", lambda *_, **__: pytest.fail("was asked"))
    file = tmp_path / "a.mp3"
    file.write_text(PLAYLISTS[kind])

    assert refusal(file)[0] is Reason.NOT_AUDIO


def test_a_playlist_behind_magic_bytes_is_not_followed(tmp_path: Path) -> None:
    written(tmp_path / "other.wav", noise(0.5))
    file = tmp_path / "list.ffconcat"
    file.write_text("ffconcat version 1.0\nfile other.wav\n")

    with pytest.raises(TrackUnusable, match="cannot be opened"):
        ffmpeg.FfmpegSource(bytes(file), "mp4", DecodeLimits())
