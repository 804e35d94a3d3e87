"""Watches over what a decoder gives, and passes it on: into one array, or elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stages.base import Reason, Tick, TrackUnusable
from stages.limits import SAMPLE_BYTES, DecodeLimits, check_length, check_shape

# malloc maps blocks above 32 MiB by themselves and gives each back as soon as it is freed, so that
# joining slabs needs one slab more than the result, not twice the result.
_SLAB_BYTES = 40 * 2**20

_TICK_FRAMES = 65_536

# 240 dB above full scale is no sound, but it is finite, and its power spectrum in float32 is not:
# (2**20 * 1e12)**2 just is, for windows longer than any stage takes.
_MAX_MAGNITUDE = 1e12


class Sink(Protocol):
    """Takes the blocks of one file. What it got is good only once `end` was called."""

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        """Make ready. Called again where another decoder starts anew: what came before is void.

        Args:
            expected_frames: what will come, if known. May be wrong.
        """

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next block, shape `(frames, channels)`, all finite. Its memory is used again."""

    def end(self) -> None:
        """Learn that this was all, and that the file is whole or may be used as it is."""


class Intake:
    """Counts and checks what one decoder gives, and passes it on.

    Raises:
        TrackUnusable: the shape or the expected length is beyond the limits.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        sample_rate_hz: int,
        channels: int,
        expected_frames: int | None,
        limits: DecodeLimits,
        tick: Tick,
    ) -> None:
        check_shape(sample_rate_hz, channels)
        self.sample_rate_hz = sample_rate_hz
        self.channels = channels
        self.frames = 0
        self._sink = sink
        self._limits = limits
        self._tick = tick
        self._ticked_frames = 0
        self._bad_samples = 0
        self._infinite_samples = 0
        self._first_bad_frame = 0
        self._check_length(expected_frames or 0)
        sink.begin(
            sample_rate_hz=sample_rate_hz, channels=channels, expected_frames=expected_frames
        )

    @property
    def duration_s(self) -> float:
        """Seconds that came so far."""
        return self.frames / self.sample_rate_hz

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next block, shape `(frames, channels)`, C-contiguous.

        Raises:
            TrackUnusable: more came than is allowed, whatever the header said.
        """
        self._check_length(self.frames + len(block))
        self._count_bad(block)
        if len(block) and not self._bad_samples:
            self._sink.add(block)
        self.frames += len(block)
        if self.frames - self._ticked_frames >= _TICK_FRAMES:
            self._report()

    def finish(self) -> None:
        """Tell the sink that this was all.

        Raises:
            TrackUnusable: a sample is NaN, infinite, or far beyond all sound.
        """
        if self._bad_samples:
            finite = self._infinite_samples < self._bad_samples
            what = f"not finite, or beyond {_MAX_MAGNITUDE:g}" if finite else "not finite"
            raise TrackUnusable(
                Reason.NONFINITE,
                f"{self._bad_samples} of {self.frames * self.channels} samples are {what}, "
                f"the first at {self._first_bad_frame / self.sample_rate_hz:.3f} s",
            )
        self._report()
        self._sink.end()

    def _count_bad(self, block: NDArray[np.float32]) -> None:
        # NaN is what neither of these is true of.
        if len(block) == 0 or (block.max() <= _MAX_MAGNITUDE and block.min() >= -_MAX_MAGNITUDE):
            return
        good = np.abs(block) <= _MAX_MAGNITUDE
        if not self._bad_samples:
            self._first_bad_frame = self.frames + int(np.argmin(good.all(axis=1)))
        self._bad_samples += int(good.size - np.count_nonzero(good))
        self._infinite_samples += int(good.size - np.count_nonzero(np.isfinite(block)))

    def _check_length(self, frames: int) -> None:
        check_length(
            frames, self._limits, sample_rate_hz=self.sample_rate_hz, channels=self.channels
        )

    def _report(self) -> None:
        self._ticked_frames = self.frames
        self._tick(self.duration_s)


class Collector:
    """A sink that keeps everything. If the length was known rightly, nothing is copied twice."""

    samples: NDArray[np.float32]
    """All of it, shape `(channels, frames)`, C-contiguous, once `end` was called."""

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        self._channels = channels
        self._frames = 0
        self._filled = 0
        self._slabs: list[NDArray[np.float32]] = []  # before the first one is made, if anew
        self._slabs.append(self._slab(expected_frames or 0))

    def add(self, block: NDArray[np.float32]) -> None:
        while len(block):
            room = self._slabs[-1].shape[1] - self._filled
            if room == 0:
                self._slabs.append(self._slab(0))
                self._filled, room = 0, self._slabs[-1].shape[1]
            piece, block = block[:room], block[room:]
            self._slabs[-1][:, self._filled : self._filled + len(piece)] = piece.T
            self._filled += len(piece)
            self._frames += len(piece)

    def end(self) -> None:
        if self._filled == self._frames == self._slabs[0].shape[1]:
            self.samples = self._slabs.pop()
        else:
            self.samples = self._joined()

    def _joined(self) -> NDArray[np.float32]:
        samples = np.empty((self._channels, self._frames), dtype=np.float32)
        start = 0
        while self._slabs:
            slab = self._slabs.pop(0)
            end = min(start + slab.shape[1], self._frames)
            samples[:, start:end] = slab[:, : end - start]
            start = end
        return samples

    def _slab(self, frames: int) -> NDArray[np.float32]:
        frames = frames or _SLAB_BYTES // (SAMPLE_BYTES * self._channels)
        return np.empty((self._channels, frames), dtype=np.float32)


@dataclass(frozen=True)
class Ending:
    """How the reading of a file ended.

    Args:
        promised_s: the length that the file itself declares, where that can be trusted.
        trouble: why not all is well, in words; None when the decoder found nothing.
        reason: what `trouble` is a case of.
        reached_end: everything up to the file's end was read, so a missing part is not in it.
        flags: what is remarkable but no failure.
    """

    promised_s: float | None = None
    trouble: str | None = None
    reason: Reason = Reason.DAMAGED
    reached_end: bool = True
    flags: tuple[str, ...] = ()
