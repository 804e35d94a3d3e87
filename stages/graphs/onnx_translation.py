"""How a frozen graph is told in the words of ONNX, one node after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from stages.graphs.frozen_graph import Graph, Node, UnknownGraph, name_of, needed
from stages.graphs.onnx_writer import Array, OnnxWriter

Make: TypeAlias = "Callable[[Translation, Node], str | list[str]]"
"""Adds an operation and returns the names of its outputs."""

_MOST_NODES = 100_000  # a few functions that call one another may stand for any number
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


class Translation:
    """What is known so far. A tensor goes by its node's name, an index behind it if that is not 0."""

    def __init__(self, graph: Graph, operations: Mapping[str, Make]) -> None:
        self.writer = OnnxWriter()
        self._operations = operations
        self.nodes: Mapping[str, Node] = graph.nodes
        self._graph = graph
        self._known: dict[str, str] = {}  # what tensors of the graph are called in ONNX
        self._uses: Counter[str] = Counter()
        self._count = 0

    def give(self, name: str) -> None:
        """Make a node an input."""
        node = self._graph.nodes.get(name)
        if node is None or node.op != "Placeholder":
            raise UnknownGraph(f"it has no input {name}")
        sizes = node.attributes.get("shape")
        shape = [-1, *sizes[1:]] if isinstance(sizes, list) and sizes else None
        self._known[name] = self.writer.input(name, shape)

    def translate(self, nodes: Mapping[str, Node], results: Sequence[str]) -> None:
        """Add what results need."""
        wanted = needed(nodes, results, given={*self._known})
        self.nodes = nodes
        inputs = (one for node in wanted for one in node.inputs)
        self._uses = Counter(map(name_of, [*results, *inputs]))
        self._count += len(wanted)
        if self._count > _MOST_NODES:
            raise UnknownGraph(f"it has more than {_MOST_NODES} nodes")
        for node in wanted:
            found = self._one(node)
            for index, name in enumerate([found] if isinstance(found, str) else found):
                self._known[node.name if index == 0 else f"{node.name}:{index}"] = name

    def known(self, tensor: str) -> str:
        """Return what a tensor is called in ONNX: `NAME`, `NAME:1`, or in a function `NAME:y:1`."""
        name, _, rest = tensor.partition(":")
        index = rest.rpartition(":")[2] or "0"
        found = self._known.get(name if index == "0" else f"{name}:{index}")
        if found is None:
            raise UnknownGraph(f"its node {name} has no output {index}")
        return found

    def emit(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an operation and return the name of its output."""
        return self.writer.emit(op, inputs, **attributes)

    def constant(self, value: Array | Sequence[int]) -> str:
        """Add a constant and return its name."""
        return self.writer.constant(value)

    def value(self, tensor: str) -> Array:
        """Return a tensor that must be constant."""
        found = self.writer.value(self.known(tensor))
        if found is None:
            raise UnknownGraph(f"its node {tensor} is no constant")
        return found

    def numbers(self, tensor: str) -> list[int]:
        """Return the whole numbers of a constant tensor."""
        return [int(one) for one in self.value(tensor).reshape(-1)]

    def used_once(self, node: Node) -> bool:
        """Whether only one other node wants this one's output."""
        return self._uses[node.name] == 1

    def _one(self, node: Node) -> str | list[str]:
        if node.op in _CALLS:
            return self._called(node)
        if node.attributes.get("data_format") == b"NCHW":
            raise UnknownGraph(f"its node {node.name} has channels first, which no CPU's graph has")
        make = self._operations.get(node.op)
        if make is None:
            raise UnknownGraph(f"its operation {node.op} is not known here")
        return make(self, node)

    def _called(self, node: Node) -> list[str]:
        """Put the nodes of a function in the place of its call."""
        name = node.attributes.get("f")
        function = self._graph.functions.get(name.decode() if isinstance(name, bytes) else "")
        if function is None:
            raise UnknownGraph(f"its node {node.name} calls a function that is not there")
        outside = self.nodes, self._known, self._uses
        given = [self.known(one) for one in node.inputs]
        self._known = dict(zip(function.arguments, given, strict=True))
        self.translate(function.nodes, function.results)
        found = [self.known(one) for one in function.results]
        self.nodes, self._known, self._uses = outside
        return found
