"""How much louder the bands of a source got, frame by frame: what onsets and beats are found from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.analysis import hear_mel_db
from stages.audio import Audio
from stages.base import Tick
from stages.growing import Growing
from stages.stft import FRAME_SAMPLES, HOP_SAMPLES

# A rise is told one frame after it, as a difference is, and half a frame after that: librosa's.
_LATER_FRAMES = 1 + FRAME_SAMPLES // (2 * HOP_SAMPLES)


@dataclass(frozen=True)
class Envelopes:
    """The rise of each frame over the one before, in dB, as `librosa.onset.onset_strength`.

    `mean` of the bands is for onsets, `median`, less easily led by one band, for beats; both of
    shape `(frames,)`.
    """

    mean: NDArray[np.float32]
    median: NDArray[np.float32]


def envelopes(audio: Audio, tick: Tick) -> Envelopes:
    """Return the envelopes of a source that is no shorter than a frame."""
    rises = _Rises()
    hear_mel_db(audio, rises.take, tick)
    found = rises.found.joined()
    later = np.concatenate([np.zeros((_LATER_FRAMES, 2), np.float32), found])
    mean, median = np.ascontiguousarray(later[: len(found) + 1].T)
    return Envelopes(mean, median)


class _Rises:
    """Means and medians over the bands of how much louder each got."""

    def __init__(self) -> None:
        self.found = Growing((2,), np.float32)
        self._before: NDArray[np.float32] | None = None

    def take(self, mel_db: NDArray[np.float32]) -> None:
        held = mel_db if self._before is None else np.concatenate([self._before, mel_db])
        self._before = mel_db[-1:].copy()
        rises = np.diff(held, axis=0)
        np.maximum(rises, 0.0, out=rises)
        self.found.add(np.stack([rises.mean(axis=1), np.median(rises, axis=1)], axis=1))
