"""The first choice of decoders: libsndfile, on a descriptor, so that it opens no other file."""

from __future__ import annotations

import os

import numpy as np
import soundfile as sf

from stages.base import Reason
from stages.collect import Collector, Ending
from stages.containers import sniff
from stages.headers import has_frame_count, read_declared
from stages.ogg import Pages, read_pages

# One FLAC frame at most encoders' settings. libsndfile gives nothing of a block in which it fails,
# so this is also how much of the good part before a damage is lost.
_READ_FRAMES = 4096

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
        self._mpeg = self._file.subtype.startswith("MPEG")
        counted = self._file.format == "MP3" and has_frame_count(fd)
        self.length_is_known = not self._mpeg or counted
        self.expected_frames: int | None = self._file.frames if self.length_is_known else None
        self._refuse_what_libsndfile_gets_wrong(head)

    def _refuse_what_libsndfile_gets_wrong(self, head: bytes) -> None:
        frames, container = self._file.frames, self._container
        # Any two bytes from FF E0 on pass for MPEG there, UTF-16 text among them.
        text = self._mpeg and container is None and not head.startswith(b"ID3")
        # A recorder that died leaves a WAV that says 0 bytes and has hours. A FLAC of unknown
        # length ends in an error and without its last block.
        unfinished = frames == 0 and container in ("wav", "rf64")
        if text or unfinished or frames == _UNKNOWN_FRAMES:
            self.close()
            raise OtherDecoderNeeded

    @property
    def duration_s(self) -> float:
        """Length by the header; for MPEG without a frame count an estimate."""
        return float(self._file.frames / self.sample_rate_hz)

    def close(self) -> None:
        """Release the decoder, not the descriptor."""
        self._file.close()

    def read_into(self, collector: Collector) -> Ending:
        """Decode everything into `collector`.

        Raises:
            OtherDecoderNeeded: libsndfile does not play all of this file.
            TrackUnusable: the limits are exceeded.
            OSError: the file cannot be read.
        """
        pages = read_pages(self._fd) if self._file.format == "OGG" else None
        if pages is not None and pages.chained:
            raise OtherDecoderNeeded(("chained",))
        failed = self._read_blocks(collector)
        position = os.lseek(self._fd, 0, os.SEEK_CUR)
        if failed:
            return Ending(
                promised_s=self._promised_s(),
                trouble=f"the decoder failed after {collector.duration_s:.3f} s",
                reached_end=position >= os.fstat(self._fd).st_size,
            )
        if self._mpeg and self._goes_on(position):
            raise OtherDecoderNeeded(("length_differs",))
        return self._ending(collector, pages)

    def _read_blocks(self, collector: Collector) -> bool:
        """Return whether libsndfile failed before the end."""
        buffer = np.empty((_READ_FRAMES, self.channels), dtype=np.float32)
        while True:
            try:
                block = self._file.read(out=buffer)
            except sf.LibsndfileError:
                return True
            if len(block) == 0:
                return False
            collector.add(block)

    def _goes_on(self, position: int) -> bool:
        """Return whether more MPEG frames follow where libsndfile stopped.

        It stops at the count of the first frame, or at its own estimate from that frame's bitrate:
        concatenated files and variable bitrates without a count lose their rest.
        """
        return sniff(os.pread(self._fd, 64, position)) is not None

    def _promised_s(self) -> float | None:
        if self._mpeg:
            return None  # the decoded length is the truth there
        declared = read_declared(self._fd, self._container)
        return (declared.frames or self._file.frames) / self.sample_rate_hz

    def _ending(self, collector: Collector, pages: Pages | None) -> Ending:
        promised_s = self._promised_s()
        if pages is None:
            differs = (
                self._mpeg
                and self.length_is_known
                and _differ(collector.duration_s, self.duration_s)
            )
            return Ending(promised_s, flags=("length_differs",) if differs else ())
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
