"""Two switches of the process that halve the time of a network on a CPU, and change no model.

Both are of the whole process: for a lane, not for somebody's notebook, where the engine runs
without them too.
"""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import torch

logger = logging.getLogger(__name__)

# Of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 256 * 2**20

_CHECKED_SIZE = 1024
_LARGEST_ERROR = 1e-6


def keep_memory() -> bool:
    """Let glibc keep what is freed; return whether this is glibc. Call it before the first forward.

    Without, it gives each large buffer back to the kernel: half a million page faults a segment.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all([mallopt(name, value) for name, value in wanted])


def multiply_with_onednn() -> bool:
    """Let oneDNN take float32 matrix products, if it computes them in float32; return whether.

    MKL takes its slow path on AMD processors. torch has no switch for that, but one that allows
    lower precision: on processors without bfloat16 tiles oneDNN computes in float32 all the same,
    which a product against float64 shows.
    """
    onednn: Any = torch.backends.mkldnn
    switch: Any = getattr(onednn, "matmul", None)
    if not onednn.is_available() or not hasattr(switch, "fp32_precision"):
        return False
    before = switch.fp32_precision
    switch.fp32_precision = "bf16"
    error = _error_of_products()
    if error < _LARGEST_ERROR:
        return True
    switch.fp32_precision = before
    logger.info("oneDNN's matrix products are %.1e off: not used", error)
    return False


def computes_bfloat16() -> bool:
    """Say whether oneDNN computes in bfloat16 on this processor, as far as torch knows."""
    onednn: Any = torch.backends.mkldnn
    return bool(onednn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _error_of_products() -> float:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, _CHECKED_SIZE, _CHECKED_SIZE, generator=generator)
    exact = left.double() @ right.double()
    return float(((left @ right).double() - exact).norm() / exact.norm())
