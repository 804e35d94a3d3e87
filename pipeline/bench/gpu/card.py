"""Which card it is, and what it does at most."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pipeline.bench.gpu.brief import Row
from pipeline.bench.gpu.formats import Format, allowed
from pipeline.bench.gpu.loaded import Loaded
from pipeline.bench.peak import peak_flop_per_s
from stages.htdemucs.precision import EXACT

_PEAKS: dict[str, tuple[torch.dtype, bool]] = {
    "float32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "bfloat16": (torch.bfloat16, False),
    "float16": (torch.float16, False),
}
_COPIED_BYTES = 1 << 28


def measure(loaded: Loaded) -> Iterator[Row]:
    """Give the card, its peak in operations a second by type of number, and how fast it is fed.

    `to_device_bytes_per_s`, `to_host_bytes_per_s`: from and to memory that the system may not move.
    """
    yield {
        "kind": "card",
        "device": loaded.device,
        "torch": torch.__version__,
        **(_card(loaded.device) if loaded.is_cuda else {"name": "CPU"}),
        "peak_flop_per_s": {name: _peak(name, loaded) for name in _PEAKS if _tells(name, loaded)},
        **(_copies(loaded) if loaded.is_cuda else {}),
    }


def _card(device: str) -> Row:
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "memory_bytes": found.total_memory,
        "multiprocessors": found.multi_processor_count,
        "capability": f"{found.major}.{found.minor}",
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def _tells(name: str, loaded: Loaded) -> bool:
    """Say whether a type means anything: a CPU has no TF32, and emulates half precision."""
    return loaded.is_cuda or name in ("float32", "bfloat16")


def _peak(name: str, loaded: Loaded) -> float:
    dtype, tf32 = _PEAKS[name]
    with allowed(Format(EXACT, tf32=tf32)):
        return peak_flop_per_s(dtype, loaded.device)


def _copies(loaded: Loaded) -> Row:
    host = torch.empty(_COPIED_BYTES, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(_COPIED_BYTES, dtype=torch.uint8, device=loaded.device)
    return {
        "to_device_bytes_per_s": _bytes_per_s(there, host, loaded),
        "to_host_bytes_per_s": _bytes_per_s(host, there, loaded),
    }


def _bytes_per_s(to: torch.Tensor, of: torch.Tensor, loaded: Loaded) -> float:
    took_s = min(loaded.seconds(lambda: to.copy_(of, non_blocking=True)) for _ in range(4))
    return len(of) / took_s
