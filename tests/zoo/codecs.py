"""F17 to F19: codecs that no decoder here has, all that can be decoded, and names that lie about it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.zoo.animal import Animal
from tests.zoo.flac import with_comments
from tests.zoo.sound import encoded, music, overwritten, replaced, written
from tests.zoo.tags import bare_mp3

# What ffmpeg is told of the output. A second input is a moving picture, or one that stands still.
_MOVING = "-f lavfi -i testsrc=d=1:s=64x64:r=5 -map 0:a -map 1:v -c:v mpeg4"
_COVER = (
    "-f lavfi -i color=red:s=16x16:d=0.04 -map 0:a -map 1:v -c:v mjpeg -disposition:v attached_pic"
)
_FFMPEG = {
    "aac.m4a": "-c:a aac",
    "aac-index-first.m4a": "-c:a aac -movflags +faststart",
    "aac.aac": "-c:a aac",
    "alac.m4a": "-c:a alac",
    "alac.caf": "-c:a alac",
    "flac.mp4": "-c:a flac",
    "opus.opus": "-c:a libopus",
    "opus.webm": "-c:a libopus",
    "flac.oga": "-c:a flac",
    "vorbis.mka": "-c:a libvorbis",
    "pcm.mka": "-c:a pcm_s24le",
    "wma-1.wma": "-c:a wmav1",
    "wma-2.wma": "-c:a wmav2",
    "wavpack.wv": "-c:a wavpack",
    "tta.tta": "-c:a tta",
    "ac3.ac3": "-c:a ac3",
    "eac3.eac3": "-c:a eac3",
    "dts.dts": "-c:a dca -strict -2",
    "amr.amr": "-ar 8000 -ac 1 -b:a 12.2k -c:a libopencore_amrnb",
    "mp2.mp2": "-c:a mp2",
    "mp3.mp3": "-c:a libmp3lame",
    "mp3-in-a-wav.wav": "-c:a libmp3lame",
    "pcm.mov": "-c:a pcm_s16le",
    "video.mp4": f"{_MOVING} -c:a aac",
    "video.mkv": f"{_MOVING} -c:a aac",
    "cover.m4a": f"{_COVER} -c:a aac",
    "cover.mp3": f"{_COVER} -c:a libmp3lame",
    "cover.flac": f"{_COVER} -c:a flac",
    "two-streams.m4a": "-map 0:a -map 0:a -c:a aac",
    "two-streams.mka": "-map 0:a -map 0:a -c:a flac",
}
_SNDFILE = (
    "pcm.wav", "flac.flac", "vorbis.ogg", "aiff.aiff", "au.au", "w64.w64", "rf64.rf64", "caf.caf",
    "voc.voc",
)  # fmt: skip


def _by_ffmpeg(options: str, *, seed: int) -> Callable[[Path], object]:
    return lambda file: encoded(file, music(seed=seed), options)


def _by_sndfile(*, seed: int) -> Callable[[Path], object]:
    return lambda file: written(file, music(seed=seed), container=file.suffix[1:].upper())


def _aifc(file: Path) -> None:
    written(file, music(seed=440), container="AIFF", subtype="ULAW")


def _video_alone(file: Path) -> None:
    encoded(file, music(seed=441), "-f lavfi -i testsrc=d=1:s=64x64:r=5 -map 1:v -c:v mpeg4")


def _encrypted(name: bytes, *, seed: int) -> Callable[[Path], object]:
    """Write an M4A as a shop does: the sample entry says that it is protected, the samples are noise."""

    def make(file: Path) -> None:
        # Their names, .m4p among them, say nothing to ffmpeg.
        encoded(file, music(seed=seed), "-c:a aac -movflags +faststart -f ipod")
        content = replaced(file, b"mp4a", name).read_bytes()
        place = content.index(b"mdat") + 4
        noise = np.random.default_rng(seed).bytes(len(content) - place)
        file.write_bytes(content[:place] + noise)

    return make


def _unknown_sample_entry(name: bytes, *, seed: int) -> Callable[[Path], object]:
    """Say of the AAC in an M4A that it is of another codec."""

    def make(file: Path) -> None:
        encoded(file, music(seed=seed), "-c:a aac")
        replaced(replaced(file, b"mp4a", name), b"esds", b"free")  # else ffmpeg believes that one

    return make


def _unknown_wav_codec(file: Path) -> None:
    overwritten(written(file, music(seed=403)), 20, struct.pack("<H", 0xFFF0))


def _unknown_matroska_codec(file: Path) -> None:
    replaced(encoded(file, music(seed=404), "-c:a libvorbis"), b"A_VORBIS", b"A_ZORBIS")


def _unknown_wma(file: Path) -> None:
    content = encoded(file, music(seed=405), "-c:a wmav2").read_bytes()
    file.write_bytes(content.replace(b"\x61\x01\x02\x00\x44\xac", b"\xf1\xf1\x02\x00\x44\xac"))


def _mqa(file: Path) -> None:
    plain = written(file, music(seed=406)).read_bytes()
    file.write_bytes(with_comments(plain, [b"ENCODER=MQAEncode v1.1", b"ORIGINALSAMPLERATE=96000"]))


def _foreign(container: str, *, seed: int) -> Callable[[Path], object]:
    return lambda file: written(file, music(seed=seed), container=container)


def _m4a_named_otherwise(file: Path) -> None:
    encoded(file.with_suffix(".m4a"), music(seed=452), "-c:a aac").rename(file)


def _mp3_named_otherwise(file: Path) -> None:
    bare_mp3(file.with_name("bare.mp3"), seed=453).rename(file)


UNSUPPORTED = (
    Animal("F17", "protected.m4p", _encrypted(b"drms", seed=400)),
    Animal("F17", "encrypted.m4a", _encrypted(b"enca", seed=401)),
    Animal("F17", "ac-4.m4a", _unknown_sample_entry(b"ac-4", seed=402)),
    Animal("F17", "unknown.m4a", _unknown_sample_entry(b"zzzz", seed=407)),
    Animal("F17", "unknown.wav", _unknown_wav_codec),
    Animal("F17", "unknown.mka", _unknown_matroska_codec),
    Animal("F17", "unknown.wma", _unknown_wma),
    Animal("F17", "mqa.flac", _mqa),
)
DECODED = (
    *(
        Animal("F18", name, _by_ffmpeg(options, seed=410 + number))
        for number, (name, options) in enumerate(_FFMPEG.items())
    ),
    *(Animal("F18", name, _by_sndfile(seed=460 + number)) for number, name in enumerate(_SNDFILE)),
    Animal("F18", "aifc.aifc", _aifc),
    Animal("F18", "video-alone.mp4", _video_alone),
)
LYING = (
    Animal("F19", "flac.mp3", _foreign("FLAC", seed=450)),
    Animal("F19", "wav", _foreign("WAV", seed=451)),
    Animal("F19", "m4a.wav", _m4a_named_otherwise),
    Animal("F19", "mp3.txt", _mp3_named_otherwise),
    Animal("F19", "wav.m4a", _foreign("WAV", seed=454)),
    Animal("F19", "UPPER.WAV", _foreign("WAV", seed=455)),
    Animal("F19", "ogg.jpg", _foreign("OGG", seed=456)),
)
ANIMALS = (*UNSUPPORTED, *DECODED, *LYING)
