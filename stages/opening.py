"""From a file to a source, in one reading: everything that will be asked of it hears it at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import Tick, no_tick
from stages.collect import Sink
from stages.decode import DecodeLimits
from stages.handover import from_thread
from stages.hearing import Hearing, Together
from stages.rereading import Origin, first_reading

_DEFAULT_LIMITS = DecodeLimits()


def opened(
    path: bytes,
    kinds: Iterable[Callable[[], Sink]],
    *,
    gain: float = 1.0,
    limits: DecodeLimits = _DEFAULT_LIMITS,
    tick: Tick = no_tick,
    ahead: bool = False,
) -> tuple[Audio, tuple[str, ...]]:
    """Decode a file once to its end, heard by sinks; return it, and the decoder's flags.

    Args:
        kinds: what `Audio.heard` will be asked for. Anything else decodes the file again.
        gain: what the samples were multiplied by before they were written.
        tick: called as `decode` does, perhaps in another thread.
        ahead: decode in a thread of its own, a few blocks ahead, with half of the sinks.

    Raises:
        TrackUnusable: as `decode`. What a sink raises, only `heard` raises.
    """
    heard = {kind: Hearing(kind()) for kind in kinds}

    def read(sinks: Sequence[Sink]) -> Origin:
        return first_reading(path, _Divided(Together(sinks), gain), limits=limits, tick=tick)

    origin = _read_ahead(read, [*heard.values()]) if ahead else read([*heard.values()])

    def feed(sink: Sink, tick: Tick) -> None:
        origin.read_again(_Divided(sink, gain), tick)

    return Audio.of_file(origin.reading, feed, heard), origin.reading.flags


def _read_ahead(read: Callable[[Sequence[Sink]], Origin], sinks: Sequence[Sink]) -> Origin:
    there, here = sinks[::2], sinks[1::2]
    origins: list[Origin] = []

    def produce(give: Callable[[Callable[[], None]], None]) -> None:
        origins.append(read([*there, *(_Handed(sink, give) for sink in here)]))

    calls: Generator[Callable[[], None], None, None] = from_thread(produce, name="decode")
    with closing(calls):
        for call in calls:
            call()
    return origins[0]


class _Handed:
    """Hands the calls of a sink over, to be made elsewhere."""

    def __init__(self, sink: Sink, give: Callable[[Callable[[], None]], None]) -> None:
        self._sink = sink
        self._give = give

    def begin(self, *, sample_rate_hz: int, channels: int, expected_frames: int | None) -> None:
        self._give(
            lambda: self._sink.begin(
                sample_rate_hz=sample_rate_hz, channels=channels, expected_frames=expected_frames
            )
        )

    def add(self, block: NDArray[np.float32]) -> None:
        copied = block.copy()  # the decoder uses its memory again
        self._give(lambda: self._sink.add(copied))

    def end(self) -> None:
        self._give(self._sink.end)


class _Divided:
    """Takes a gain back. One of a power of two divides exactly."""

    def __init__(self, sink: Sink, gain: float) -> None:
        self._gain = np.float32(gain)
        self.begin, self.end, self._sink = sink.begin, sink.end, sink

    def add(self, block: NDArray[np.float32]) -> None:
        self._sink.add(block if self._gain == 1 else block / self._gain)
