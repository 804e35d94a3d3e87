"""What this machine computes at most: the best of a few convolutions and matrix products.

The convolutions go through oneDNN, the products through MKL where torch has it: on processors that
are not Intel's the first are nearly twice as fast (443 against 228 GFLOP/s on two Zen 5 cores).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

_REPEATS = 20
_LONGEST_S = 0.6
"""No shape takes longer but for its first two calls: where bfloat16 is emulated each lasts seconds."""


def peak_flop_per_s(dtype: torch.dtype, device: str) -> float:
    """Return the most floating-point operations a second that any of the shapes reached."""
    with torch.inference_mode():
        return max(_best(work, flop, device) for flop, work in _shapes(dtype, device))


def _shapes(dtype: torch.dtype, device: str) -> Iterator[tuple[float, Callable[[], torch.Tensor]]]:
    """Give each piece of work with its floating-point operations, additions and multiplications."""
    larger = 1 if device == "cpu" else 16  # a GPU must not wait for its launches
    for channels, side in ((128, 64), (256, 32), (512, 16)):
        kernel = torch.rand(channels, channels, 3, 3).to(device, dtype)
        image = torch.rand(4 * larger, channels, side, side).to(device, dtype)
        kernel = kernel.to(memory_format=torch.channels_last)
        image = image.to(memory_format=torch.channels_last)
        flop = 2.0 * kernel.numel() * image.numel() / channels
        yield flop, partial(torch.conv2d, image, kernel, padding=1)
    for size in (1024, 1536):
        left = torch.rand(size * larger, size).to(device, dtype)
        right = torch.rand(size, size).to(device, dtype)
        out = torch.empty_like(left)
        yield 2.0 * left.numel() * size, partial(torch.mm, left, right, out=out)


def _best(work: Callable[[], torch.Tensor], flop: float, device: str) -> float:
    _seconds(work, device)  # the first call chooses a kernel
    best_s = total_s = _seconds(work, device)
    for _ in range(_REPEATS):
        if total_s > _LONGEST_S:
            break
        took_s = _seconds(work, device)
        best_s, total_s = min(best_s, took_s), total_s + took_s
    return flop / best_s


def _seconds(work: Callable[[], torch.Tensor], device: str) -> float:
    # What a GPU does in a tenth of a millisecond is not to be timed with its start and its end.
    calls = 1 if device == "cpu" else 20
    _wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    _wait(device)
    return (time.perf_counter() - start) / calls


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
