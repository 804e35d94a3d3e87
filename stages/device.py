"""Which device torch computes on."""

from __future__ import annotations

import re

from stages.base import DeviceUnusable, StageBlocked

_USE_CPU = "Use --device cpu, or mend the driver."


def torch_device(asked: str) -> str:
    """Return the torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `rocm`.

    `auto` takes a GPU where torch sees one. One convolution is tried on it: a driver that answers
    but cannot compute is common. ROCm builds of torch call their GPUs `cuda`.

    Raises:
        DeviceUnusable: a GPU is there, or was asked for, and does not work.
        StageBlocked: this torch cannot use such a device.
    """
    if asked == "cpu":
        return "cpu"
    if asked == "auto":
        return _best_device()
    if asked != "rocm" and not re.fullmatch(r"cuda(:\d{1,3})?", asked):
        raise StageBlocked(
            f"There is no device {asked!r}", "Use --device auto, cpu, cuda, cuda:N or rocm."
        )
    import torch

    if asked == "rocm" and torch.version.hip is None:
        raise StageBlocked(
            f"torch {torch.__version__} is not a ROCm build",
            "Install one as https://pytorch.org/get-started/locally shows, or use --device cpu.",
        )
    device = "cuda" if asked == "rocm" else asked
    problem = _problem_with(device)
    if problem:
        raise DeviceUnusable(f"The device {asked} does not work: {problem}", _USE_CPU)
    return device


def _best_device() -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    problem = _problem_with("cuda")
    if problem:
        raise DeviceUnusable(f"There is a GPU, but it does not work: {problem}", _USE_CPU)
    return "cuda"


def _problem_with(device: str) -> str:
    """Return why a GPU does not work, or an empty string when one convolution ran on it."""
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no GPU"
    try:
        ones = torch.ones(1, 1, 8, device=device)
        total = float(torch.nn.functional.conv1d(ones, ones[..., :3]).sum())
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        return (str(error).splitlines() or [type(error).__name__])[0]
    return "" if total == 18.0 else f"a convolution gave {total} instead of 18"
