"""F2 and F20: what is no audio, whatever it is called, and playlists that lead elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.scan import APPLE_DOUBLE
from tests.zoo.animal import Animal
from tests.zoo.tags import id3

_HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 40
_JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1" + bytes(range(256)) * 20
_HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(5_000)
_MIDI = b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0" + bytes(60)
_AVI = b"RIFF\x10\x27\0\0AVI LIST" + bytes(10_000)


def _random(seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(50_000)


CONTENTS: dict[str, bytes] = {
    "html.mp3": _HTML,
    "text.wav": b"hello world " * 500,
    "text-utf-16.mp3": "hello world ".encode("utf-16") * 500,
    "jpeg.mp3": _JPEG,
    "heic.m4a": _HEIC,
    "midi.wav": _MIDI,
    "avi.wav": _AVI,
    "zip.flac": b"PK\3\4" + _random(1),
    "random.flac": _random(2),
    "random-behind-a-sync.mp3": b"\xff\xfb\x90\x64" + _random(3),
    "zeros.wav": bytes(50_000),
    "text-behind-a-tag.mp3": id3({b"TIT2": b"\3x"}) + b"hello world " * 500,
    # Neither their names nor their first bytes are those of audio: the scan leaves them where they are.
    "notes.txt": b"buy strings\n",
    "cover.jpg": _JPEG + b"a cover",
    "song.mid": _MIDI + bytes(4),
    "index": _HTML + b"no extension",
    "._song.mp3": APPLE_DOUBLE + b"\0\2\0\0Mac OS X        " + bytes(4_000),
}

# Each would make a player open an address or another file.
PLAYLISTS = {
    "hls.mp3": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "m3u.wav": "#EXTM3U\n#EXTINF:9,x\n{url}\n",
    "pls.mp3": "[playlist]\nFile1={url}\nNumberOfEntries=1\n",
    "ffconcat.flac": "ffconcat version 1.0\nfile {url}\n",
    "ffconcat-local.mp3": "ffconcat version 1.0\nfile '../F18/pcm.wav'\n",
    "sdp.mp3": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 96\n",
    "dash.m4a": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}</BaseURL></MPD>\n',
    "asx.wma": '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>\n',
}
_HIDDEN = "hls-behind-a-tag.mp3"
LEFT_OUT = "list.m3u8"


def _writes(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def animals(port: int) -> Iterator[Animal]:
    """Give all; playlists lead to this port of this machine."""
    for name, content in CONTENTS.items():
        yield Animal("F2", name, _writes(content))
    url = f"http://127.0.0.1:{port}/a.mp3"
    for name, text in PLAYLISTS.items():
        yield Animal("F20", name, _writes(text.format(url=url, port=port).encode()))
    hls = PLAYLISTS["hls.mp3"].format(url=url).encode()
    yield Animal("F20", _HIDDEN, _writes(id3({b"TIT2": b"\3x"}) + hls))
    yield Animal("F20", LEFT_OUT, _writes(hls + b"# a playlist under its own name\n"))
