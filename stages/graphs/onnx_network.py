"""A frozen graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnxruntime

from stages.graphs.frozen_graph import UnknownGraph, read_graph
from stages.graphs.graph_file import GraphFile
from stages.graphs.network import Rows, filled_up
from stages.graphs.onnx_graph import onnx_model
from stages.graphs.onnx_writer import OnnxModel

_CPU = "CPUExecutionProvider"
_PROVIDERS = {
    "cuda": ("CUDAExecutionProvider",),
    "rocm": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
}
_OPTIONS = {
    # Memory as it is needed, so that the rest of the card is for others; products in 32 bits.
    "CUDAExecutionProvider": {"arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"},
}
_FATAL_ONLY = 4


class OnnxNetwork:
    """Runs a graph on one thread: tracks side by side are the better axis. Any thread may call.

    Args:
        batch: how many rows the graph was made for, if that is fixed. `like` tries whether it is.

    Raises:
        UnknownGraph: it is no graph, or does what is not known here.
        Exception: ONNX Runtime cannot load it; its errors have no common root.
    """

    any_thread = True

    def __init__(self, graph: GraphFile, *, device: str, batch: int | None, like: Rows) -> None:
        model = read_model(graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        options.add_external_initializers(
            [*model.weights],
            [onnxruntime.OrtValue.ortvalue_from_numpy(one) for one in model.weights.values()],
        )
        self._weights = model.weights  # the session looks at them where they are
        self._session = onnxruntime.InferenceSession(
            model.content,
            options,
            providers=providers_for(device, onnxruntime.get_available_providers()),
        )
        self._input, self._outputs = graph.input, graph.outputs
        self.batch = batch if batch is not None and not self._takes(like) else None
        self.runtime = f"onnxruntime {onnxruntime.__version__} {self._session.get_providers()[0]}"

    def _takes(self, rows: Rows) -> bool:
        """Say whether a graph that was made for a number of rows takes these as well."""
        try:
            found = self._session.run(None, {self._input: rows})
        except Exception:  # its errors have no common root
            return False
        return all(len(one) == len(rows) for one in found)

    def run(self, batch: Rows) -> Mapping[str, Rows]:
        whole = filled_up(batch, self.batch)
        found = self._session.run(None, {self._input: whole})
        return {
            name: rows.reshape(len(whole), -1)[: len(batch)]
            for name, rows in zip(self._outputs, found, strict=True)
        }


def read_model(graph: GraphFile) -> OnnxModel:
    """Return a graph as an ONNX model.

    Raises:
        UnknownGraph: it is no graph, or does what is not known here.
    """
    try:
        return onnx_model(
            read_graph(graph.path.read_bytes()), inputs=[graph.input], outputs=graph.outputs
        )
    except UnknownGraph:
        raise
    except (Exception, MemoryError) as error:  # no one checks what strangers write into a graph
        raise UnknownGraph(f"it is no graph that could be read ({error!r})") from error


def providers_for(device: str, available: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Return what ONNX Runtime is to try, in this order: the device's, then always the CPU.

    Args:
        device: as `--device`: `auto` takes whatever GPU this ONNX Runtime was built for.
    """
    kind, _, number = device.partition(":")
    wanted = [name for key, names in _PROVIDERS.items() if kind in {key, "auto"} for name in names]
    found = [(name, {"device_id": number or "0"}) for name in wanted if name in available]
    for name, options in found:
        options.update(_OPTIONS.get(name, {}))
    return [*found, (_CPU, {})]
