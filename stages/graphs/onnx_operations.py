"""TensorFlow's operations, as far as Essentia's models use them, each in the words of ONNX."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from stages.graphs.frozen_graph import Node, UnknownGraph, Value
from stages.graphs.onnx_convolutions import (
    BATCH_NORMS,
    batch_norm,
    bias,
    chained,
    conv,
    depthwise,
    pool,
)
from stages.graphs.onnx_translation import Make, Translation

_CAST_TYPES = {
    1: TensorProto.FLOAT,
    2: TensorProto.DOUBLE,
    3: TensorProto.INT64,
    9: TensorProto.INT64,
}


def _plain(op: str) -> Make:
    """Return how to make an operation that takes and means the same in both."""
    return lambda t, node: t.emit(op, [t.known(one) for one in node.inputs])


def _same(t: Translation, node: Node) -> str | list[str]:
    found = [t.known(one) for one in node.inputs]
    return found[0] if len(found) == 1 else found


def _const(t: Translation, node: Node) -> str:
    value = node.attributes.get("value")
    if not isinstance(value, np.ndarray):
        raise UnknownGraph(f"its constant {node.name} has no value")
    return t.constant(value)


# ---- shapes


def _reduce(op: str) -> Make:
    def make(t: Translation, node: Node) -> str:
        axes = t.constant(t.numbers(node.inputs[1]))
        keep = int(bool(node.attributes.get("keep_dims", False)))
        return t.emit(op, [t.known(node.inputs[0]), axes], keepdims=keep)

    return make


def _reshape(t: Translation, node: Node) -> str:
    return t.emit("Reshape", [t.known(one) for one in node.inputs], allowzero=1)


def _expand(t: Translation, node: Node) -> str:
    return t.emit("Unsqueeze", [t.known(node.inputs[0]), t.constant(t.numbers(node.inputs[1]))])


def _squeeze(t: Translation, node: Node) -> str:
    axes = node.attributes.get("squeeze_dims")
    given = [t.constant(axes)] if isinstance(axes, list) and axes else []
    return t.emit("Squeeze", [t.known(node.inputs[0]), *given])


def _transpose(t: Translation, node: Node) -> str:
    return t.emit("Transpose", [t.known(node.inputs[0])], perm=t.numbers(node.inputs[1]))


def _concat(t: Translation, node: Node) -> str:
    *parts, axis = node.inputs
    return t.emit("Concat", [t.known(one) for one in parts], axis=t.numbers(axis)[0])


def _pack(t: Translation, node: Node) -> str:
    axis = node.attributes.get("axis", 0)
    assert isinstance(axis, int)
    at = t.constant([axis])
    return t.emit(
        "Concat", [t.emit("Unsqueeze", [t.known(one), at]) for one in node.inputs], axis=axis
    )


def _pad(t: Translation, node: Node) -> str:
    before_after = t.value(node.inputs[1])  # a row each axis
    fill = [t.known(node.inputs[2])] if len(node.inputs) > 2 else []
    return t.emit("Pad", [t.known(node.inputs[0]), t.constant(before_after.T.reshape(-1)), *fill])


def _strided_slice(t: Translation, node: Node) -> str:
    begin, end, step = (t.numbers(one) for one in node.inputs[1:4])
    masks = {
        name: node.attributes.get(f"{name}_mask", 0)
        for name in ("begin", "end", "shrink_axis", "ellipsis", "new_axis")
    }
    if masks["ellipsis"] or masks["new_axis"] or min(step) < 0:
        raise UnknownGraph(f"its node {node.name} slices in a way that is not known here")
    shrunk = [axis for axis in range(len(begin)) if _bit(masks["shrink_axis"], axis)]
    most = np.iinfo(np.int64).max
    for axis in range(len(begin)):
        begin[axis] = 0 if _bit(masks["begin"], axis) else begin[axis]
        end[axis] = most if _bit(masks["end"], axis) else end[axis]
        if axis in shrunk:
            end[axis] = begin[axis] + 1 if begin[axis] != -1 else most
    where = [t.constant(one) for one in (begin, end, [*range(len(begin))], step)]
    found = t.emit("Slice", [t.known(node.inputs[0]), *where])
    return t.emit("Squeeze", [found, t.constant(shrunk)]) if shrunk else found


def _bit(mask: Value, axis: int) -> bool:
    return isinstance(mask, int) and bool(mask >> axis & 1)


# ---- numbers


def _matmul(t: Translation, node: Node) -> str:
    sides = []
    for tensor, flag in zip(node.inputs, ("transpose_a", "transpose_b"), strict=True):
        side = t.known(tensor)
        sides.append(
            t.emit("Transpose", [side], perm=[1, 0]) if node.attributes.get(flag) else side
        )
    return t.emit("MatMul", sides)


def _square(t: Translation, node: Node) -> str:
    return t.emit("Mul", [t.known(node.inputs[0])] * 2)


def _squared_difference(t: Translation, node: Node) -> str:
    return t.emit("Mul", [t.emit("Sub", [t.known(one) for one in node.inputs])] * 2)


def _rsqrt(t: Translation, node: Node) -> str:
    return t.emit("Reciprocal", [t.emit("Sqrt", [t.known(node.inputs[0])])])


def _relu6(t: Translation, node: Node) -> str:
    ends = [t.constant(np.asarray(one, np.float32)) for one in (0.0, 6.0)]
    return t.emit("Clip", [t.known(node.inputs[0]), *ends])


def _leaky_relu(t: Translation, node: Node) -> str:
    return t.emit("LeakyRelu", [t.known(node.inputs[0])], alpha=node.attributes.get("alpha", 0.2))


def _softmax(t: Translation, node: Node) -> str:
    return t.emit("Softmax", [t.known(node.inputs[0])], axis=-1)


def _cast(t: Translation, node: Node) -> str:
    kind = node.attributes.get("DstT")
    if not isinstance(kind, int) or kind not in _CAST_TYPES:
        raise UnknownGraph(f"its node {node.name} casts to a type that is not known here")
    return t.emit("Cast", [t.known(node.inputs[0])], to=_CAST_TYPES[kind])


_SAME_NAME = (
    "Add",
    "Elu",
    "Exp",
    "Log",
    "Mul",
    "Neg",
    "Pow",
    "Selu",
    "Shape",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
)
_OTHER_NAME = {"AddV2": "Add", "Maximum": "Max", "Minimum": "Min", "RealDiv": "Div"}
_REDUCED = {"Max": "ReduceMax", "Mean": "ReduceMean", "Min": "ReduceMin", "Sum": "ReduceSum"}


OPERATIONS: dict[str, Make] = {
    **{name: _plain(name) for name in _SAME_NAME},
    **{name: _plain(other) for name, other in _OTHER_NAME.items()},
    **{name: _reduce(other) for name, other in _REDUCED.items()},
    **dict.fromkeys(("Identity", "IdentityN", "StopGradient", "Snapshot"), _same),
    **dict.fromkeys(BATCH_NORMS, chained(batch_norm)),
    **dict.fromkeys(("Pad", "PadV2"), _pad),
    "AvgPool": pool("AveragePool"),
    "BiasAdd": chained(bias),
    "Cast": _cast,
    "ConcatV2": _concat,
    "Const": _const,
    "Conv2D": conv,
    "DepthwiseConv2dNative": depthwise,
    "ExpandDims": _expand,
    "LeakyRelu": _leaky_relu,
    "MatMul": _matmul,
    "MaxPool": chained(pool("MaxPool")),
    "Pack": _pack,
    "Relu": chained(_plain("Relu")),
    "Relu6": _relu6,
    "Reshape": _reshape,
    "Rsqrt": _rsqrt,
    "Softmax": _softmax,
    "Square": _square,
    "SquaredDifference": _squared_difference,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Transpose": _transpose,
}
