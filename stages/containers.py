"""What kind of file this is, told by its first bytes. No numeric library: the scanner imports it."""

from __future__ import annotations

from stages.mpeg_frames import frame_bytes

# A hint for the scan only: what a file is, its bytes decide.
AUDIO_EXTENSIONS: frozenset[bytes] = frozenset(
    b".aac .ac3 .aif .aifc .aiff .alac .amr .ape .au .caf .dff .dsf .dts .eac3 .ec3 .flac .m4a .m4b"
    b" .m4r .mka .mov .mp2 .mp3 .mp4 .mpa .mpc .oga .ogg .opus .rf64 .snd .spx .tak .tta .voc .w64"
    b" .wav .wave .weba .webm .wma .wv".split()
)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"caff", "caf"),
    (b"wvpk", "wavpack"),
    (b"MAC ", "ape"),
    (b".snd", "au"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", "asf"),
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"TTA1", "tta"),
    (b"TTA2", "tta"),
    (b"DSD ", "dsf"),
    (b"tBaK", "tak"),
    (b"MPCK", "musepack"),
    (b"MP+", "musepack"),
    (b"#!AMR", "amr"),
    (b"\x7f\xfe\x80\x01", "dts"),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00", "w64"),
    (b"Creative Voice File\x1a", "voc"),
)

# IFF-like files: the kind stands at byte 8, behind the size.
_FORMS: dict[tuple[bytes, bytes], str] = {
    (b"RIFF", b"WAVE"): "wav",
    (b"RF64", b"WAVE"): "rf64",
    (b"BW64", b"WAVE"): "rf64",
    (b"FORM", b"AIFF"): "aiff",
    (b"FORM", b"AIFC"): "aiff",
    (b"FRM8", b"DSD "): "dff",
}

# ISO base media also carries pictures (HEIF, AVIF, JPEG 2000, Canon raw).
_IMAGE_BRANDS = frozenset(
    b"heic,heix,heim,heis,hevc,hevx,mif1,mif2,msf1,avif,avis,jp2 ,jpx ,jpm ,jxl ,crx ".split(b",")
)

_ID3_HEADER_BYTES = 10


def sniff(head: bytes) -> str | None:
    """Return the container's name, for example `"wav"` or `"mpeg"`; None when this is not audio.

    Args:
        head: the first bytes of the file, 64 or more of them (all when it has fewer).
    """
    if head[:3] == b"ID3":
        return _behind_id3(head)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    form, size_bytes = head[:4], 8 if head.startswith(b"FRM8") else 4
    kind = head[4 + size_bytes :][:4]
    return _FORMS.get((form, kind)) or _mp4(head) or _frame(head)


def id3_bytes(head: bytes) -> int:
    """Return the length of the ID3v2 tag that `head` begins with, 0 where there is none."""
    if len(head) < _ID3_HEADER_BYTES or head[:3] != b"ID3" or head[3] not in (2, 3, 4):
        return 0
    if max(head[6:10]) > 0x7F:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    footer = _ID3_HEADER_BYTES if head[5] & 0x10 else 0
    return _ID3_HEADER_BYTES + size + footer


def _behind_id3(head: bytes) -> str | None:
    length = id3_bytes(head)
    if length == 0:
        return None
    behind = head[length:]
    if len(behind) < 4 or not any(behind):
        return "mpeg"  # the tag, or its padding, goes on beyond what was read
    # A playlist may hide behind a tag: ffmpeg skips the tag too before it looks.
    return sniff(behind) if behind[:3] != b"ID3" else "mpeg"


def _mp4(head: bytes) -> str | None:
    box, brand = head[4:8], head[8:12]
    if box == b"ftyp" and len(brand) == 4 and brand not in _IMAGE_BRANDS:
        return "mp4"
    return "mp4" if box in (b"moov", b"mdat", b"wide") else None


def _frame(head: bytes) -> str | None:
    """Return the kind of a stream that has no file header, only frames."""
    if len(head) < 6:
        return None
    if head[:2] == b"\x0b\x77":
        return _ac3(head)
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return _adts(head)
    # The UTF-16 mark FF FE would be layer I, and is none of these.
    return "mpeg" if frame_bytes(head) is not None else None


def _ac3(head: bytes) -> str | None:
    stream_id = head[5] >> 3
    if stream_id <= 10:
        legal = head[4] >> 6 != 3 and head[4] & 0x3F < 38
        return "ac3" if legal else None
    return "ac3" if stream_id <= 16 else None


def _adts(head: bytes) -> str | None:
    rate_index = head[2] >> 2 & 0x0F
    frame_bytes = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return "adts" if rate_index < 13 and frame_bytes > 7 else None
