"""What people write to get all cores busy: a pool of processes, each of which does whole tracks.

    python -P -m pipeline.bench.pool_of_tracks <processes> <speed> <stages> <out> <file>…

The work is that of a run with the same stages and a simulated device, of which there is one for all
processes. Outputs are written, and nothing of them is made sure of.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing.synchronize import Lock
from pathlib import Path
from typing import Any

from pipeline.bench.simulated_device import STAGES, SimulatedSeparation, SimulatedSettings
from stages.audio import Audio
from stages.base import Piece, Stage, Track
from stages.collect import Collector
from stages.decode import DecodeLimits
from stages.opening import opened


class Worker:
    """A process of the pool: loads its stages once."""

    def __init__(self, device: Lock, speed: float, stages: Iterable[str]) -> None:
        self._device = device
        self._separation = SimulatedSeparation(SimulatedSettings(speed=speed))
        self._stages: dict[str, Stage[Any]] = {}
        for name in stages:
            module, _, kind = STAGES[name].target.partition(":")
            self._stages[name] = getattr(import_module(module), kind)(STAGES[name].settings())
            self._stages[name].load()

    def do(self, file: str, out: Path) -> None:
        """Do a track: its features, its stems, and theirs."""
        self._features({"mix": self._heard(Path(file))}, out)
        stems = out / "separation"
        stems.mkdir(parents=True)
        source = self._separation.open(os.fsencode(file), limits=DecodeLimits())
        pieces = iter([Piece(0, "", source, stems)])
        stream = self._separation.stream(lambda wait: next(pieces, None))
        with self._device:
            outcome = next(stream)
        outcome.finish()  # what is left to encode needs no device
        assert next(stream, None) is None  # it lets its encoders go
        self._features({one.stem: self._heard(one) for one in stems.iterdir()}, out / "stems")

    def _heard(self, file: Path) -> Audio:
        kinds = dict.fromkeys(
            kind
            for stage in self._stages.values()
            for kind in ((Collector,) if stage.hears is None else stage.hears)
        )
        audio, _ = opened(os.fsencode(file), kinds)
        return audio

    def _features(self, sources: dict[str, Audio], out: Path) -> None:
        for name, stage in self._stages.items():
            (out / name).mkdir(parents=True)
            stage.run(Track("", sources), out / name)


_worker: Worker | None = None


def _begin(device: Lock, speed: float, stages: list[str]) -> None:
    global _worker
    _worker = Worker(device, speed, stages)


def _do(file: str, out: Path) -> None:
    assert _worker is not None
    _worker.do(file, out)


def main() -> None:
    """Do all files."""
    processes, speed, stages, out, *files = sys.argv[1:]
    fresh = multiprocessing.get_context("spawn")
    folders = [Path(out) / f"{number:04}" for number in range(len(files))]
    given = (fresh.Lock(), float(speed), stages.split(","))
    with ProcessPoolExecutor(int(processes), fresh, _begin, given) as pool:
        list(pool.map(_do, files, folders))


if __name__ == "__main__":
    main()
