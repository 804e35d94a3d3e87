"""The networks of a model on a device: batches of one shape, smaller ones when memory is short."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.demucs_loader import Network
from stages.htdemucs.forward import Forward, fits
from stages.htdemucs.precision import EXACT, Precision

logger = logging.getLogger(__name__)

Samples: TypeAlias = NDArray[np.float32]
Run: TypeAlias = Callable[[Tensor], Tensor]

# Of torch on the CPU; of CUDA; of cuBLAS, cuFFT and cuDNN for their workspaces.
_NO_MEMORY = re.compile("DefaultCPUAllocator|out of memory|_ALLOC_FAILED")


class NoRoom(Exception):
    """A batch does not fit into the memory of the device; the last words of the allocator."""


class Poisoned(Exception):
    """The device is in a state that only a new process leaves."""


class Compute:
    """Runs networks on batches of segments.

    Every batch has one shape, and rows that are not needed are zero: what a row gives depends on
    nothing beside it. `batch` falls, for good, when memory is short.

    Args:
        networks: of Demucs' classes, on the CPU; kept when the device is another.
        batch: segments at once. On a CPU it is one: more are no faster there, and how its threads
            share them decides the last bits.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        *,
        device: str = "cpu",
        precision: Precision = EXACT,
        batch: int = 1,
    ) -> None:
        self.device = device
        self.allow(batch)
        self._precision = precision
        if _is_beside_cpu(device):
            _compute_in_float32()
        self._runs = [ready(network, device, precision) for network in networks]
        self._networks = networks if _is_beside_cpu(device) else ()
        self._on_cpu: dict[int, Run] = {}

    def __call__(
        self, network: int, rows: Sequence[Samples], *, batch: int, on_cpu: bool = False
    ) -> list[Tensor]:
        """Return what a network gives for rows `(2, samples)` of one length, at most `batch`.

        Each of shape `(sources, 2, samples)`, on the device of `Plan.triangles` whatever computed it;
        where it `runs_behind`, maybe only begun.

        Raises:
            NoRoom: the device has no memory for a batch of this size: halve it with `smaller`, and
                let the CPU compute where it is one already.
            Poisoned: the process has to end.
            Exception: what the network raised; a row alone may not.
        """
        run = self._cpu_run(network) if on_cpu else self._runs[network]
        place = "cpu" if on_cpu else self.device
        try:
            stacked = _stacked(rows, batch, place)
            with torch.inference_mode():
                stems = run(stacked.to(place, non_blocking=True)).to(self.device)
                return list(stems[: len(rows)].unbind())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise_if_poisoned(error, self.device)
                raise
            words = str(error).splitlines()[0] if str(error) else type(error).__name__
        # Outside of the handler: the traceback would hold the tensors that filled the memory.
        raise NoRoom(words)

    def allow(self, batch: int) -> None:
        """Compute so many segments at once from here on, on a CPU one."""
        self.batch = 1
        if _is_beside_cpu(self.device):
            self.batch = batch
            torch.cuda.empty_cache()  # what larger ones took is for others

    def smaller(self) -> None:
        """Halve the batch for good."""
        self.allow((self.batch + 1) // 2)
        logger.warning("memory of %s is short: batch=%d from here on", self.device, self.batch)

    @property
    def runs_behind(self) -> bool:
        """Whether what it returns may still be computed, so that to look at it is to wait."""
        return _is_beside_cpu(self.device)

    @property
    def has_cpu(self) -> bool:
        """Whether the CPU may take what the device has no room for."""
        return bool(self._networks)

    def _cpu_run(self, network: int) -> Run:
        if network not in self._on_cpu:
            self._on_cpu[network] = ready(self._networks[network], "cpu", self._precision)
        return self._on_cpu[network]


def ready(network: Network, device: str, precision: Precision) -> Run:
    """Return a network, or our own form of it where there is one, on a device."""
    if fits(network):
        own: nn.Module = Forward(network, precision).to(device)
        return own
    # Demucs' own forward knows float32 only. `Module.to` would move the one that is kept.
    moved: nn.Module = network if device == "cpu" else copy.deepcopy(network).to(device)
    return moved


def _stacked(rows: Sequence[Samples], batch: int, place: str) -> Tensor:
    """Return rows as one tensor, silence where there are not as many.

    A GPU fetches it by itself from memory that the system may not move.
    """
    is_cuda = torch.device(place).type == "cuda"
    stacked = torch.zeros(batch, *rows[0].shape, pin_memory=is_cuda)
    np.stack(rows, out=stacked.numpy()[: len(rows)])
    return stacked


def _compute_in_float32() -> None:
    """Keep a GPU's convolutions and products from TF32, which has ten bits and is no float32.

    torch lets convolutions have it unless told otherwise. It changes nothing on other devices.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _is_beside_cpu(device: str) -> bool:
    return device != "cpu"


def precision_of(networks: Sequence[Network], asked: Precision) -> Precision:
    """Return at what precision networks compute: `exact` where only Demucs' own forward fits."""
    return asked if all(map(fits, networks)) else EXACT


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is that of an allocator: not all of them have a class of their own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None
    )


def raise_if_poisoned(error: Exception, device: str) -> None:
    """Raise `Poisoned` where an error means that the device will answer nothing any more."""
    is_poison = isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)
    if _is_beside_cpu(device) and is_poison:
        raise Poisoned(str(error)) from error
