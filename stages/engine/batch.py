"""How many segments a device is given at once, before anybody measured it there."""

from __future__ import annotations

import torch

# A forward of htdemucs in float32 takes about this for each segment of a batch.
_BYTES_PER_SEGMENT = 1 << 30
_MOST = 16


def first_batch(device: str) -> int:
    """Return the batch to begin with: what fits well into the device's memory; 1 on a CPU.

    A CPU gains nothing from more: its cores share one segment.
    """
    if device == "cpu":
        return 1
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return max(1, min(_MOST, free_bytes // 2 // _BYTES_PER_SEGMENT))


def name_of(device: str) -> str:
    """Return the name of a device's model, under which its batch is remembered."""
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)
