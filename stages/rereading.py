"""A file that was read once, and can be read again: the same samples, or an error."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.base import Reason, Tick, TrackUnusable, no_tick
from stages.collect import Sink
from stages.decode import DecodeLimits, Reading, decode_into

# What a second reading may run into although the file is as it was.
_PASSING = (Reason.IO, Reason.MEMORY, Reason.HANG)


@dataclass(frozen=True)
class Origin:
    """A file that was read once, and what it was then: its shape, and a CRC-32 of its samples."""

    path: bytes
    limits: DecodeLimits
    reading: Reading
    checksum: int

    def read_again(self, sink: Sink, tick: Tick = no_tick) -> None:
        """Pass the samples on once more, never more of them than there were.

        Raises:
            TrackUnusable: the file cannot be read, or changed; that may show only when all was
                passed on.
        """
        guarded = _Summed(sink, known=self.reading)
        try:
            reading = decode_into(
                self.path, guarded, limits=self.limits, tick=tick, decoder=self.reading.decoder
            )
        except TrackUnusable as error:
            if error.reason in _PASSING:
                raise
            raise changed(str(error)) from error
        # A decoder that is left out this time does not find its flags again.
        same = dataclasses.replace(reading, flags=self.reading.flags) == self.reading
        if not same or guarded.checksum != self.checksum:
            raise changed(
                f"{_seen(self.reading, self.checksum)}, {_seen(reading, guarded.checksum)}"
            )


def first_reading(path: bytes, sink: Sink, *, limits: DecodeLimits, tick: Tick = no_tick) -> Origin:
    """Decode a file into a sink, and remember what it was.

    Raises:
        TrackUnusable: as `decode`.
    """
    summed = _Summed(sink)
    reading = decode_into(path, summed, limits=limits, tick=tick)
    return Origin(path, limits, reading, summed.checksum)


def changed(detail: str) -> TrackUnusable:
    """Return the error of a file that is not what it was."""
    return TrackUnusable(Reason.IO, f"the file changed while it was read: {detail}")


def _seen(reading: Reading, checksum: int) -> str:
    return f"{reading.frames} frames at {reading.sample_rate_hz} Hz with CRC {checksum:08x}"


class _Summed:
    """Passes on what it gets, sums it up, and holds its shape against what is known."""

    def __init__(self, sink: Sink, *, known: Reading | None = None) -> None:
        self.checksum = 0
        self._sink = sink
        self._known = known
        self._frames = 0
        self._begun = False

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        known = self._known
        if known and self._begun:
            raise changed("its decoder gave up, and another one began anew")
        self._begun = True
        if known and (known.sample_rate_hz, known.channels) != (sample_rate_hz, channels):
            raise changed(
                f"{known.channels} channels at {known.sample_rate_hz} Hz, "
                f"{channels} at {sample_rate_hz} Hz"
            )
        self.checksum = self._frames = 0
        self._sink.begin(
            sample_rate_hz=sample_rate_hz, channels=channels, expected_frames=expected_frames
        )

    def add(self, block: NDArray[np.float32]) -> None:
        self._frames += len(block)
        if self._known is not None and self._frames > self._known.frames:
            raise changed(f"more than the {self._known.frames} frames that it had")
        self.checksum = zlib.crc32(block.data, self.checksum)
        self._sink.add(block)

    def end(self) -> None:
        self._sink.end()
