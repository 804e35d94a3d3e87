"""A stage that measures every source of a track by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import Facts, Settings, Stage, Tick, Track
from stages.outputs import FramesFile, Scalar, write_features


@dataclass(frozen=True)
class Measured:
    """What was found in one source: single values, and series with their times."""

    features: Mapping[str, Scalar]
    series: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)


class Measuring(Stage[Settings]):
    """Measures one source after the other and writes `features.json` and `frames.npz`."""

    def run(self, track: Track, out: Path) -> Facts:
        found: dict[str, Mapping[str, Scalar]] = {}
        with FramesFile(out) as frames:  # series are let go of as soon as they are written
            for name, audio in track.sources.items():
                measured = self.measure(audio, _ticking(track, before=len(found)))
                frames.add(name, measured.series)
                found[name] = measured.features
        write_features(out, found)
        return {}

    @abstractmethod
    def measure(self, audio: Audio, tick: Tick) -> Measured:
        """Measure one source; call `tick` with the seconds of it that are done.

        Raises:
            TrackUnusable: this track cannot be done.
        """


def _ticking(track: Track, *, before: int) -> Tick:
    def tick(done_s: float) -> None:
        # In seconds of the track, whatever the number of its sources.
        track.tick((before * track.duration_s + done_s) / len(track.sources))

    return tick
