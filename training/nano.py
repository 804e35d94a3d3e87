"""The network that is shipped as `nano`: Demucs' own class, small, and the file it is kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from demucs.hdemucs import HDemucs
from safetensors.torch import save

from training.music.songs import SAMPLE_RATE_HZ, STEMS

SEGMENT_S = 4
ARGUMENTS: Mapping[str, Any] = MappingProxyType(
    {
        "sources": list(STEMS),
        "samplerate": SAMPLE_RATE_HZ,
        "segment": Fraction(SEGMENT_S),
        "hybrid": False,
        "cac": False,
        "wiener_iters": -1,
        "end_iters": -1,
        "channels": 32,
        "growth": 2,
        "depth": 4,
        "stride": 8,
        "kernel_size": 16,
        "dconv_mode": 1,
        "dconv_comp": 8,
        "dconv_attn": 9,
        "dconv_lstm": 3,
        "norm_starts": 9,
    }
)


def build() -> HDemucs:
    """Return the network with its first values, which the seed of torch decides."""
    network: HDemucs = HDemucs(**ARGUMENTS)
    return network


def to_bytes(weights: dict[str, torch.Tensor]) -> bytes:
    """Return weights in Demucs' safetensors form, float16: the same bytes for the same weights."""
    half = {name: value.detach().to(torch.float16).contiguous() for name, value in weights.items()}
    metadata = {
        "klass": f"{HDemucs.__module__}.{HDemucs.__qualname__}",
        "args": "[]",
        "kwargs": json.dumps(dict(ARGUMENTS), default=_fraction),
    }
    return _in_order(save(half, metadata))


def _in_order(file: bytes) -> bytes:
    """Return the same safetensors file, its metadata sorted: safetensors writes it in any order."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


def write(weights: dict[str, torch.Tensor], file: Path) -> None:
    """Write weights as `to_bytes` gives them; under its own name the file is whole."""
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(to_bytes(weights))
    part.replace(file)


def _fraction(value: object) -> dict[str, object]:
    """Write a fraction as Demucs' loader reads it."""
    if not isinstance(value, Fraction):
        raise TypeError(f"{value!r} is no argument that a file can hold")
    return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
