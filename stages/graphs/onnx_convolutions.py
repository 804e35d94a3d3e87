"""Convolutions of a frozen graph with what follows them channel by channel, in the words of ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.graphs.frozen_graph import Node, UnknownGraph, name_of
from stages.graphs.live_filters import (
    TO_CHANNELS_FIRST,
    TO_CHANNELS_LAST,
    Affine,
    Convolution,
    Highest,
    Rectified,
    Step,
    convolved,
)
from stages.graphs.onnx_translation import Make, Translation
from stages.graphs.onnx_writer import Array

BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_CHAIN = {"Conv2D", "BiasAdd", "Relu", "MaxPool", "Identity", *BATCH_NORMS}


def chained(make: Make) -> Make:
    """Make an operation together with the convolution before it, where it follows one."""

    def _made(t: Translation, node: Node) -> str | list[str]:
        chain = _chain(t, node)
        if chain is None:
            return make(t, node)
        convolution, *followers = chain
        steps = [step for one in followers if (step := _step(t, one)) is not None]
        return convolved(
            t.writer, t.known(convolution.inputs[0]), _convolution(t, convolution), steps
        )

    return _made


def _chain(t: Translation, node: Node) -> list[Node] | None:
    """Return the nodes from a convolution to this one, if nothing else wants what is between."""
    chain = [node]
    while chain[0].op != "Conv2D":
        before = t.nodes.get(name_of(chain[0].inputs[0]))
        if before is None or before.op not in _CHAIN or not t.used_once(before):
            return None
        chain.insert(0, before)
    pools = sum(one.op == "MaxPool" for one in chain)
    return chain if pools <= 1 else None


def _step(t: Translation, node: Node) -> Step | None:
    if node.op == "Relu":
        return Rectified()
    if node.op == "MaxPool":
        return Highest(_pooling(node))
    if node.op == "BiasAdd":
        bias = t.value(node.inputs[1])
        return Affine(np.ones_like(bias), bias)
    if node.op in BATCH_NORMS:
        return Affine(*_normalising(t, node))
    return None  # Identity


def _convolution(t: Translation, node: Node) -> Convolution:
    kernel = t.value(node.inputs[1])  # height, width, channels in, channels out
    filters = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    return Convolution(filters, {"group": 1, **_sliding(node)})


def depthwise(t: Translation, node: Node) -> str:
    """Add a convolution of each channel by itself."""
    kernel = t.value(node.inputs[1])  # height, width, channels, outputs of each
    height, width, channels, each = kernel.shape
    filters = kernel.transpose(2, 3, 0, 1).reshape(channels * each, 1, height, width)
    attributes = {"group": channels, **_sliding(node)}
    return convolved(t.writer, t.known(node.inputs[0]), Convolution(filters, attributes), [])


def conv(t: Translation, node: Node) -> str:
    """Add a convolution by itself."""
    return convolved(t.writer, t.known(node.inputs[0]), _convolution(t, node), [])


def _sliding(node: Node) -> dict[str, Any]:
    sizes = {name: _sides(node, name) for name in ("strides", "dilations")}
    if sizes["dilations"] != [1, 1] and node.attributes.get("padding") == b"SAME":
        raise UnknownGraph(f"its node {node.name} is dilated and padded, which ONNX has not")
    return {**sizes, **_padding(node)}


def _pooling(node: Node) -> dict[str, Any]:
    return {
        "kernel_shape": _sides(node, "ksize"),
        "strides": _sides(node, "strides"),
        **_padding(node),
    }


def _sides(node: Node, name: str) -> list[int]:
    """Return height and width of an attribute that has four sizes."""
    sizes = node.attributes.get(name)
    if not isinstance(sizes, list) or len(sizes) != 4:
        return [1, 1]
    return sizes[1:3]


def _padding(node: Node) -> dict[str, Any]:
    padding, pads = node.attributes.get("padding"), node.attributes.get("explicit_paddings")
    if padding != b"EXPLICIT":
        return {"auto_pad": "SAME_UPPER" if padding == b"SAME" else "VALID"}
    if not isinstance(pads, list) or len(pads) != 8:
        raise UnknownGraph(f"its node {node.name} does not say how it is padded")
    top, bottom, left, right = pads[2:6]
    return {"pads": [top, left, bottom, right]}


def pool(op: str) -> Make:
    """Return how to make a pool that follows no convolution."""

    def make(t: Translation, node: Node) -> str:
        source = t.emit("Transpose", [t.known(node.inputs[0])], perm=TO_CHANNELS_FIRST)
        found = t.emit(op, [source], **_pooling(node))
        return t.emit("Transpose", [found], perm=TO_CHANNELS_LAST)

    return make


def _per_channel(values: Array) -> Array:
    # A single one spreads half a millisecond a patch faster than a row of one.
    return values.reshape(()) if values.size == 1 else values


def bias(t: Translation, node: Node) -> str:
    """Add what is added to each channel."""
    values = t.constant(_per_channel(t.value(node.inputs[1])))
    return t.emit("Add", [t.known(node.inputs[0]), values])


def batch_norm(t: Translation, node: Node) -> str:
    """Add a batch normalisation that follows no convolution."""
    factors, shifts = (t.constant(_per_channel(one)) for one in _normalising(t, node))
    return t.emit("Add", [t.emit("Mul", [t.known(node.inputs[0]), factors]), shifts])


def _normalising(t: Translation, node: Node) -> tuple[Array, Array]:
    """Return what a batch normalisation multiplies each channel with, and what it adds then."""
    if node.attributes.get("is_training", True):
        raise UnknownGraph(f"its node {node.name} is of training")
    gamma, beta, mean, variance = (t.value(one).astype(np.float64) for one in node.inputs[1:5])
    epsilon = node.attributes.get("epsilon", 1e-4)
    assert isinstance(epsilon, float)
    factors = gamma / np.sqrt(variance + epsilon)
    return factors.astype(np.float32), (beta - mean * factors).astype(np.float32)
