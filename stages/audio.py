"""One source: its samples, heard from the first to the last, and the views that stages share."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import soxr
from numpy.typing import NDArray

from stages.base import Tick, no_tick
from stages.collect import Collector, Sink
from stages.hearing import Hearing
from stages.mono import WholeMono

if TYPE_CHECKING:
    from stages.decode import Reading

View = TypeVar("View")
AnySink = TypeVar("AnySink", bound=Sink)
Feed: TypeAlias = Callable[[Sink, Tick], None]
"""Passes all samples of a source to a sink, with the seconds done to a tick."""

_BLOCK_FRAMES = 65_536


class Audio:
    """One source; what is made of its samples is made at most once.

    Its samples are in memory, or in a file and then not: they are passed, a block at a time, to
    sinks that keep what they need. `opened` lets sinks hear them in the file's first reading.

    Args:
        samples: float32, shape `(channels, samples)`, full scale ±1, all finite. May exceed ±1.
        sample_rate_hz: rate of `samples`.
    """

    def __init__(self, samples: NDArray[np.float32], sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.channels, self.frames = map(int, samples.shape)
        self._begin(functools.partial(_feed_array, samples, sample_rate_hz), {})
        whole = Collector()
        whole.samples = samples
        self._heard[Collector] = Hearing(whole)

    @classmethod
    def of_file(
        cls,
        reading: Reading,
        feed: Feed,
        heard: dict[Callable[[], Sink], Hearing],
    ) -> Audio:
        """Return the source in a file that was read: what was heard then, and how to read it again."""
        audio = cls.__new__(cls)
        audio.sample_rate_hz, audio.channels = reading.sample_rate_hz, reading.channels
        audio.frames = reading.frames
        audio._begin(feed, heard)
        return audio

    def _begin(self, feed: Feed, heard: dict[Callable[[], Sink], Hearing]) -> None:
        self._feed = feed
        self._heard = heard
        self._views: dict[Hashable, Any] = {}
        self._lock = threading.RLock()  # a view may be made from another one

    @property
    def samples(self) -> NDArray[np.float32]:
        """All samples, shape `(channels, samples)`. Do not write to them."""
        return self.heard(Collector).samples

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz

    def feed(self, sink: Sink, tick: Tick = no_tick) -> None:
        """Pass all samples to a sink, from the first to the last.

        Args:
            tick: called with the seconds done, where a file has to be decoded again.

        Raises:
            TrackUnusable: the file cannot be read again, or changed. What the sink got is void then.
        """
        self._feed(sink, tick)

    def heard(self, kind: Callable[[], AnySink]) -> AnySink:
        """Return a sink of this kind that has heard all samples, made at the first call.

        Args:
            kind: makes a sink, and stands for it: another object is another kind.

        Raises:
            TrackUnusable: as `feed`.
            Exception: what the sink raised while it listened.
        """
        with self._lock:
            if kind not in self._heard:
                hearing = Hearing(kind())
                self._feed(hearing, no_tick)
                self._heard[kind] = hearing
            sink: AnySink = self._heard[kind].result()
            return sink

    def hearing_s(self, kind: Callable[[], Sink]) -> float:
        """Return the seconds that a sink of this kind took, 0 where there was none."""
        return self._heard[kind].seconds if kind in self._heard else 0.0

    def at_rate(self, sample_rate_hz: int) -> NDArray[np.float32]:
        """Return the samples at another rate, shape `(channels, samples)`.

        soxr at quality HQ, the one converter of all stages, so that their numbers match. Length is
        `round(samples * new / old)`, within one sample. Empty stays empty.
        """
        if sample_rate_hz == self.sample_rate_hz:
            return self.samples
        return self.once(("at_rate", sample_rate_hz), lambda: self._resampled(sample_rate_hz))

    def mono(self, sample_rate_hz: int) -> NDArray[np.float32]:
        """Return one channel at a rate, shape `(samples,)`: the mean of left and right."""
        return self.heard(WholeMono.at(sample_rate_hz)).samples

    def once(self, name: Hashable, make: Callable[[], View]) -> View:
        """Return the view of this name, made at the first call and kept as long as the audio.

        Treat it as read-only: other stages get the same object.
        """
        with self._lock:
            if name not in self._views:
                self._views[name] = make()
            view: View = self._views[name]
            return view

    def _resampled(self, sample_rate_hz: int) -> NDArray[np.float32]:
        frames = np.ascontiguousarray(self.samples.T)
        converted = soxr.resample(frames, self.sample_rate_hz, sample_rate_hz, quality="HQ")
        return np.ascontiguousarray(converted.T, dtype=np.float32)


def _feed_array(samples: NDArray[np.float32], sample_rate_hz: int, sink: Sink, tick: Tick) -> None:
    channels, frames = samples.shape
    sink.begin(sample_rate_hz=sample_rate_hz, channels=channels, expected_frames=frames)
    for start in range(0, frames, _BLOCK_FRAMES):
        sink.add(np.ascontiguousarray(samples[:, start : start + _BLOCK_FRAMES].T))
    sink.end()
    tick(frames / sample_rate_hz)
