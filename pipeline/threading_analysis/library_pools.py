"""Which thread pools the libraries hold that this process has loaded. Loads none itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_info

from pipeline.threading_analysis.cost import LibraryPool

_NAMES = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS", "flexiblas": "FlexiBLAS"}
_MAPS = Path("/proc/self/maps")


def library_pools() -> tuple[LibraryPool, ...]:
    """Return them by name, those that threadpoolctl knows first."""
    return (*_known(), *_compilers(), *_torch(), *_inference(), *_transforms())


def _known() -> Iterator[LibraryPool]:
    for found in threadpool_info():
        name = _NAMES.get(found["internal_api"], "OpenMP")
        whose = _owner(Path(found["filepath"]))
        yield LibraryPool(f"{name} ({whose})", found["num_threads"])


def _owner(file: Path) -> str:
    """Return the package whose wheel brings a library, else the library's name."""
    parts = file.parts
    if "site-packages" not in parts:
        return file.name
    package = parts[parts.index("site-packages") + 1]
    return package.removesuffix(".libs").replace("_", "-")


def _compilers() -> Iterator[LibraryPool]:
    numba = sys.modules.get("numba")
    if numba is None:
        return
    try:
        layer = numba.threading_layer()
    except ValueError:  # no function with parallel=True ran, so it has started none
        yield LibraryPool("numba (not started)", numba.get_num_threads())
    else:
        yield LibraryPool(f"numba ({layer})", numba.get_num_threads())


def _torch() -> Iterator[LibraryPool]:
    torch = sys.modules.get("torch")
    if torch is None:
        return
    computing = ["oneDNN"] if torch.backends.mkldnn.is_available() else []
    computing += ["MKL"] if torch.backends.mkl.is_available() else []
    inside = f" with {' and '.join(computing)}" if computing else ""
    yield LibraryPool(f"torch{inside}", torch.get_num_threads())
    yield LibraryPool("torch between operations", torch.get_num_interop_threads())


def _inference() -> Iterator[LibraryPool]:
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        threading = tensorflow.config.threading
        # It answers 0 for "as many as there are cores".
        yield LibraryPool(
            "TensorFlow within operations", threading.get_intra_op_parallelism_threads() or None
        )
        yield LibraryPool(
            "TensorFlow between operations", threading.get_inter_op_parallelism_threads() or None
        )
    elif "libtensorflow" in _loaded_files():
        yield LibraryPool("TensorFlow (in essentia-tensorflow)", None)
    if "onnxruntime" in sys.modules:
        yield LibraryPool("ONNX Runtime", None)


def _loaded_files() -> str:
    try:
        return _MAPS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _transforms() -> Iterator[LibraryPool]:
    fft = sys.modules.get("scipy.fft")
    if fft is not None:
        yield LibraryPool("scipy.fft", fft.get_workers())
