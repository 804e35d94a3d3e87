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
from stages.outputs import Scalar, write_features, write_frames


@dataclass(frozen=True)
class Measured:
    """What was found in one source: single values, and series with their times."""

    features: Mapping[str, Scalar]
    series: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)


class Measuring(Stage[Settings]):
    """Measures one source after the other and writes `features.json` and `frames.npz`."""

    def run(self, track: Track, out: Path) -> Facts:
        found: dict[str, Measured] = {}
        for name, audio in track.sources.items():
            found[name] = self.measure(audio, _ticking(track, before=len(found)))
        write_features(out, {name: one.features for name, one in found.items()})
        write_frames(out, {name: one.series for name, one in found.items()})
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
