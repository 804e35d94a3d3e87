"""Graphs in ONNX Runtime against the same graphs in the TensorFlow that Essentia brings."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import essentia.standard as es
import numpy as np
import onnx
import onnxruntime
import pytest
from essentia import Pool
from numpy.typing import NDArray

from stages.graphs.frozen_graph import Graph, UnknownGraph, read_graph
from stages.graphs.graph_file import GraphFile
from stages.graphs.onnx_graph import onnx_model
from stages.graphs.onnx_network import read_model
from stages.graphs.onnx_operations import OPERATIONS
from tests.stages.frozen_graphs import (
    INT32,
    Builder,
    flag,
    kind,
    node,
    number,
    numbers,
    real,
    text,
)

Rows = NDArray[np.float32]
SIZES = (6, 5, 4)  # of an input's row: height, width, channels


def _input(made: Builder) -> str:
    return made.input("in", [-1, *SIZES])


def _batch(count: int = 3) -> Rows:
    chance = np.random.default_rng(3)
    return chance.uniform(-1, 1, (count, *SIZES)).astype(np.float32)


def _in_onnx(content: bytes, batch: Rows, output: str = "out") -> Rows:
    model = onnx_model(read_graph(content), inputs=["in"], outputs=[output])
    options = onnxruntime.SessionOptions()
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(one) for one in model.weights.values()]
    options.add_external_initializers([*model.weights], values)
    session = onnxruntime.InferenceSession(
        model.content, options, providers=["CPUExecutionProvider"]
    )
    found: Rows = session.run(None, {"in": batch})[0]
    return found


def _in_tensorflow(content: bytes, batch: Rows, folder: Path) -> Rows:
    file = folder / "graph.pb"
    file.write_bytes(content)
    graph = es.TensorflowPredict(graphFilename=str(file), inputs=["in"], outputs=["out"])
    pool = Pool()
    pool.set("in", batch)
    found: Rows = graph(pool)["out"]
    return found


def _affine(made: Builder, source: str) -> str:
    return made.normalised("bn", made.bias("bias", source, made.random(4, 8)[0]), 8)


def _conv(made: Builder, source: str, **more: object) -> str:
    return made.convolution("conv", source, made.random(3, 3, 4, 8), **more)  # type: ignore[arg-type]


def _same(made: Builder, source: str) -> str:
    return _conv(made, source)


def _strided(made: Builder, source: str) -> str:
    return _conv(made, source, padding="VALID", stride=2)


def _same_strided(made: Builder, source: str) -> str:
    return _conv(made, source, stride=2)


def _explicit(made: Builder, source: str) -> str:
    weights = made.constant("kernel", made.random(3, 3, 4, 8))
    return made.add(
        "conv", "Conv2D", [source, weights], strides=numbers([1, 1, 1, 1]), padding=text("EXPLICIT"),
        explicit_paddings=numbers([0, 0, 2, 1, 0, 3, 0, 0]), data_format=text("NHWC"),
        dilations=numbers([1, 1, 1, 1]),
    )  # fmt: skip


def _depthwise(made: Builder, source: str) -> str:
    return made.convolution(
        "conv", source, made.random(3, 3, 4, 2), op="DepthwiseConv2dNative", stride=1
    )


def _pooled_at_last(made: Builder, source: str) -> str:
    found = made.add("relu", "Relu", [_conv(made, source)])
    return made.pooled("pool", _affine(made, found), [2, 2])


def _pooled_same(made: Builder, source: str) -> str:
    return made.pooled("pool", _affine(made, _conv(made, source)), [4, 3], padding="SAME")


def _pooled_alone(made: Builder, source: str) -> str:
    return made.pooled("pool", source, [2, 3])


def _pooled_twice(made: Builder, source: str) -> str:
    once = made.pooled("once", _affine(made, _conv(made, source)), [2, 2])
    return made.pooled("twice", once, [2, 1])


def _average(made: Builder, source: str) -> str:
    sizes = numbers([1, 3, 2, 1])
    return made.add(
        "pool", "AvgPool", [source], ksize=sizes, strides=sizes, padding=text("SAME"),
        data_format=text("NHWC"),
    )  # fmt: skip


def _dead_filters(made: Builder, source: str) -> str:
    """Five of eight filters as weight decay leaves them."""
    kernel = made.random(3, 3, 4, 8)
    kernel[..., [0, 2, 3, 6, 7]] *= 1e-30
    found = made.convolution("conv", source, kernel)
    found = made.add("relu", "Relu", [made.bias("bias", found, made.random(2, 8)[0])])
    return made.pooled("pool", made.normalised("bn", found, 8), [2, 2])


def _only_dead_filters(made: Builder, source: str) -> str:
    found = made.convolution("conv", source, made.random(3, 3, 4, 8) * np.float32(1e-30))
    return _affine(made, found)


def _wanted_twice(made: Builder, source: str) -> str:
    found = _conv(made, source)
    return made.add("both", "AddV2", [made.add("relu", "Relu", [found]), _affine(made, found)])


def _flattened(made: Builder, source: str) -> str:
    """As `tf.layers.flatten` does it."""
    made.nodes.append(node("shape", "Shape", [source], T=kind(1), out_type=kind(INT32)))
    ends = [made.constant(f"slice/{place}", [value]) for place, value in enumerate((0, 1, 1))]
    made.nodes.append(
        node("size", "StridedSlice", ["shape", *ends], T=kind(INT32), Index=kind(INT32),
             shrink_axis_mask=number(1))
    )  # fmt: skip
    made.constant("rest", np.array(-1))
    made.nodes.append(node("sizes", "Pack", ["size", "rest"], T=kind(INT32), N=number(2)))
    flat = made.add("flat", "Reshape", [source, "sizes"], Tshape=kind(INT32))
    return made.dense("dense", flat, made.random(int(np.prod(SIZES)), 7))


def _moments(made: Builder, source: str) -> str:
    mean = made.reduced("mean", "Mean", source, [1, 2], keep=True)
    far = made.add("far", "SquaredDifference", [source, made.add("stop", "StopGradient", [mean])])
    variance = made.reduced("variance", "Mean", far, [1, 2], keep=True)
    found = made.add("shape", "Squeeze", [variance], squeeze_dims=numbers([1, 2]))
    highest = made.reduced("max", "Max", source, [-3, -2], keep=False)
    made.constant("axis", np.array(1))
    return made.add("joined", "ConcatV2", [found, highest, "axis"], N=number(2), Tidx=kind(INT32))


def _arithmetic(made: Builder, source: str) -> str:
    made.constant("small", np.full((4,), 0.5, np.float32))
    made.constant("large", np.full((4,), 2.0, np.float32))
    root = made.add("rsqrt", "Rsqrt", [made.add("square", "Square", ["large"])])
    found = made.add("mul", "Mul", [source, root])
    found = made.add("div", "RealDiv", [made.add("sub", "Sub", [found, "small"]), "large"])
    found = made.add("max", "Maximum", [made.add("min", "Minimum", [found, "small"]), source])
    for name in ("Sigmoid", "Tanh", "Relu6", "Elu", "Exp", "Neg", "Softplus", "Softmax"):
        found = made.add(name, name, [found])
    return made.add("leaky", "LeakyRelu", [found], alpha=real(0.3))


def _shapes(made: Builder, source: str) -> str:
    order = made.constant("order", [0, 3, 1, 2])
    found = made.add("turned", "Transpose", [source, order], Tperm=kind(INT32))
    axis = made.constant("axis", np.array(-1))
    found = made.add("expanded", "ExpandDims", [found, axis], Tdim=kind(INT32))
    found = made.add("squeezed", "Squeeze", [found], squeeze_dims=numbers([4]))
    paddings = made.constant("paddings", np.array([[0, 0], [0, 1], [2, 0], [1, 1]]))
    fill = made.constant("fill", np.array(-3.0, np.float32))
    found = made.add("padded", "PadV2", [found, paddings, fill], Tpaddings=kind(INT32))
    ends = [made.constant(f"slice/{number}", one) for number, one in enumerate(
        ([0, 1, -5, 2], [0, 4, 0, 6], [1, 2, 1, 1]))]  # fmt: skip
    return made.add(
        "sliced", "StridedSlice", [found, *ends], Index=kind(INT32), begin_mask=number(1),
        end_mask=number(5), shrink_axis_mask=number(8),
    )  # fmt: skip


def _transposed_products(made: Builder, source: str) -> str:
    flat = made.reshaped("flat", source, [-1, int(np.prod(SIZES))])
    weights = made.constant("weights", made.random(7, int(np.prod(SIZES))))
    return made.add(
        "product", "MatMul", [flat, weights], transpose_a=flag(False), transpose_b=flag(True)
    )


def _other_numbers(made: Builder, source: str) -> str:
    found = made.add("positive", "Exp", [source])
    found = made.add("log", "Log", [made.add("root", "Sqrt", [found])])
    found = made.add("selu", "Selu", [made.add("twice", "Add", [found, found])])
    exponent = made.constant("exponent", np.array(2.0, np.float32))
    found = made.add("power", "Pow", [made.add("relu", "Relu", [found]), exponent])
    return made.add("snapshot", "Snapshot", [found])


def _sums(made: Builder, source: str) -> str:
    found = made.reduced("sum", "Sum", source, [1], keep=True)
    return made.add("less", "Sub", [found, made.reduced("min", "Min", source, [1], keep=True)])


def _cast_there_and_back(made: Builder, source: str) -> str:
    half = made.constant("half", np.array(0.5, np.float32))
    found = made.add("scaled", "RealDiv", [source, half])
    made.nodes.append(node("whole", "Cast", [found], SrcT=kind(1), DstT=kind(INT32)))
    made.nodes.append(node("back", "Cast", ["whole"], SrcT=kind(INT32), DstT=kind(1)))
    return "back"


def _several_at_once(made: Builder, source: str) -> str:
    types = b"\x0a\x04\x32\x02\x01\x01"  # a list of two floats
    other = made.add("other", "Neg", [source])
    made.nodes.append(node("both", "IdentityN", [source, other], T=types))
    return made.add("sum", "Mul", ["both", "both:1"])


def _padded(made: Builder, source: str) -> str:
    paddings = made.constant("paddings", np.array([[0, 0], [3, 0], [0, 1], [0, 0]]))
    return made.add("pad", "Pad", [source, paddings], Tpaddings=kind(INT32))


def _dilated(made: Builder, source: str, padding: str = "VALID") -> str:
    weights = made.constant("kernel", made.random(2, 2, 4, 8))
    return made.add(
        "conv", "Conv2D", [source, weights], strides=numbers([1, 1, 1, 1]), padding=text(padding),
        data_format=text("NHWC"), dilations=numbers([1, 2, 2, 1]),
    )  # fmt: skip


def _newer_norm(made: Builder, source: str) -> str:
    return made.normalised("bn", _conv(made, source), 8, op="FusedBatchNormV3")


def _older_norm_alone(made: Builder, source: str) -> str:
    return made.normalised("bn", source, 4, op="FusedBatchNormV2")


def _overlapping_pool(made: Builder, source: str) -> str:
    found = _affine(made, _conv(made, source))
    return made.add(
        "pool", "MaxPool", [found], ksize=numbers([1, 3, 3, 1]), strides=numbers([1, 1, 2, 1]),
        padding=text("SAME"), data_format=text("NHWC"),
    )  # fmt: skip


def _in_a_function(made: Builder, source: str) -> str:
    """The chain of a convolution as the body of a function, as EffNet has all of it."""
    body = Builder(in_function=True)
    kernel = body.random(3, 3, 4, 8)
    kernel[..., [1, 4, 5]] *= 1e-30
    found = body.bias("bias", body.convolution("conv", "x", kernel), body.random(2, 8)[0])
    found = body.add("relu", "Relu", [found], to="activations")
    found = body.pooled("pool", body.normalised("bn", found, 8, op="FusedBatchNormV3"), [2, 2])
    made.functions.append(body.function("f", ["x"], {"y": found}))
    return made.call("called", "f", [source], 1)


GRAPHS: list[Callable[[Builder, str], str]] = [
    _same, _strided, _same_strided, _explicit, _depthwise, _pooled_at_last, _pooled_same,
    _pooled_alone, _pooled_twice, _average, _dead_filters, _only_dead_filters, _wanted_twice,
    _flattened, _moments, _arithmetic, _shapes, _transposed_products, _other_numbers, _sums,
    _cast_there_and_back, _several_at_once, _padded, _dilated, _newer_norm, _older_norm_alone,
    _overlapping_pool, _in_a_function,
]  # fmt: skip


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__.strip("_"))
def test_a_graph_gives_what_it_gives_in_tensorflow(
    make: Callable[[Builder, str], str], tmp_path: Path
) -> None:
    made = Builder()
    made.add("out", "Identity", [make(made, _input(made))])
    batch = _batch()

    found, expected = _in_onnx(made.graph(), batch), _in_tensorflow(made.graph(), batch, tmp_path)

    np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=1e-5, atol=1e-6)
    assert np.ptp(expected) > 0 or make is _only_dead_filters


def test_every_operation_that_is_known_is_in_one_of_these_graphs() -> None:
    used: set[str] = {"Placeholder", "PartitionedCall"}
    for make in GRAPHS:
        made = Builder()
        made.add("out", "Identity", [make(made, _input(made))])
        graph = read_graph(made.graph())
        bodies = [graph.nodes, *(one.nodes for one in graph.functions.values())]
        used |= {one.op for nodes in bodies for one in nodes.values()}

    assert OPERATIONS.keys() <= used


def test_in_a_function_too_filters_are_left_out_and_the_pool_comes_first() -> None:
    made = Builder()
    made.add("out", "Identity", [_in_a_function(made, _input(made))])

    model = onnx.load_from_string(
        onnx_model(read_graph(made.graph()), inputs=["in"], outputs=["out"]).content
    )

    assert list(_convolution_of(made.graph()).dims) == [5, 4, 3, 3]
    operations = [one.op_type for one in model.graph.node]
    assert operations.index("MaxPool") == operations.index("Conv") + 1


def test_channels_first_are_refused() -> None:
    made = Builder()
    weights = made.constant("kernel", made.random(3, 3, 6, 8))
    made.add("out", "Conv2D", [_input(made), weights], data_format=text("NCHW"))

    with pytest.raises(UnknownGraph, match="channels first"):
        onnx_model(read_graph(made.graph()), inputs=["in"], outputs=["out"])


def test_a_padding_that_onnx_has_not_is_refused() -> None:
    made = Builder()
    made.add("out", "Identity", [_dilated(made, _input(made), "SAME")])

    with pytest.raises(UnknownGraph, match="conv is dilated and padded"):
        onnx_model(read_graph(made.graph()), inputs=["in"], outputs=["out"])


def test_a_damaged_weight_is_not_taken_for_one_that_is_switched_off() -> None:
    made = Builder()
    kernel = made.random(3, 3, 4, 8)
    kernel[0, 0, 0, 3] = np.nan
    made.add("out", "Identity", [made.convolution("conv", _input(made), kernel)])

    assert np.isnan(_in_onnx(made.graph(), _batch())[..., 3]).any()


@pytest.mark.parametrize("seed", range(6))
def test_damaged_bytes_are_refused_or_read_but_nothing_else(seed: int, tmp_path: Path) -> None:
    made = Builder()
    made.add("out", "Identity", [_in_a_function(made, _flattened_back(made))])
    whole, chance = made.graph(), np.random.default_rng(seed)
    file = tmp_path / "graph.pb"
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        for place in chance.integers(0, len(content), chance.integers(1, 4)):
            content[place] = chance.integers(0, 256)
        file.write_bytes(
            content[: chance.integers(1, len(content))] if chance.random() < 0.3 else content
        )
        try:
            read_model(GraphFile(file, "in", "out", None, ()))
        except UnknownGraph:
            refused += 1

    assert 5 < refused < 60


def _flattened_back(made: Builder) -> str:
    flat = _flattened(made, _input(made))
    weights = made.random(7, int(np.prod(SIZES)))
    return made.reshaped("back", made.dense("dense2", flat, weights), [-1, *SIZES])


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a\x06\x08\x80\xa8\xd6\xb9\x07",  # a name given as the number 2e9
        b"\x0a\x1c\x0a\x01c\x12\x05Const*\x10\x0a\x05value\x12\x07\x42\x05\x12\x03\x12\x01\x08",
    ],
)
def test_a_few_bytes_cannot_ask_for_gigabytes(content: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(UnknownGraph):
        read_graph(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 10e6


def test_a_constant_of_more_values_than_any_graph_has_is_refused() -> None:
    sizes = b"".join(b"\x12\x06\x08" + b"\x80\x80\x80\x80\x04" for _ in range(2))  # 2^30 each
    shape = b"\x12" + bytes([len(sizes)]) + sizes
    tensor = b"\x08\x01" + shape + b"\x2a\x04\x00\x00\x80\x3f"
    made = node("c", "Const", value=b"\x42" + bytes([len(tensor)]) + tensor)

    with pytest.raises(UnknownGraph, match="a constant of 1152921504606846976 values in 1"):
        read_graph(b"\x0a" + bytes([len(made)]) + made)


def test_functions_that_call_one_another_do_not_grow_without_end() -> None:
    made = Builder()
    for level in range(40):
        body = Builder(in_function=True)
        calls = [body.call(f"c{number}", f"f{level + 1}", ["x"], 1) for number in range(2)]
        last = body.add("sum", "Add", [f"{one}:output:0" for one in calls], to="z")
        made.functions.append(body.function(f"f{level}", ["x"], {"y": last}))
    end = Builder(in_function=True)
    made.functions.append(end.function("f40", ["x"], {"y": end.add("i", "Relu", ["x"], to="z")}))
    made.call("out", "f0", [_input(made)], 1)

    with pytest.raises(UnknownGraph, match="more than 100000 nodes"):
        onnx_model(read_graph(made.graph()), inputs=["in"], outputs=["out"])


def test_a_graph_takes_any_number_of_rows() -> None:
    made = Builder()
    made.add("out", "Identity", [_flattened(made, _input(made))])

    found = [_in_onnx(made.graph(), _batch(5)[:count]) for count in (1, 5)]

    assert [len(rows) for rows in found] == [1, 5]
    np.testing.assert_allclose(found[0], found[1][:1], rtol=1e-6)


def _convolution_of(content: bytes) -> onnx.TensorProto:
    model = onnx.load_from_string(
        onnx_model(read_graph(content), inputs=["in"], outputs=["out"]).content
    )
    (conv,) = [one for one in model.graph.node if one.op_type == "Conv"]
    (kernel,) = [one for one in model.graph.initializer if one.name == conv.input[1]]
    assert isinstance(kernel, onnx.TensorProto)
    return kernel


def test_filters_that_are_switched_off_are_not_computed() -> None:
    made = Builder()
    made.add("out", "Identity", [_dead_filters(made, _input(made))])

    assert list(_convolution_of(made.graph()).dims) == [3, 4, 3, 3]  # of eight


def test_filters_that_are_only_small_are_computed() -> None:
    made = Builder()
    kernel = made.random(3, 3, 4, 8) * np.float32(1e-6)
    made.add("out", "Identity", [made.convolution("conv", _input(made), kernel)])

    assert list(_convolution_of(made.graph()).dims) == [8, 4, 3, 3]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: made.add("out", "Erf", ["in"]), "operation Erf is not known"),
        (lambda made: made.add("out", "Relu", ["nobody"]), "no node nobody"),
        (lambda made: made.add("else", "Relu", ["in"]), "no node out"),
        (lambda made: made.add("out", "Relu", ["out"]), "needs itself"),
        (lambda made: made.add("out", "Relu", ["in:1"]), "in has no output 1"),
        (lambda made: made.call("out", "nowhere", ["in"], 1), "function that is not there"),
        (lambda made: made.convolution("out", "in", "in"), "no value|is no constant"),
    ],
)
def test_what_is_not_known_is_said(spoil: Callable[[Builder], object], said: str) -> None:
    made = Builder()
    _input(made)
    if "convolution" in spoil.__code__.co_names:
        weights = made.add("weights", "Relu", ["in"])
        made.add(
            "out", "Conv2D", ["in", weights], strides=numbers([1, 1, 1, 1]), padding=text("SAME")
        )
    else:
        spoil(made)

    with pytest.raises(UnknownGraph, match=said):
        onnx_model(read_graph(made.graph()), inputs=["in"], outputs=["out"])


def test_an_input_that_is_none_is_named() -> None:
    with pytest.raises(UnknownGraph, match="no input other"):
        onnx_model(Graph({}), inputs=["other"], outputs=["out"])


@pytest.mark.parametrize("kept", [0, 1, 7, 100, 301])
def test_a_truncated_graph_is_no_graph(kept: int) -> None:
    made = Builder()
    made.add("out", "Identity", [_same(made, _input(made))])

    with pytest.raises(UnknownGraph):
        onnx_model(read_graph(made.graph()[:kept]), inputs=["in"], outputs=["out"])


@pytest.mark.parametrize("content", [b"no graph at all", b"<html>", bytes(1000), b"\xff" * 100])
def test_other_bytes_are_no_graph(content: bytes) -> None:
    with pytest.raises(UnknownGraph, match=r"no frozen graph|no nodes"):
        read_graph(content)


def test_constants_are_read_as_tensorflow_may_write_them() -> None:
    """Lists of values in place of bytes, the last of which stands for all that follow."""

    def varied(content: bytes) -> NDArray[np.float32]:
        made = node("c", "Const", value=b"\x42" + bytes([len(content)]) + content)
        value = read_graph(b"\x0a" + bytes([len(made)]) + made).nodes["c"].attributes["value"]
        assert isinstance(value, np.ndarray)
        return value

    of_three = b"\x12\x04\x12\x02\x08\x03"
    one_and_a_half = np.float32(1.5).tobytes()
    np.testing.assert_array_equal(
        varied(b"\x08\x01" + of_three + b"\x2a\x04" + one_and_a_half), [1.5] * 3
    )
    np.testing.assert_array_equal(varied(b"\x08\x03" + of_three + b"\x3a\x02\x07\x09"), [7, 9, 9])
    np.testing.assert_array_equal(varied(b"\x08\x01" + of_three), [0, 0, 0])
