"""The first choice of decoders: libsndfile, on a descriptor, so that it opens no other file."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from stages.base import Reason
from stages.collect import Ending, Intake
from stages.containers import sniff
from stages.headers import read_declared
from stages.mpeg import gave_up, goes_on, has_frame_count, is_possible
from stages.ogg import Pages, read_pages

# soundfile seeks after every read, which costs MP3 0.07 ms: large blocks. But libsndfile gives nothing
# of a block in which it fails, so that the last good part is fetched in small ones: an MP3 frame.
_SMALL_READ_FRAMES = 1152
_READ_FRAMES = 57 * _SMALL_READ_FRAMES

# What libsndfile says where it does not know the length.
_UNKNOWN_FRAMES = 2**63 - 1

# Shorter by more than both of these is cut off: encoders round to their frames and trim paddings.
TOLERANCE_S = 0.1
TOLERANCE_RATIO = 0.005

_CODECS = {"MPEG_LAYER_I": "mp1", "MPEG_LAYER_II": "mp2", "MPEG_LAYER_III": "mp3"}


class OtherDecoderNeeded(Exception):
    """libsndfile cannot open this file, or would play only a part of it. Never leaves `decode`."""

    def __init__(self, flags: tuple[str, ...] = ()) -> None:
        super().__init__(flags)
        self.flags = flags


def is_short(seconds: float, promised_s: float) -> bool:
    """Return whether so much is missing that the file must have been cut off."""
    missing_s = promised_s - seconds
    return missing_s > TOLERANCE_S and missing_s > TOLERANCE_RATIO * promised_s


class SndfileSource:
    """An open file that libsndfile reads.

    Args:
        fd: descriptor of a regular file, which stays the caller's and whose position moves.
        head: the first bytes of the file.

    Raises:
        OtherDecoderNeeded: it cannot be opened by libsndfile.
        OSError: the file cannot be read.
    """

    decoder = f"libsndfile {sf.__libsndfile_version__}"

    def __init__(self, fd: int, head: bytes) -> None:
        self._fd = fd
        os.lseek(fd, 0, os.SEEK_SET)  # libsndfile takes the position for the file's beginning
        try:
            self._file = sf.SoundFile(fd, closefd=False)
        except sf.LibsndfileError as error:
            raise OtherDecoderNeeded from error
        self.sample_rate_hz: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.codec = _codec(self._file)
        self._container = sniff(head)
        self._mpeg_file = self._file.format == "MP3"
        self._mpeg = self._file.subtype.startswith("MPEG")  # in a WAV, perhaps
        self._counted = self._mpeg_file and has_frame_count(fd)
        possible = self._counted and is_possible(self._file.frames, fd)
        self.length_is_known = not self._mpeg or possible
        self.expected_frames: int | None = self._file.frames if self.length_is_known else None
        self._refuse_what_libsndfile_gets_wrong(head)

    def _refuse_what_libsndfile_gets_wrong(self, head: bytes) -> None:
        frames, container = self._file.frames, self._container
        # Any two bytes from FF E0 on pass for MPEG there, UTF-16 text among them.
        text = self._mpeg_file and container is None and not head.startswith(b"ID3")
        # A recorder that died leaves a WAV that says 0 bytes and has hours. A FLAC of unknown
        # length ends in an error and without its last block.
        unfinished = frames == 0 and container in ("wav", "rf64")
        if text or unfinished or frames == _UNKNOWN_FRAMES:
            self.close()
            raise OtherDecoderNeeded

    @property
    def duration_s(self) -> float | None:
        """Length by the header; for MPEG without a frame count an estimate, None for absurd ones."""
        absurd = self._counted and not self.length_is_known
        return None if absurd else float(self._file.frames / self.sample_rate_hz)

    def close(self) -> None:
        """Release the decoder, not the descriptor."""
        self._file.close()

    def read_into(self, intake: Intake) -> Ending:
        """Decode everything into `intake`.

        Raises:
            OtherDecoderNeeded: libsndfile does not play all of this file.
            TrackUnusable: the limits are exceeded.
            OSError: the file cannot be read.
        """
        pages = read_pages(self._fd) if self._file.format == "OGG" else None
        if pages is not None and pages.chained:
            raise OtherDecoderNeeded(("chained",))
        failed = self._read_blocks(intake)
        position = os.lseek(self._fd, 0, os.SEEK_CUR)
        if self._mpeg_file:
            return self._mpeg_ending(intake, position, failed=failed)
        promised_s = self._promised_s()
        if failed:
            return Ending(
                promised_s,
                trouble=f"the decoder failed after {intake.duration_s:.3f} s",
                reached_end=position >= os.fstat(self._fd).st_size,
            )
        return Ending(promised_s) if pages is None else _ogg_ending(pages, promised_s)

    def _read_blocks(self, intake: Intake) -> bool:
        """Return whether libsndfile failed before the end."""
        try:
            for block in self._blocks(_READ_FRAMES):
                intake.add(block)
        except sf.LibsndfileError:
            self._fetch_last_good_part(intake)
            return True
        return False

    def _fetch_last_good_part(self, intake: Intake) -> None:
        # From the top again, because a seek is exact to the sample only in some formats.
        self._file.close()
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._file = sf.SoundFile(self._fd, closefd=False)
        known_blocks = intake.frames // _READ_FRAMES
        with contextlib.suppress(sf.LibsndfileError):
            for _ in itertools.islice(self._blocks(_READ_FRAMES), known_blocks):
                pass
            for block in self._blocks(_SMALL_READ_FRAMES):
                intake.add(block)

    def _blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """Yield what follows, in one buffer that is used again."""
        buffer = np.empty((frames, self.channels), dtype=np.float32)
        while len(block := self._file.read(out=buffer)):
            yield block

    def _promised_s(self) -> float | None:
        if self._mpeg:
            return None  # libsndfile only estimates it, in a WAV too
        declared = read_declared(self._fd, self._container)
        return (declared.frames or self._file.frames) / self.sample_rate_hz

    def _mpeg_ending(self, intake: Intake, position: int, *, failed: bool) -> Ending:
        """Judge an MPEG file, whose decoded length is the truth."""
        if not failed and goes_on(self._fd, position):
            raise OtherDecoderNeeded(("length_differs",))
        complete = self.length_is_known and intake.frames == self._file.frames
        if not complete and (trouble := gave_up(self._fd, position, failed=failed)):
            return Ending(trouble=trouble)
        counted_s = self._file.frames / self.sample_rate_hz
        differs = self._counted and _differ(intake.duration_s, counted_s)
        return Ending(flags=("length_differs",) if differs else ())


def _ogg_ending(pages: Pages, promised_s: float | None) -> Ending:
    if pages.damage:
        return Ending(promised_s, pages.damage, reached_end=False)
    if pages.cut:
        return Ending(promised_s, pages.cut, Reason.TRUNCATED)
    return Ending(promised_s, flags=() if pages.ended else ("no_end",))


def _differ(one_s: float, other_s: float) -> bool:
    return is_short(one_s, other_s) or is_short(other_s, one_s)


def _codec(file: sf.SoundFile) -> str:
    if file.format == "FLAC":
        return "flac"
    subtype: str = file.subtype
    return _CODECS.get(subtype, subtype.lower())
