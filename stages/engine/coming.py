"""Stems on their way from the device to the memory of the host, while the device computes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.engine.song import Passing


class Copy:
    """Tensors that were begun to be copied; on a CPU they are there already.

    Args:
        arrived: happens on the device when all are there.
    """

    def __init__(self, tensors: Sequence[Tensor], arrived: torch.cuda.Event | None = None) -> None:
        self._tensors = tensors
        self._arrived = arrived

    def wait(self) -> list[NDArray[np.float32]]:
        """Return the copies, the caller's own, when they are there.

        Raises:
            Exception: what the device found wrong meanwhile, in this or in anything else.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        return [tensor.numpy() for tensor in self._tensors]


class Copier:
    """Copies from a device, in a queue of its own: what is computed next does not wait for it."""

    def __init__(self, device: str) -> None:
        is_cuda = torch.device(device).type == "cuda"
        self._queue: torch.cuda.Stream | None = None
        if is_cuda:
            self._queue = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def begin(self, tensors: Sequence[Tensor]) -> Copy:
        """Begin to copy tensors, which are not to be written to any more."""
        if self._queue is None:
            return Copy(tensors)
        # torch keeps memory that the device can write to by itself, and gives it out again.
        hosts = [
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors
        ]
        self._queue.wait_stream(torch.cuda.current_stream(self._queue.device))
        with torch.cuda.stream(self._queue):
            for host, tensor in zip(hosts, tensors, strict=True):
                host.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._queue)
        # A thread that waits for it sleeps: the encoders want its core.
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._queue.record_event(arrived)
        return Copy(hosts, arrived)


@dataclass(frozen=True, eq=False)
class Coming:
    """Stems of a song that are final, but maybe not computed yet.

    Args:
        offset: sample of the song at which they begin.
        mix: what lies under them, `(2, n)`.
        copy: of the stems that are given `(stems, 2, n)`, their lowest and highest samples
            `(stems, 2)` and, where all sources are given, of their sum `(2, n)`.
        is_last: whether the song ends with them.
    """

    passing: Passing
    offset: int
    mix: NDArray[np.float32]
    copy: Copy
    is_last: bool
