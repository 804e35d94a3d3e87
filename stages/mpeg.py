"""Where an MPEG stream (MP3, MP2) really ends: it has no header that says, and its decoder may not either."""

from __future__ import annotations

import os

from stages.containers import id3_bytes, sniff
from stages.mpeg_frames import find_frames

# Junk behind the last frame is common, a second of it is not. libmpg123 knows ID3 and APE tags and
# steps over them; of the others Lyrics3 has 10 kB at most.
_MAX_JUNK_BYTES = 16_384

# The least that a frame can take: 8 kbit/s at 24 kHz, 576 samples in 24 bytes.
_MOST_SAMPLES_PER_BYTE = 24


def has_frame_count(fd: int) -> bool:
    """Return whether the first frame counts the others (Xing, Info or VBRI).

    Without one libsndfile's length is an estimate from the first frame's bitrate.
    """
    frame = os.pread(fd, 64, id3_bytes(os.pread(fd, 10, 0)))
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def is_possible(frames: int, fd: int) -> bool:
    """Return whether a file of this size can hold so many samples: a wrong count may say hours."""
    return frames <= os.fstat(fd).st_size * _MOST_SAMPLES_PER_BYTE


def goes_on(fd: int, position: int) -> bool:
    """Return whether other frames stand where libsndfile stopped, or in a short rest behind that.

    It stops at the count of the first frame, at its own estimate from that frame's bitrate, or
    where the rate changes: concatenated files and variable bitrates without a count lose their rest.
    """
    position += id3_bytes(os.pread(fd, 10, position))
    if sniff(os.pread(fd, 64, position)) == "mpeg":
        return True
    rest = os.pread(fd, _MAX_JUNK_BYTES + 1, position)
    return len(rest) <= _MAX_JUNK_BYTES and find_frames(rest) is not None


def gave_up(fd: int, position: int, *, failed: bool) -> str | None:
    """Return words when a decoder that stopped at `position` left music behind, else None.

    A decoder that loses its way fails with some damages, and with others stops without a word.
    With junk behind the last frame it fails too, where nothing is lost.
    """
    rest_bytes = os.fstat(fd).st_size - position
    rest = os.pread(fd, _MAX_JUNK_BYTES, position)
    if rest_bytes > _MAX_JUNK_BYTES or (failed and find_frames(rest) is not None):
        return f"the decoder gave up at byte {position}, {rest_bytes} before the end"
    return None
