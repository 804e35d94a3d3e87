"""What is wrong with a container by its own structure, which ffmpeg may pass over without a word."""

from __future__ import annotations

import os
from dataclasses import dataclass

from stages.base import Reason
from stages.boxes import cut_box
from stages.ogg import read_pages


@dataclass(frozen=True)
class Flaw:
    """A reason, and words. When `certain` it counts also where the decoder complains of nothing."""

    reason: Reason
    detail: str
    certain: bool


def find_flaw(fd: int, container: str) -> Flaw | None:
    """Return what an open file's own structure shows, None when it is sound or shows nothing.

    Raises:
        OSError: the file cannot be read.
    """
    if container == "mp4":
        cut = cut_box(fd)
        # Not certain: what is missing may be a cover or tags.
        return None if cut is None else Flaw(Reason.TRUNCATED, cut, certain=False)
    if container == "ogg" and os.pread(fd, 4, 0) == b"OggS":  # an ID3 tag may stand before it
        pages = read_pages(fd)
        # ffmpeg leaves a damaged page out: 13 ms of a second of Opus, and no error.
        if pages.damage:
            return Flaw(Reason.DAMAGED, pages.damage, certain=True)
        if pages.cut:
            return Flaw(Reason.TRUNCATED, pages.cut, certain=True)
    return None
