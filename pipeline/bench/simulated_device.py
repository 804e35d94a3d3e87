"""A separation whose device is simulated: decoding, writing and waiting are real, stems are not.

For measuring what surrounds a device where there is none. The registry is for NIGHTSHIFT_REGISTRY.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from pydantic import Field

from stages import STAGES as REAL
from stages.base import (
    Facts,
    Outcome,
    Piece,
    StageSettings,
    StreamStage,
    Take,
    Tick,
    Track,
    no_tick,
)
from stages.decode import DecodeLimits
from stages.encoders import Encoders
from stages.mix import Mix, mix_of_file
from stages.stem_writer import StemWriter

STEMS = ("drums", "bass", "other", "vocals")
_RATE_HZ = 44_100
_SHARE = np.float32(1 / len(STEMS))
_HELD_BYTES = 256 << 20


class SimulatedSettings(StageSettings):
    """How fast the device is, in seconds of music for one by the clock."""

    speed: float = Field(default=20.0, gt=0)


class SimulatedSeparation(StreamStage[SimulatedSettings, Mix]):
    """Each stem is a quarter of the mix, given after the time that a device would have taken."""

    window = 4

    def open(self, path: bytes, *, limits: DecodeLimits, tick: Tick = no_tick) -> Mix:
        """Read a file, as the real one does."""
        return mix_of_file(path, sample_rate_hz=_RATE_HZ, limits=limits, tick=tick)

    def run(self, track: Track, out: object) -> Facts:
        """Never called: a lane takes it as a stream."""
        raise NotImplementedError("it is done as a stream")

    def stream(self, take: Take[Mix]) -> Iterator[Outcome]:
        """Give each track its stems after the time that the device would have taken."""
        with Encoders(1, held_bytes=_HELD_BYTES) as encoders:
            while (piece := take(True)) is not None:
                writer = StemWriter(piece.out, STEMS, sample_rate_hz=_RATE_HZ, encoders=encoders)
                self._compute(piece, writer)
                yield Outcome(piece.key, partial(_finish, writer))

    def _compute(self, piece: Piece[Mix], writer: StemWriter) -> None:
        began, done_s = time.monotonic(), 0.0
        for block in piece.source.blocks():
            writer.write(np.repeat((block * _SHARE)[None], len(STEMS), axis=0))
            done_s += block.shape[1] / _RATE_HZ
            time.sleep(max(0.0, began + done_s / self.settings.speed - time.monotonic()))
            piece.tick(done_s)


def _finish(writer: StemWriter) -> Facts:
    written = writer.finish()
    return {"gain": written.gain, "lossless": True, "sources": list(STEMS)}


STAGES = {
    **REAL,
    "separation": replace(
        REAL["separation"],
        target=f"{__name__}:SimulatedSeparation",
        settings=SimulatedSettings,
        libraries=("numpy", "soundfile", "soxr"),
        weights=None,
        bytes_per_audio_s=None,
    ),
}
