"""How much audio one track may be, checked against what a header says and against what is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from stages.base import Reason, TrackUnusable

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 768_000
MAX_CHANNELS = 64
SAMPLE_BYTES = 4


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding refuses. An hour of silence is 557 kB of FLAC and 1.27 GB of samples.

    `allow_partial` makes truncated and damaged files succeed with what there is, and a flag.
    """

    max_duration_s: float = 4 * 3600.0
    max_bytes: int = 8 * 2**30
    allow_partial: bool = False

    def max_frames(self, sample_rate_hz: int, channels: int) -> int:
        """Return how many frames of such audio are allowed."""
        by_duration = int(self.max_duration_s * sample_rate_hz)
        return min(by_duration, self.max_bytes // (SAMPLE_BYTES * channels))


def check_shape(sample_rate_hz: int, channels: int) -> None:
    """Check a header's rate and channels, before anything is allocated by them.

    Raises:
        TrackUnusable: no music has such a rate or so many channels.
    """
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise TrackUnusable(
            Reason.BAD_HEADER,
            f"sample rate {sample_rate_hz} Hz is not between {MIN_RATE_HZ} and {MAX_RATE_HZ}",
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise TrackUnusable(
            Reason.BAD_HEADER, f"{channels} channels, not between 1 and {MAX_CHANNELS}"
        )


def check_length(frames: int, limits: DecodeLimits, *, sample_rate_hz: int, channels: int) -> None:
    """Check a length, declared or decoded so far.

    Raises:
        TrackUnusable: it is beyond the limits.
    """
    if frames <= limits.max_frames(sample_rate_hz, channels):
        return
    raise TrackUnusable(
        Reason.TOO_LONG,
        f"{frames / sample_rate_hz:.1f} s or more, {frames * channels * SAMPLE_BYTES} bytes decoded; "
        f"allowed are {limits.max_duration_s:g} s and {limits.max_bytes} bytes",
    )
