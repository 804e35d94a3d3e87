"""Frozen TensorFlow graphs, read without TensorFlow: what a `.pb` file holds, as plain values.

The file is one protocol buffer, a GraphDef. The numbers of its fields are those of TensorFlow's
`graph.proto`, `function.proto`, `node_def.proto`, `attr_value.proto`, `tensor.proto` and `types.proto`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Value: TypeAlias = "bytes | int | float | bool | list[int] | NDArray[Any] | None"

_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 10: "?", 19: "<f2"}
_MOST_OF_ONE_VALUE = 1 << 24  # real graphs write large constants as bytes

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


class UnknownGraph(ValueError):
    """These bytes are no frozen graph, or one that only TensorFlow can read."""


@dataclass(frozen=True)
class Node:
    """One operation. `inputs` are `NAME`, `NAME:OUTPUT` or, in a function, `NAME:ARGUMENT:OUTPUT`."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Value]


@dataclass(frozen=True)
class Function:
    """A function of a graph's library: its nodes, the names of its arguments, where its results are."""

    arguments: tuple[str, ...]
    results: tuple[str, ...]
    nodes: Mapping[str, Node]


@dataclass(frozen=True)
class Graph:
    """The nodes of a graph by their names, and the functions that they call."""

    nodes: Mapping[str, Node]
    functions: Mapping[str, Function] = field(default_factory=dict)


def read_graph(content: bytes) -> Graph:
    """Read a GraphDef.

    Raises:
        UnknownGraph: it is none, or is not whole.
    """
    nodes: list[Node] = []
    functions: dict[str, Function] = {}
    try:
        for number, value in _fields(memoryview(content)):
            if number == 1:
                nodes.append(_node(value))
            elif number == 2:
                functions |= dict(_function(one) for key, one in _fields(value) if key == 1)
    except (Exception, MemoryError) as error:  # whatever strangers' bytes lead to
        raise UnknownGraph(f"it is no frozen graph, or not all of one ({error})") from error
    if not nodes:
        raise UnknownGraph("it holds no nodes")
    return Graph({node.name: node for node in nodes}, functions)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Give number and value of each field of a message, in its order."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _LENGTH:
            size, place = _varint(message, place)
        else:
            size = {_FOUR_BYTES: 4, _EIGHT_BYTES: 8}[kind]
        if place + size > len(message):
            raise ValueError("it ends in the middle of a value")
        yield number, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise ValueError("a number without end")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(value: memoryview) -> str:
    return _bytes(value).decode()


def _bytes(value: memoryview | int) -> bytes:
    if isinstance(value, int):  # of which `bytes` would make so many zeros
        raise ValueError("a number where a text should be")
    return bytes(value)


def _node(message: memoryview) -> Node:
    name = op = ""
    inputs: list[str] = []
    attributes: dict[str, Value] = {}
    for number, value in _fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2:
            op = _text(value)
        elif number == 3:
            inputs.append(_text(value))
        elif number == 5:
            pair = dict(_fields(value))
            attributes[_text(pair[1])] = _attribute(pair.get(2, memoryview(b"")))
    # `^name` only says what comes first.
    return Node(name, op, tuple(one for one in inputs if one[0] != "^"), attributes)


def _function(message: memoryview) -> tuple[str, Function]:
    name, arguments, results = "", [], []
    nodes: dict[str, Node] = {}
    sources: dict[str, str] = {}
    for number, value in _fields(message):
        if number == 1:  # its signature
            name = next(_text(one) for key, one in _fields(value) if key == 1)
            arguments = [_text(dict(_fields(one))[1]) for key, one in _fields(value) if key == 2]
            results = [_text(dict(_fields(one))[1]) for key, one in _fields(value) if key == 3]
        elif number == 3:
            node = _node(value)
            nodes[node.name] = node
        elif number == 4:
            pair = dict(_fields(value))
            sources[_text(pair[1])] = _text(pair[2])
    return name, Function(tuple(arguments), tuple(sources[one] for one in results), nodes)


def _attribute(message: memoryview) -> Value:
    for number, value in _fields(message):
        if number in _KINDS:
            found: Value = _KINDS[number](value)
            return found
    return None


def _list(message: memoryview) -> list[int]:
    """Return the whole numbers of a list; of other lists nothing is needed."""
    return [one for number, value in _fields(message) if number == 3 for one in _numbers(value)]


def _numbers(value: int | memoryview) -> Iterator[int]:
    if isinstance(value, int):
        yield _signed(value)
        return
    place = 0
    while place < len(value):
        one, place = _varint(value, place)
        yield _signed(one)


def _shape(message: memoryview) -> list[int]:
    """Return the sizes, -1 where any will do."""
    return [
        _signed(dict(_fields(value)).get(1, 0)) for number, value in _fields(message) if number == 2
    ]


def _tensor(message: memoryview) -> NDArray[Any]:
    dtype, shape, content = np.dtype("<f4"), [], b""
    values: list[NDArray[Any]] = []
    for number, value in _fields(message):
        if number == 1:
            if value not in _DTYPES:
                return np.empty(0)  # of strings and the like: nothing that is computed with
            dtype = np.dtype(_DTYPES[value])
        elif number == 2:
            shape = _shape(value)
        elif number == 4:
            content = _bytes(value)
        elif number in {5, 6, 7, 10, 11}:
            values.append(_listed(number, value))
    if content:
        return np.frombuffer(content, dtype).reshape(shape)
    return _spread(np.concatenate([np.zeros(0, dtype), *values]).astype(dtype), shape)


def _spread(listed: NDArray[Any], shape: list[int]) -> NDArray[Any]:
    """Return the values that a constant lists; the last of them stands for all that follow."""
    size = math.prod(shape)
    if not 0 <= size <= _MOST_OF_ONE_VALUE:
        raise ValueError(f"a constant of {size} values in {len(listed)}")
    some = listed if len(listed) else np.zeros(1, listed.dtype)
    return np.pad(some, (0, max(0, size - len(some))), "edge")[:size].reshape(shape)


def _listed(number: int, value: int | memoryview) -> NDArray[Any]:
    if number in {5, 6}:
        assert not isinstance(value, int)
        return np.frombuffer(value, "<f4" if number == 5 else "<f8")
    return np.array([*_numbers(value)], np.int64)


_KINDS: dict[int, Callable[[Any], Value]] = {
    1: _list,
    2: _bytes,
    3: _signed,
    4: lambda value: float(struct.unpack("<f", value)[0]),
    5: bool,
    6: _signed,  # a type
    7: _shape,
    8: _tensor,
    10: lambda value: _bytes(dict(_fields(value))[1]),  # a function's name
}
"""How the value of an attribute is read, by the number of its field."""


def needed(
    nodes: Mapping[str, Node], results: Sequence[str], given: Collection[str] = ()
) -> list[Node]:
    """Return the nodes that results need beyond what is given, each after those that it needs itself.

    Raises:
        UnknownGraph: one is not there, or needs itself.
    """
    done: dict[str, Node] = {}
    begun: set[str] = set()
    waiting = [name_of(result) for result in reversed(results) if name_of(result) not in given]
    while waiting:
        name = waiting[-1]
        if name not in nodes:
            raise UnknownGraph(f"it has no node {name}")
        inputs = map(name_of, nodes[name].inputs)
        missing = [one for one in inputs if one not in done and one not in given]
        if name in done or not missing:
            done[waiting.pop()] = nodes[name]
        elif name in begun:
            raise UnknownGraph(f"its node {name} needs itself")
        else:
            begun.add(name)
            waiting += missing
    return [*done.values()]


def name_of(tensor: str) -> str:
    """Return the node that a tensor comes from."""
    return tensor.partition(":")[0]
