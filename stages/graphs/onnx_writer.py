"""An ONNX model as it grows: operations, constants, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array: TypeAlias = NDArray[Any]

_OPSET = 18  # axes are inputs of every reduction since then
_IR_VERSION = 10


_SMALL_BYTES = 1024


@dataclass(frozen=True)
class OnnxModel:
    """A model without its large constants, and these by their names: nothing is copied on the way."""

    content: bytes
    weights: Mapping[str, Array]


class OnnxWriter:
    """Operations are added in an order in which each comes after what it needs."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[str, Array] = {}

    def input(self, name: str, sizes: Sequence[int] | None) -> str:
        """Add an input of float32; a size of -1 is any."""
        shape = None if sizes is None else [size if size >= 0 else None for size in sizes]
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def emit(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an operation and return the name of its output."""
        name = f"{op}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, [*inputs], [name], **attributes))
        return name

    def constant(self, value: Array | Sequence[int]) -> str:
        """Add a constant and return its name; whole numbers are of 64 bits everywhere."""
        array = np.asarray(value)
        if array.dtype.kind == "i":
            array = array.astype(np.int64)
        name = f"constant_{len(self._constants)}"
        self._constants[name] = array
        return name

    def value(self, name: str) -> Array | None:
        """Return the value of a constant, None of anything else."""
        return self._constants.get(name)

    def model(self, outputs: Mapping[str, str]) -> OnnxModel:
        """Return the model, with what these outputs need.

        Args:
            outputs: what an output is to be called, and the tensor that it is.
        """
        ends = [helper.make_node("Identity", [tensor], [name]) for name, tensor in outputs.items()]
        nodes = self._needed(ends)
        used = {name for node in nodes for name in node.input}
        constants = {name: value for name, value in self._constants.items() if name in used}
        large = {name: one for name, one in constants.items() if one.nbytes > _SMALL_BYTES}
        graph = helper.make_graph(
            nodes,
            "frozen",
            self._inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [
                _elsewhere(name, value) if name in large else numpy_helper.from_array(value, name)
                for name, value in constants.items()
            ],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        return OnnxModel(bytes(model.SerializeToString()), large)

    def _needed(self, ends: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        wanted = {name for node in ends for name in node.input}
        kept = [*ends[::-1]]
        for node in reversed(self._nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                kept.append(node)
        return kept[::-1]


def _elsewhere(name: str, value: Array) -> TensorProto:
    """Describe a constant whose values are given beside the model."""
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=value.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=name)
    return tensor
