"""Random-weight HTDemucs files in Demucs' own safetensors form. No trained weights are needed."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import torch
from demucs.htdemucs import HTDemucs
from demucs.transformer import LayerScale
from safetensors.torch import save_file

SOURCES = ["drums", "bass", "other", "vocals"]

# Some 0.15 s per second of audio on one core. The segment is a fraction, as in the real files.
SMALL: dict[str, object] = {
    "sources": SOURCES,
    "channels": 8,
    "bottom_channels": 0,
    "dconv_mode": 3,
    "t_layers": 1,
    "t_heads": 4,
    "segment": Fraction(39, 20),
}

# htdemucs itself: with these, 533 tensors and 41,984,456 parameters as models.json says of it.
FULL_SIZE: dict[str, object] = {
    "sources": SOURCES,
    "channels": 48,
    "bottom_channels": 512,
    "dconv_mode": 3,
    "t_layers": 5,
    "t_heads": 8,
    "segment": Fraction(39, 5),
}


def random_network(arguments: dict[str, object], *, seed: int) -> HTDemucs:
    """Build an HTDemucs whose every branch is heard.

    Fresh LayerScales are near 0 and would hide a mistake behind them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: HTDemucs = HTDemucs(**arguments)
        for part in network.modules():
            if isinstance(part, LayerScale):
                torch.nn.init.uniform_(part.scale, 0.1, 0.5)
    network.eval()
    return network


def metadata_of(klass: str, arguments: dict[str, object]) -> dict[str, str]:
    """Return the metadata that Demucs' exporter writes."""
    return {
        "klass": klass,
        "args": json.dumps([]),
        "kwargs": json.dumps(arguments, default=_encode_fraction),
    }


def write_model(
    path: Path,
    arguments: dict[str, object] | None = None,
    *,
    seed: int = 0,
    half: bool = False,
) -> Path:
    """Write a random HTDemucs, small unless `arguments` says otherwise; `half` as the real files."""
    chosen = {**SMALL, **(arguments or {})}
    network = random_network(chosen, seed=seed)
    dtype = torch.float16 if half else torch.float32
    tensors = {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata_of("demucs.htdemucs.HTDemucs", chosen))
    return path


def write_full_size_model(path: Path, *, seed: int = 0) -> Path:
    """Write a random model of htdemucs' size, 84 MB: for measurements, not for quick tests."""
    return write_model(path, FULL_SIZE, seed=seed, half=True)


def _encode_fraction(value: object) -> object:
    if isinstance(value, Fraction):
        return {
            "_type": "fraction",
            "numerator": value.numerator,
            "denominator": value.denominator,
        }
    raise TypeError(f"{value!r} has no place in a model's arguments")
