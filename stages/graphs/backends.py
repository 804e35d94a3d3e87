"""What may run a frozen graph, and whether it is installed. Loads nothing."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from typing import Literal

Backend = Literal["auto", "onnx", "essentia"]


def is_installed(backend: Backend) -> bool:
    """Say whether what a backend needs is installed; of `auto`, whether one of the two is."""
    if backend == "auto":
        return is_installed("onnx") or is_installed("essentia")
    # Essentia alone is another wheel, without TensorFlow.
    needed = ("onnxruntime", "onnx") if backend == "onnx" else ("essentia-tensorflow",)
    return all(map(_has, needed))


def _has(distribution: str) -> bool:
    if distribution == "onnxruntime":  # its builds for GPUs have other names
        return find_spec("onnxruntime") is not None
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
