"""A frozen TensorFlow graph in the words of ONNX: the operations that Essentia's models are made of.

Read each time it is loaded, in milliseconds: there is no second file that could be another model. The
names of the operations are those of TensorFlow's and ONNX's operator lists. What is laid out as
batch, height, width, channels stays so: ONNX Runtime takes the transpositions out again.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.graphs.frozen_graph import Graph
from stages.graphs.onnx_operations import OPERATIONS
from stages.graphs.onnx_translation import Translation
from stages.graphs.onnx_writer import OnnxModel


def onnx_model(graph: Graph, *, inputs: Sequence[str], outputs: Sequence[str]) -> OnnxModel:
    """Return a graph as an ONNX model, whose inputs and outputs have the names of these nodes.

    Raises:
        UnknownGraph: a node is not there, or does what is not known here.
    """
    translation = Translation(graph, OPERATIONS)
    for name in inputs:
        translation.give(name)
    translation.translate(graph.nodes, outputs)
    found = {f"out:{name}": translation.known(name) for name in outputs}
    return translation.writer.model(found)
