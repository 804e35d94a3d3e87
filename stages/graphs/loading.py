"""Which runtime loads a frozen graph: ONNX Runtime, or the TensorFlow that Essentia brings."""

from __future__ import annotations

import logging

from stages.base import StageBlocked
from stages.graphs.backends import Backend, is_installed
from stages.graphs.graph_file import GraphFile
from stages.graphs.network import Network, Rows
from stages.weights import fetch_command

logger = logging.getLogger(__name__)


def load_network(
    graph: GraphFile, *, backend: Backend, device: str, batch: int | None, like: Rows
) -> Network:
    """Load a graph, once, and try it.

    Args:
        batch: how many rows the graph wants at once, where that is fixed.
        like: a row as it will come, shape `(1, …)`.

    Raises:
        StageBlocked: it cannot be loaded, has not the nodes of its description, or takes no such row.
    """
    if backend == "onnx" or (backend == "auto" and is_installed("onnx")):
        try:
            return _tried(_in_onnx(graph, device=device, batch=batch, like=like), graph, like)
        except Exception as error:  # what ONNX Runtime raises has no common root
            if backend == "onnx" or not is_installed("essentia"):
                raise _cannot_be_loaded(graph, error) from error
            logger.warning("model=%s runs in Essentia's TensorFlow: %s", graph.path.stem, error)
    try:
        return _tried(_in_tensorflow(graph, batch=batch), graph, like)
    except Exception as error:
        raise _cannot_be_loaded(graph, error) from error


def _in_onnx(graph: GraphFile, *, device: str, batch: int | None, like: Rows) -> Network:
    from stages.graphs.onnx_network import OnnxNetwork

    return OnnxNetwork(graph, device=device, batch=batch, like=like)


def _in_tensorflow(graph: GraphFile, *, batch: int | None) -> Network:
    from stages.graphs.tensorflow_network import TensorflowNetwork

    return TensorflowNetwork(graph, batch=batch)


def _tried(network: Network, graph: GraphFile, like: Rows) -> Network:
    found = network.run(like)
    width = found[graph.predictions].shape[1] if graph.predictions else len(graph.classes)
    if width != len(graph.classes):
        raise ValueError(
            f"it gives {width} values, and its description names {len(graph.classes)} classes"
        )
    return network


def _cannot_be_loaded(graph: GraphFile, error: Exception) -> StageBlocked:
    return StageBlocked(
        f"{graph.path} cannot be loaded: {str(error).strip() or type(error).__name__}",
        f"Get it and its description again with: {fetch_command(graph.path.stem)}, if it is of the "
        "catalogue, or take both away",
    )
