"""The process that does what a measurement needs of torch, and leaves its answer in a file.

python -P -m pipeline.bench.prepare <model> <device> <numbers> <repository> <answer>
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from demucs.htdemucs import HTDemucs

from pipeline.bench.flops import flop_of_segment
from pipeline.bench.peak import peak_flop_per_s
from pipeline.bench.preparing import Network, Prepared
from pipeline.bench.repository import write_repository
from stages.base import StageBlocked
from stages.demucs_loader import DemucsModel, load_model
from stages.demucs_loader import Network as DemucsNetwork
from stages.device import torch_device
from stages.weights import find_model


def main() -> None:
    """Prepare, and answer."""
    model, device, numbers, repository, answer = sys.argv[1:]
    try:
        prepared = prepared_for(model, device, _listed(numbers), Path(repository))
        found = asdict(prepared)
    except StageBlocked as error:
        found = {"problem": str(error)}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


def _listed(numbers: str) -> tuple[str, ...]:
    return tuple(number for number in numbers.split(",") if number)


def prepared_for(model: str, device: str, numbers: tuple[str, ...], repository: Path) -> Prepared:
    """Write the repository and return what else is asked.

    Raises:
        StageBlocked: the model cannot be loaded, or the device not be used.
    """
    used = torch_device(device)
    files = find_model(model)
    loaded = load_model(files)
    write_repository(repository, files, loaded)
    return Prepared(
        device=used,
        sample_rate_hz=loaded.sample_rate_hz,
        sources=loaded.sources,
        networks=_networks(loaded),
        peak_flop_per_s={
            number: peak_flop_per_s(getattr(torch, number), used) for number in numbers
        },
    )


def _networks(model: DemucsModel) -> tuple[Network, ...]:
    return tuple(
        Network(
            segment_samples=samples,
            flop_per_segment=flop_of_segment(network, _taken(network, samples)),
            is_padded=isinstance(network, HTDemucs) and network.use_train_segment,
        )
        for network, samples in zip(model.networks, model.segments_samples, strict=True)
    )


def _taken(network: DemucsNetwork, samples: int) -> int:
    """Return the length that Demucs fills a segment up to."""
    fill_up: Callable[[int], int] | None = getattr(network, "valid_length", None)
    return samples if fill_up is None else fill_up(samples)


if __name__ == "__main__":
    main()
