"""Small frozen TensorFlow graphs, written without TensorFlow: protocol buffers by hand.

Shaped as MusiCNN and its heads are seen from outside: the same nodes, shapes and descriptions, with
random weights. The numbers of the messages' fields are those of TensorFlow's `graph.proto`,
`node_def.proto`, `attr_value.proto` and `tensor.proto`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BANDS, EMBEDDING = 96, 200
FLOAT, INT32 = 1, 3

Weights = NDArray[np.float32]


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _shape(sizes: Sequence[int]) -> bytes:
    return b"".join(_field(2, _field(1, size)) for size in sizes)


def _tensor(values: NDArray[np.float32] | NDArray[np.int32]) -> bytes:
    kind = FLOAT if values.dtype == np.float32 else INT32
    return _field(1, kind) + _field(2, _shape(values.shape)) + _field(4, values.tobytes())


def _node(name: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> bytes:
    node = _field(1, name.encode()) + _field(2, op.encode())
    node += b"".join(_field(3, one.encode()) for one in inputs)
    for key, value in attributes.items():
        node += _field(5, _field(1, key.encode()) + _field(2, value))
    return _field(1, node)


def _type(kind: int) -> bytes:
    return _field(6, kind)


def _constant(name: str, values: NDArray[np.float32] | NDArray[np.int32]) -> bytes:
    kind = FLOAT if values.dtype == np.float32 else INT32
    return _node(name, "Const", dtype=_type(kind), value=_field(8, _tensor(values)))


def _input(sizes: Sequence[int]) -> bytes:
    return _node(
        "model/Placeholder", "Placeholder", dtype=_type(FLOAT), shape=_field(7, _shape(sizes))
    )


def _dense(name: str, source: str, weights: Weights) -> bytes:
    return _constant(f"{name}/w", weights) + _node(
        name, "MatMul", [source, f"{name}/w"], T=_type(FLOAT), transpose_a=_field(5, 0),
        transpose_b=_field(5, 0),
    )  # fmt: skip


def _end(name: str, op: str, source: str) -> bytes:
    return _node(name, op, [source], T=_type(FLOAT))


def write_backbone(folder: Path, classes: Sequence[str]) -> tuple[Weights, Weights]:
    """Write `msd-musicnn-1.pb` and `.json`: mean over time, two layers; return their weights."""
    chance = np.random.default_rng(1)
    first = (chance.standard_normal((BANDS, EMBEDDING)) / BANDS).astype(np.float32)
    second = (chance.standard_normal((EMBEDDING, len(classes))) / 4).astype(np.float32)
    graph = (
        _input([-1, 187, BANDS])
        + _constant("axis", np.array([1], np.int32))
        + _node("mean", "Mean", ["model/Placeholder", "axis"], T=_type(FLOAT), Tidx=_type(INT32),
                keep_dims=_field(5, 0))
        + _dense("hidden", "mean", first)
        + _end("model/dense/BiasAdd", "Identity", "hidden")
        + _dense("logits", "model/dense/BiasAdd", second)
        + _end("model/Sigmoid", "Sigmoid", "logits")
    )  # fmt: skip
    outputs = {"model/Sigmoid": "predictions", "model/dense/BiasAdd": "embeddings"}
    _write(folder / "msd-musicnn-1", graph, classes, outputs, {"sample_rate": 16000})
    return first, second


def write_head(
    folder: Path, name: str, classes: Sequence[str], *, of: str = "msd-musicnn-1"
) -> Weights:
    """Write a head that looks at a backbone's embeddings; return its weights."""
    weights = np.random.default_rng(2).standard_normal((EMBEDDING, len(classes))).astype(np.float32)
    graph = (
        _input([-1, EMBEDDING])
        + _dense("logits", "model/Placeholder", weights)
        + _end("model/Softmax", "Softmax", "logits")
    )
    inference = {"embedding_model": {"model_name": of}}
    _write(
        folder / f"{name}-msd-musicnn-1",
        graph,
        classes,
        {"model/Softmax": "predictions"},
        inference,
    )
    return weights


def _write(
    stem: Path, graph: bytes, classes: Sequence[str], outputs: dict[str, str], inference: object
) -> None:
    # VersionDef: producer 27, TensorFlow 1.15.
    Path(f"{stem}.pb").write_bytes(graph + _field(4, _field(1, 27)))
    described = {
        "name": stem.name,
        "classes": list(classes),
        "schema": {
            "inputs": [{"name": "model/Placeholder"}],
            "outputs": [
                {"name": name, "output_purpose": purpose} for name, purpose in outputs.items()
            ],
        },
        "inference": inference,
    }
    Path(f"{stem}.json").write_text(json.dumps(described))


assert struct.calcsize("f") == 4  # tensors are written as they lie in memory
