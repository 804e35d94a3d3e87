"""The stereo mix of a track as a model takes it: its level first, then its samples in blocks."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import Reason, Tick, TrackUnusable, no_tick
from stages.decode import DecodeLimits
from stages.downmix import to_stereo
from stages.handover import from_thread
from stages.limits import SAMPLE_BYTES
from stages.rereading import changed, first_reading

Block: TypeAlias = NDArray[np.float32]
Blocks: TypeAlias = Generator[Block, None, None]

_DEFAULT_LIMITS = DecodeLimits()
_MAX_FLOAT32 = float(np.finfo(np.float32).max)

# 12 minutes of 44.1 kHz: songs are decoded once, only what is longer twice.
_KEEP_BYTES = 256 * 2**20

# numpy asks for huge pages from 4 MiB on. With an array for each block, keeping 120 s of WAV took
# 47 ms in all, with these 36 ms.
_SLAB_BYTES = 16 * 2**20
_NOTHING = np.empty(0, dtype=np.float32)

# Twice what decoders give at once: only what is resampled from a low rate is cut.
MAX_BLOCK_SAMPLES = 131_072
_BLOCK_SAMPLES = 65_536


@dataclass(frozen=True)
class Mix:
    """A stereo mix of known length and level.

    Args:
        samples: how many there are on each side, at least 1.
        mean: of the mono mix, rounded to float32: what Demucs subtracts.
        std: what Demucs then divides by, rounded to float32: the deviation of the mono mix (of
            n - 1) plus 1e-8, so that silence divides too. A single sample has none: 1.
        peak: the largest magnitude.
        flags: the decoder's.
    """

    sample_rate_hz: int
    samples: int
    mean: float
    std: float
    peak: float
    flags: tuple[str, ...]
    _open: Callable[[], Blocks] = field(repr=False, compare=False)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate_hz

    def blocks(self) -> Blocks:
        """Yield the samples from the first to the last; may be called again, also at the same time.

        Each block is finite, C-contiguous, of shape `(2, n)`, n from 1 to `MAX_BLOCK_SAMPLES` and
        not always the same, and is not to be written to. What is not in memory is decoded in a
        thread, a few blocks ahead. Closing the generator ends that, once the block in work is done.

        Raises:
            TrackUnusable: the file cannot be read again, or is not what it was. That may show only
                at its end: whatever was made of the blocks is void then.
        """
        return self._open()


def mix_of_file(
    path: bytes,
    *,
    sample_rate_hz: int,
    limits: DecodeLimits = _DEFAULT_LIMITS,
    keep_bytes: int = _KEEP_BYTES,
    tick: Tick = no_tick,
) -> Mix:
    """Decode a file to its end, and return its mix at the model's rate.

    The samples are those of `to_stereo(decode(path).audio.at_rate(sample_rate_hz))`, bit for bit.

    Args:
        keep_bytes: up to this size the mix stays in memory; beyond, it is decoded again.
        tick: called as `decode` does, in seconds of the file.

    Raises:
        TrackUnusable: as `decode`, or no sample is left at this rate, or it is too loud.
    """
    first = _FirstReading(sample_rate_hz, keep_bytes)
    origin = first_reading(path, first, limits=limits, tick=tick)
    if first.kept is not None:
        opened = functools.partial(_each, first.kept)
    else:

        def again(give: Callable[[Block], None]) -> None:
            origin.read_again(_SecondReading(sample_rate_hz, give))

        opened = functools.partial(from_thread, again, name="mix")
    return _mix(first.level, origin.reading.flags, opened)


def mix_of_samples(
    samples: Block | NDArray[np.float64], sample_rate_hz: int, *, model_rate_hz: int
) -> Mix:
    """Return the mix of samples of shape `(channels, samples)`, full scale ±1, at the model's rate.

    Raises:
        TrackUnusable: a sample is not finite or too loud, or none is left at the model's rate.
    """
    audio = Audio(np.asarray(samples, dtype=np.float32), sample_rate_hz)
    stereo = to_stereo(audio.at_rate(model_rate_hz))
    level = _Level(model_rate_hz)
    for block in _slices(stereo):
        level.add(block)
    return _mix(level, (), functools.partial(_slices, stereo))


def _mix(level: _Level, flags: tuple[str, ...], opened: Callable[[], Blocks]) -> Mix:
    mean, std = level.finish()
    return Mix(level.sample_rate_hz, level.samples, mean, std, level.peak, flags, opened)


def _each(blocks: list[Block]) -> Blocks:
    yield from blocks


def _slices(stereo: Block) -> Blocks:
    for start in range(0, stereo.shape[1], _BLOCK_SAMPLES):
        yield np.ascontiguousarray(stereo[:, start : start + _BLOCK_SAMPLES])


class _Level:
    """Length, level and peak of a mix that comes in blocks.

    In float64 and in pieces of one size, merged as Chan, Golub and LeVeque (1979) do: the same
    samples give the same numbers, bit for bit, however they are cut into blocks.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.samples = 0
        self.peak = 0.0
        self._mean = 0.0  # both of left + right, which is twice the mono mix
        self._squares = 0.0
        self._piece = np.empty(_BLOCK_SAMPLES)
        self._filled = 0

    def add(self, mix: Block) -> None:
        """Take the next samples.

        Raises:
            TrackUnusable: one is not finite.
        """
        peak = _peak(mix)
        if not math.isfinite(peak):
            bad = self.samples + int(np.isfinite(mix).all(axis=0).argmin())
            raise TrackUnusable(
                Reason.NONFINITE,
                f"the mix at {self.sample_rate_hz} Hz is not finite at "
                f"{bad / self.sample_rate_hz:.3f} s",
            )
        self.peak = max(self.peak, peak)
        while (count := mix.shape[1]) > 0:
            free = self._piece[self._filled : self._filled + count]
            np.add(mix[0, : len(free)], mix[1, : len(free)], out=free, dtype=np.float64)
            mix = mix[:, len(free) :]
            self._filled += len(free)
            self.samples += len(free)
            if self._filled == len(self._piece):
                self._merge()

    def finish(self) -> tuple[float, float]:
        """Return `Mix.mean` and `Mix.std`.

        Raises:
            TrackUnusable: nothing came, or it is too loud for float32.
        """
        if self.samples == 0:
            raise TrackUnusable(Reason.EMPTY, f"no sample is left at {self.sample_rate_hz} Hz")
        if self._filled:
            self._merge()
        mean, deviation = self.exact()
        std = deviation + 1e-8 if self.samples > 1 else 1.0
        # Twice: neither left + right, nor a sample without the mean, nor the deviation is more.
        if 2 * self.peak / min(std, 1.0) > _MAX_FLOAT32:
            raise TrackUnusable(
                Reason.NONFINITE,
                f"the level of the mix is not finite in float32: mean {mean:g}, "
                f"deviation {deviation:g}, peak {self.peak:g}",
            )
        return float(np.float32(mean)), float(np.float32(std))

    def exact(self) -> tuple[float, float]:
        """Return mean and deviation of the mono mix, once `finish` was called."""
        deviation = math.sqrt(self._squares / max(self.samples - 1, 1))
        return self._mean / 2, deviation / 2

    def _merge(self) -> None:
        piece = self._piece[: self._filled]
        before = self.samples - self._filled
        mean = float(piece.sum()) / self._filled
        piece -= mean
        step = mean - self._mean
        self._mean += step * self._filled / self.samples
        # Not np.dot: BLAS may share it among threads, and then their number decides the last bits.
        self._squares += float(np.square(piece, out=piece).sum())
        self._squares += step * step * before * self._filled / self.samples
        self._filled = 0


def _peak(mix: Block) -> float:
    """Return the largest magnitude; not finite where a sample is not."""
    return max(-float(mix.min()), float(mix.max()))


class _StereoSink(ABC):
    """Brings what is decoded to one rate and to stereo.

    soxr's stream gives the very samples of its one-shot function, whatever the blocks.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        self._stream = None
        self._nothing = np.empty((0, channels), dtype=np.float32)
        if sample_rate_hz != self._sample_rate_hz:
            self._stream = soxr.ResampleStream(
                sample_rate_hz, self._sample_rate_hz, channels, dtype="float32", quality="HQ"
            )

    def add(self, block: Block) -> None:
        self._pass_on(block if self._stream is None else self._stream.resample_chunk(block))

    def end(self) -> None:
        if self._stream is not None:
            self._pass_on(self._stream.resample_chunk(self._nothing, last=True))

    def _pass_on(self, frames: Block) -> None:
        for start in range(0, len(frames), MAX_BLOCK_SAMPLES):
            self.take(to_stereo(frames[start : start + MAX_BLOCK_SAMPLES].T))

    @abstractmethod
    def take(self, mix: Block) -> None:
        """Take the next samples, shape `(2, n)`. Their memory may be the decoder's."""


class _FirstReading(_StereoSink):
    """Measures the mix, and keeps it while it is small: then `kept` is not None."""

    def __init__(self, sample_rate_hz: int, keep_bytes: int) -> None:
        super().__init__(sample_rate_hz)
        self._keep_bytes = keep_bytes

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        super().begin(
            sample_rate_hz=sample_rate_hz, channels=channels, expected_frames=expected_frames
        )
        self.level = _Level(self._sample_rate_hz)
        self.kept: list[Block] | None = []
        self._free = _NOTHING

    def take(self, mix: Block) -> None:
        if self.level.samples * 2 * SAMPLE_BYTES + mix.nbytes > self._keep_bytes:
            self.kept, self._free = None, _NOTHING
        self.level.add(mix if self.kept is None else self._placed(mix, self.kept))

    def _placed(self, mix: Block, kept: list[Block]) -> Block:
        if mix.size > len(self._free):
            self._free = np.empty(max(mix.size, _SLAB_BYTES // SAMPLE_BYTES), dtype=np.float32)
        placed = self._free[: mix.size].reshape(mix.shape)
        self._free = self._free[mix.size :]
        placed[:] = mix
        kept.append(placed)
        return placed


class _SecondReading(_StereoSink):
    """Gives away what it takes, which cannot be taken back."""

    def __init__(self, sample_rate_hz: int, give: Callable[[Block], None]) -> None:
        super().__init__(sample_rate_hz)
        self._give = give

    def take(self, mix: Block) -> None:
        if not math.isfinite(_peak(mix)):  # at the file's own rate it was
            raise changed(f"it became too loud at {self._sample_rate_hz} Hz")
        # A copy in any case: `ascontiguousarray` takes one frame of a decoder's memory as it is.
        self._give(np.array(mix, order="C"))
