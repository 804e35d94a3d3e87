"""What every measurement in a process of its own begins with: the model, the device, some music."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.bench.gpu.brief import NO_NUMBER_DB, Brief
from stages.demucs_loader import DemucsModel, load_model
from stages.device import torch_device
from stages.engine.segments import Cutting
from stages.engine.song import Passing, Plan, Song
from stages.mix import Mix, mix_of_file
from stages.weights import find_model


@dataclass(frozen=True)
class Loaded:
    """The model, and the device as torch calls it."""

    brief: Brief
    model: DemucsModel
    device: str

    @classmethod
    def of(cls, brief: Brief) -> Loaded:
        """Load them.

        Raises:
            StageBlocked: the model cannot be loaded, or the device not be used.
        """
        device = torch_device(brief.device)
        if torch.device(device).index is not None:
            torch.cuda.set_device(device)  # what names no device means this one
        return cls(brief, load_model(find_model(brief.model)), device)

    @property
    def is_cuda(self) -> bool:
        """Whether it computes by itself, and has memory of its own."""
        return self.device != "cpu"

    def wait(self) -> None:
        """Wait until the device has done all it was given."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Return how long the device is at some work."""
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def mix(self, number: int) -> Mix:
        """Read a file."""
        rate_hz = self.model.sample_rate_hz
        return mix_of_file(os.fsencode(self.brief.files[number]), sample_rate_hz=rate_hz)

    def cutting(self) -> Cutting:
        """Return how tracks are cut for the first network."""
        return Cutting.of(self.model.networks[0], overlap=0.25)

    def segments(self, count: int) -> NDArray[np.float32]:
        """Return the first segments of the files as the first network takes them, `(count, 2, n)`.

        The same again and again where the files have no more.
        """
        cutting = self.cutting()
        plan = Plan.of(self.model, (cutting,), "cpu")
        usual = cutting.taken(cutting.length)
        found: list[NDArray[np.float32]] = []
        for number in range(len(self.brief.files)):
            if len(found) >= count:
                break
            passing = Passing(Song(number, self.mix(number)), plan)
            while len(found) < count and (row := passing.next_row()) is not None:
                if row.samples.shape[1] == usual:
                    found.append(row.samples)
            passing.close()
        assert found, "no file has a whole segment"
        return np.stack([found[place % len(found)] for place in range(count)])


def likeness_db(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float | None:
    """Return the lowest signal-to-error ratio of all stems, in dB; arrays `(..., stems, 2, n)`.

    None where no sample differs, -999 where one is no number, or the expected ones are silent.
    """
    stems = [
        _ratio_db(expected[..., stem, :, :], found[..., stem, :, :])
        for stem in range(expected.shape[-3])
    ]
    told = [ratio for ratio in stems if ratio is not None]
    return min(told, default=None)


def _ratio_db(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float | None:
    exact = expected.astype(np.float64)
    error = float(np.sum((exact - found) ** 2))
    if error == 0:
        return None
    energy = float(np.sum(exact**2))
    return 10 * math.log10(energy / error) if energy and math.isfinite(error) else NO_NUMBER_DB
