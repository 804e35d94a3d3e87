"""Small frozen TensorFlow graphs, written without TensorFlow: protocol buffers by hand.

Shaped as Essentia's models are seen from outside: the same nodes, shapes and descriptions, with random
weights. The numbers of the messages' fields are those of TensorFlow's `graph.proto`, `function.proto`,
`op_def.proto`, `node_def.proto`, `attr_value.proto` and `tensor.proto`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BANDS, EMBEDDING = 96, 200
FLOAT, INT32, BOOL = 1, 3, 10

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


def shape(sizes: Sequence[int]) -> bytes:
    return _field(7, b"".join(_field(2, _field(1, size)) for size in sizes))


def numbers(values: Sequence[int]) -> bytes:
    """A list of whole numbers, packed as TensorFlow writes it."""
    return _field(1, _field(3, b"".join(map(_varint, values))))


def kind(number: int) -> bytes:
    return _field(6, number)


def flag(value: bool | int) -> bytes:
    return _field(5, int(value))


def number(value: int) -> bytes:
    return _field(3, value)


def real(value: float) -> bytes:
    return _varint(4 << 3 | 5) + struct.pack("<f", value)


def text(value: str) -> bytes:
    return _field(2, value.encode())


def _kind_of(values: NDArray[Any]) -> int:
    return {"f": FLOAT, "i": INT32, "b": BOOL}[values.dtype.kind]


def _tensor(values: NDArray[Any]) -> bytes:
    sizes = b"".join(_field(2, _field(1, size)) for size in values.shape)
    return _field(1, _kind_of(values)) + _field(2, sizes) + _field(4, values.tobytes())


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> bytes:
    """Return a node that is not yet a part of anything."""
    content = _field(1, name.encode()) + _field(2, op.encode())
    content += b"".join(_field(3, one.encode()) for one in inputs)
    for key, value in attributes.items():
        content += _field(5, _field(1, key.encode()) + _field(2, value))
    return content


class Builder:
    """Nodes of a graph, or of the body of a function, one after another."""

    def __init__(self, *, in_function: bool = False) -> None:
        self.nodes: list[bytes] = []
        self.functions: list[bytes] = []
        self._in_function = in_function
        self._chance = np.random.default_rng(7)

    def random(self, *sizes: int) -> Weights:
        """Return weights under which activations stay of one size."""
        fan_in = int(np.prod(sizes[:-1])) or 1
        weights: Weights = self._chance.standard_normal(sizes).astype(np.float32)
        return weights / np.float32(np.sqrt(fan_in))

    def add(
        self, name: str, op: str, inputs: Sequence[str] = (), *, to: str = "", **attributes: bytes
    ) -> str:
        """Add a node of floats and return the name of its output; `to` is that argument's name."""
        self.nodes.append(node(name, op, inputs, **{"T": kind(FLOAT), **attributes}))
        return self.output(name, to)

    def output(self, name: str, argument: str) -> str:
        """In a function's body an output has its argument's name between."""
        return f"{name}:{argument or 'output'}:0" if self._in_function else name

    def constant(self, name: str, values: NDArray[Any] | Sequence[int]) -> str:
        array = np.asarray(values)
        if array.dtype.kind == "i":
            array = array.astype(np.int32)
        self.nodes.append(
            node(name, "Const", dtype=kind(_kind_of(array)), value=_field(8, _tensor(array)))
        )
        return self.output(name, "output")

    def input(self, name: str, sizes: Sequence[int]) -> str:
        self.nodes.append(node(name, "Placeholder", dtype=kind(FLOAT), shape=shape(sizes)))
        return self.output(name, "output")

    def convolution(
        self, name: str, source: str, kernel: Weights, *, op: str = "Conv2D", padding: str = "SAME",
        stride: int = 1,
    ) -> str:  # fmt: skip
        weights = self.constant(f"{name}/kernel", kernel)
        return self.add(
            name, op, [source, weights], strides=numbers([1, stride, stride, 1]),
            padding=text(padding), data_format=text("NHWC"), dilations=numbers([1, 1, 1, 1]),
        )  # fmt: skip

    def bias(self, name: str, source: str, values: Weights) -> str:
        bias = self.constant(f"{name}/values", values)
        return self.add(name, "BiasAdd", [source, bias], data_format=text("NHWC"))

    def normalised(
        self, name: str, source: str, channels: int, *, op: str = "FusedBatchNorm"
    ) -> str:
        """Add a batch normalisation, half of whose factors are below zero."""
        gamma = self._chance.uniform(0.5, 1.5, channels) * np.where(np.arange(channels) % 2, 1, -1)
        others = [
            self._chance.uniform(-0.5, 0.5, channels),
            self._chance.uniform(-0.5, 0.5, channels),
            self._chance.uniform(0.5, 1.5, channels),
        ]
        values = [
            self.constant(f"{name}/{number}", one.astype(np.float32))
            for number, one in enumerate([gamma, *others])
        ]
        more = {} if op == "FusedBatchNorm" else {"U": kind(FLOAT)}
        return self.add(
            name, op, [source, *values], to="y", is_training=flag(False), epsilon=real(1e-3),
            data_format=text("NHWC"), **more,
        )  # fmt: skip

    def pooled(
        self, name: str, source: str, window: Sequence[int], *, padding: str = "VALID"
    ) -> str:
        sizes = numbers([1, *window, 1])
        return self.add(
            name, "MaxPool", [source], ksize=sizes, strides=sizes, padding=text(padding),
            data_format=text("NHWC"),
        )  # fmt: skip

    def dense(self, name: str, source: str, weights: Weights) -> str:
        held = self.constant(f"{name}/w", weights)
        return self.add(
            name, "MatMul", [source, held], to="product", transpose_a=flag(False),
            transpose_b=flag(False),
        )  # fmt: skip

    def reduced(self, name: str, op: str, source: str, axes: Sequence[int], *, keep: bool) -> str:
        along = self.constant(f"{name}/axes", axes)
        return self.add(name, op, [source, along], Tidx=kind(INT32), keep_dims=flag(keep))

    def reshaped(self, name: str, source: str, sizes: Sequence[int]) -> str:
        to = self.constant(f"{name}/sizes", sizes)
        return self.add(name, "Reshape", [source, to], Tshape=kind(INT32))

    def graph(self) -> bytes:
        """Return the whole as a GraphDef; VersionDef: producer 27, TensorFlow 1.15."""
        body = b"".join(_field(1, one) for one in self.nodes)
        library = _field(2, b"".join(_field(1, one) for one in self.functions))
        library = library if self.functions else b""
        return body + library + _field(4, _field(1, 27))

    def function(self, name: str, arguments: Sequence[str], results: Mapping[str, str]) -> bytes:
        """Return the nodes as a function of floats; `results` says which tensor each of them is."""

        def described(field: int, names: Sequence[str]) -> bytes:
            return b"".join(
                _field(field, _field(1, one.encode()) + _field(3, FLOAT)) for one in names
            )

        signature = _field(1, name.encode()) + described(2, arguments) + described(3, [*results])
        content = _field(1, signature) + b"".join(_field(3, one) for one in self.nodes)
        for result, source in results.items():
            content += _field(4, _field(1, result.encode()) + _field(2, source.encode()))
        return content

    def call(self, name: str, function: str, inputs: Sequence[str], results: int) -> str:
        """Add a call of a function of the library."""
        self.nodes.append(
            node(
                name, "PartitionedCall", inputs,
                Tin=_field(1, _field(6, bytes([FLOAT] * len(inputs)))),
                Tout=_field(1, _field(6, bytes([FLOAT] * results))),
                f=_field(10, _field(1, function.encode())),
            )
        )  # fmt: skip
        return name


def write_backbone(folder: Path, classes: Sequence[str]) -> tuple[Weights, Weights]:
    """Write `msd-musicnn-1.pb` and `.json`: mean over time, two layers; return their weights."""
    chance = np.random.default_rng(1)
    first = (chance.standard_normal((BANDS, EMBEDDING)) / BANDS).astype(np.float32)
    second = (chance.standard_normal((EMBEDDING, len(classes))) / 4).astype(np.float32)
    made = Builder()
    source = made.input("model/Placeholder", [-1, 187, BANDS])
    mean = made.reduced("mean", "Mean", source, [1], keep=False)
    hidden = made.add("model/dense/BiasAdd", "Identity", [made.dense("hidden", mean, first)])
    made.add("model/Sigmoid", "Sigmoid", [made.dense("logits", hidden, second)])
    outputs = {"model/Sigmoid": "predictions", "model/dense/BiasAdd": "embeddings"}
    write_model(folder / "msd-musicnn-1", made.graph(), classes, outputs)
    return first, second


def write_vggish(folder: Path) -> None:
    """Write `audioset-vggish-3.pb` and `.json`: convolutions, pools, and 128 values; no classes."""
    made = Builder()
    source = made.input("model/Placeholder", [-1, 96, 64])
    found = made.reshaped("model/vggish/Reshape", source, [-1, 96, 64, 1])
    for number, (channels_in, channels) in enumerate([(1, 4), (4, 8)]):
        name = f"model/vggish/conv{number}"
        found = made.convolution(f"{name}/Conv2D", found, made.random(3, 3, channels_in, channels))
        found = made.bias(f"{name}/BiasAdd", found, made.random(1, channels)[0])
        found = made.add(f"{name}/Relu", "Relu", [found])
        found = made.pooled(f"{name}/MaxPool", found, [4, 4], padding="SAME")
    found = made.reshaped("model/vggish/Flatten", found, [-1, 6 * 4 * 8])
    found = made.dense("model/vggish/MatMul", found, made.random(6 * 4 * 8, 128))
    found = made.bias("model/vggish/fc", found, made.random(1, 128)[0])
    made.add("model/vggish/embeddings", "Relu", [found])
    outputs = {"model/vggish/embeddings": "embeddings"}
    write_model(folder / "audioset-vggish-3", made.graph(), [], outputs)


def write_effnet(folder: Path, classes: Sequence[str]) -> None:
    """Write `discogs-effnet-bs64-1.pb` and `.json`: a function of 64 patches at once, called by name."""
    body = Builder(in_function=True)
    found = body.reshaped("Reshape", "mel", [-1, 128, 96, 1])
    paddings = body.constant("paddings", np.array([[0, 0], [1, 1], [1, 1], [0, 0]]))
    found = body.add("Pad", "Pad", [found, paddings], Tpaddings=kind(INT32))
    found = body.convolution("stem", found, body.random(3, 3, 1, 8), padding="VALID", stride=2)
    found = body.normalised("bn", found, 8, op="FusedBatchNormV3")
    found = _swish(body, "stem_swish", found)
    found = body.convolution(
        "depthwise", found, body.random(3, 3, 8, 1), op="DepthwiseConv2dNative", stride=2
    )
    squeezed = body.reduced("squeeze", "Mean", found, [1, 2], keep=True)
    gate = body.convolution("excite", squeezed, body.random(1, 1, 8, 8))
    gate = body.add(
        "gate", "Sigmoid", [body.bias("excite_bias", gate, body.random(1, 8)[0])], to="y"
    )
    found = body.add("gated", "Mul", [found, gate], to="z")
    found = body.reduced("pool", "Mean", found, [1, 2], keep=False)
    embeddings = body.dense("embed", found, body.random(8, 1280) * 8)
    logits = body.dense("logits", embeddings, body.random(1280, len(classes)))
    styles = body.add("styles", "Sigmoid", [logits], to="y")
    function = body.function(
        "__inference_1", ["mel"], {"activations": styles, "embeddings": embeddings}
    )
    made = Builder()
    made.functions.append(function)
    source = made.input("serving_default_melspectrogram", [64, 128, 96])
    made.call("PartitionedCall", "__inference_1", [source], 2)
    outputs = {"PartitionedCall:0": "predictions", "PartitionedCall:1": "embeddings"}
    write_model(
        folder / "discogs-effnet-bs64-1", made.graph(), classes, outputs,
        input_node="serving_default_melspectrogram",
    )  # fmt: skip


def _swish(body: Builder, name: str, source: str) -> str:
    gate = body.add(f"{name}_sigmoid", "Sigmoid", [source], to="y")
    return body.add(name, "Mul", [source, gate], to="z")


def write_head(
    folder: Path,
    name: str,
    classes: Sequence[str],
    *,
    of: str = "msd-musicnn-1",
    width: int = EMBEDDING,
    end: str = "Softmax",
) -> Weights:
    """Write a head that looks at a backbone's embeddings; return its weights."""
    chance = np.random.default_rng(2)
    weights = chance.standard_normal((width, len(classes))).astype(np.float32)
    made = Builder()
    source = made.input("model/Placeholder", [-1, width])
    made.add(f"model/{end}", end, [made.dense("logits", source, weights)])
    on = of.rpartition("-")[0].removesuffix("-bs64")
    write_model(
        folder / f"{name}-{on}-1", made.graph(), classes, {f"model/{end}": "predictions"},
        {"embedding_model": {"model_name": of}},
    )  # fmt: skip
    return weights


def write_model(
    stem: Path,
    graph: bytes,
    classes: Sequence[str],
    outputs: Mapping[str, str],
    inference: object = None,
    *,
    input_node: str = "model/Placeholder",
) -> None:
    Path(f"{stem}.pb").write_bytes(graph)
    described = {
        "name": stem.name,
        "classes": list(classes),
        "schema": {
            "inputs": [{"name": input_node}],
            "outputs": [
                {"name": name, "output_purpose": purpose} for name, purpose in outputs.items()
            ],
        },
        "inference": inference or {"sample_rate": 16000},
    }
    Path(f"{stem}.json").write_text(json.dumps(described))


assert struct.calcsize("f") == 4  # tensors are written as they lie in memory
