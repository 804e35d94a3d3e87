"""The weights that a run takes, in the form that Demucs' own command line takes: a folder of pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from pipeline.bench.ways import NAME
from stages.demucs_loader import DemucsModel
from stages.weights import ModelFiles


def write_repository(folder: Path, files: ModelFiles, model: DemucsModel) -> None:
    """Write `network<N>.th` for each network of a model, and the bag's YAML `NAME.yaml`, into a new folder.

    Demucs 4.1.0 reads safetensors from the Hugging Face hub alone; from `--repo` it reads pickles.
    The numbers are kept as they are stored, mostly in 16 bits, as in the files it downloads.
    """
    folder.mkdir()
    names = [f"network{number}" for number in range(len(files.files))]  # no "-": a hash follows it
    for name, file, network in zip(names, files.files, model.networks, strict=True):
        arguments, keywords = vars(network)["_init_args_kwargs"]
        package = {
            "klass": type(network),
            "args": arguments,
            "kwargs": keywords,
            "state": load_file(file.path),
        }
        torch.save(package, folder / f"{name}.th")
    bag: dict[str, Any] = {"models": names}
    if files.weights is not None:
        bag["weights"] = [list(row) for row in files.weights]
    if files.segment_s is not None:
        bag["segment"] = files.segment_s
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(bag), encoding="utf-8")
