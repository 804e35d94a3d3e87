"""How many segments a device is best given at once: measured, once for each model and device."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from stages.engine.compute import Compute, Poisoned

logger = logging.getLogger(__name__)

_BATCHES = (1, 2, 4, 8, 16, 32)
_WORTH_IT = 1.03
_TIMES = 3


@dataclass(frozen=True)
class Best:
    """So many segments at once. `settled`: more were tried, or none are, and did not pay.

    Not settled, it is what there was room for at that moment.
    """

    batch: int
    settled: bool


def best_batch(seconds: Callable[[int], float | None]) -> Best:
    """Double the batch as long as that makes it faster: a smaller one takes less memory.

    Args:
        seconds: of one forward of so many segments; None where they cannot be computed.
    """
    best, fastest = 1, 0.0
    for batch in _BATCHES:
        took_s = seconds(batch)
        if took_s is None:
            return Best(best, settled=False)
        if batch / took_s < _WORTH_IT * fastest:
            break
        best, fastest = batch, batch / took_s
    return Best(best, settled=True)


def forward_s(compute: Compute, samples: int, batch: int) -> float | None:
    """Return what a forward of the first network takes, None where it fails, as for want of memory.

    Args:
        samples: of a segment, as the network takes it.

    Raises:
        Poisoned: the device has to be left.
    """
    noise = np.random.default_rng(0).standard_normal((2, samples), dtype=np.float32)
    rows = [noise] * batch
    try:
        compute(0, rows, batch=batch)  # what is chosen and made at first use is not to be timed
        _wait(compute.device)
        began = time.perf_counter()
        for _ in range(_TIMES):  # the host puts the next together meanwhile, as it always does
            compute(0, rows, batch=batch)
        _wait(compute.device)
    except Poisoned:
        raise
    except Exception as error:  # whatever it is, each track will say it for itself
        logger.info("no batch of %d: %s", batch, error)
        return None
    return (time.perf_counter() - began) / _TIMES


def name_of(device: str) -> str:
    """Return the name of a device's model, under which its batch is remembered."""
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
