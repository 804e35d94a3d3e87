"""Where an MPEG stream (MP3, MP2) really ends: it has no header that says, and its decoder may not either."""

from __future__ import annotations

import os

from stages.containers import id3_bytes, sniff

# Junk behind the last frame is common, a second of it is not. libmpg123 knows ID3 and APE tags and
# steps over them; of the others Lyrics3 has 10 kB at most.
_MAX_JUNK_BYTES = 16_384

# First two bytes of a frame of layer II and III, and how many bytes a frame has at most.
_SYNCS = tuple(
    bytes((0xFF, second)) for second in b"\xe2\xe3\xe4\xe5\xf2\xf3\xf4\xf5\xfa\xfb\xfc\xfd"
)
_MAX_FRAME_BYTES = 1_441


def has_frame_count(fd: int) -> bool:
    """Return whether the first frame counts the others (Xing, Info or VBRI).

    Without one libsndfile's length is an estimate from the first frame's bitrate.
    """
    frame = os.pread(fd, 64, id3_bytes(os.pread(fd, 10, 0)))
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def goes_on(fd: int, position: int) -> bool:
    """Return whether another frame stands where libsndfile stopped.

    It stops at the count of the first frame, or at its own estimate from that frame's bitrate:
    concatenated files and variable bitrates without a count lose their rest.
    """
    position += id3_bytes(os.pread(fd, 10, position))
    return sniff(os.pread(fd, 64, position)) == "mpeg"


def gave_up(fd: int, position: int, *, failed: bool) -> str | None:
    """Return words when a decoder that stopped at `position` left music behind, else None.

    A decoder that loses its way fails with some damages, and with others stops without a word.
    With junk behind the last frame it fails too, where nothing is lost.
    """
    rest_bytes = os.fstat(fd).st_size - position
    rest = os.pread(fd, _MAX_JUNK_BYTES, position)
    if rest_bytes > _MAX_JUNK_BYTES or (failed and _has_frames(rest)):
        return f"the decoder gave up at byte {position}, {rest_bytes} before the end"
    return None


def _has_frames(rest: bytes) -> bool:
    # Random bytes have some of these marks too, at less than half the density that is asked for.
    marks = sum(rest.count(sync) for sync in _SYNCS)
    return marks * 2 * _MAX_FRAME_BYTES > len(rest)
