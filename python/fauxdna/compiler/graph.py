"""A mutable ONNX graph: nodes, constants and inferred tensor types, with the look-ups that rewriting needs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference

from .errors import ModelError

Array = npt.NDArray[Any]
INITIALISERS_APART = 4
"""From this ONNX IR version on, initialisers need not be graph inputs."""


@dataclass(eq=False)
class Node:
    """One operator. ``origins`` names the nodes of the user's model it came from (itself, and what was folded into it)."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    origins: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """The first (often only) output."""
        return self.outputs[0]

    def get(self, name: str, default: Any = None) -> Any:
        """Attribute ``name``, or ``default``; strings come as str."""
        value = self.attributes.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def captured(self) -> set[str]:
        """Names that sub-graphs of this node (If, Loop, Scan) take from the enclosing graph."""
        graphs = [value for value in self.attributes.values() if isinstance(value, GraphProto)]
        return set().union(*map(_free_names, graphs)) if graphs else set()

    def reads(self) -> list[str]:
        """Every tensor name this node needs: inputs (without the empty, omitted ones) and captured names."""
        captured = self.captured()
        return [name for name in self.inputs if name] + sorted(captured - set(self.inputs))


def _free_names(graph: GraphProto) -> set[str]:
    """Names used in ``graph`` but not defined in it."""
    defined = {i.name for i in graph.input} | {i.name for i in graph.initializer}
    used: set[str] = {o.name for o in graph.output}
    for proto in graph.node:
        used.update(name for name in proto.input if name)
        for attribute in proto.attribute:
            if attribute.type == AttributeProto.GRAPH:
                used |= _free_names(attribute.g)
        defined.update(proto.output)
    return used - defined


@dataclass(frozen=True)
class TensorType:
    """Element type (onnx.TensorProto.DataType) and shape; a dimension that is not known is None, an unknown shape is None."""

    element: int
    shape: tuple[int | None, ...] | None


class Graph:
    """An ONNX graph being rewritten. Nodes are in execution order; every tensor is written once."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.name = graph.name or "model"
        self.opsets = {opset.domain: opset.version for opset in model.opset_import}
        self.ir_version = max(model.ir_version, INITIALISERS_APART)
        self.constants: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.inputs = [value for value in graph.input if value.name not in self.constants]
        self.outputs = list(graph.output)
        self.types: dict[str, TensorType] = {}
        self.nodes: list[Node] = []
        counts: Counter[str] = Counter()
        for proto in graph.node:
            name = proto.name or f"{proto.op_type}_{len(self.nodes)}"
            counts[name] += 1
            if counts[name] > 1:
                name = f"{name}#{counts[name]}"
            attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
            domain = "" if proto.domain == "ai.onnx" else proto.domain
            self.nodes.append(Node(proto.op_type, name, list(proto.input), list(proto.output), attributes, domain, (name,)))
        self._read_types(graph)

    def _read_types(self, graph: GraphProto) -> None:
        for value in (*graph.value_info, *graph.input, *graph.output):
            tensor = value.type.tensor_type
            shape: tuple[int | None, ...] | None = None
            if tensor.HasField("shape"):
                shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in tensor.shape.dim)
            self.types[value.name] = TensorType(tensor.elem_type, shape)
        for name, constant in self.constants.items():
            self.types[name] = TensorType(helper.np_dtype_to_tensor_dtype(constant.dtype), tuple(constant.shape))

    def infer(self) -> None:
        """Infer all tensor types anew (ONNX shape inference with constant propagation)."""
        model = self.to_model(with_types=False)
        try:
            inferred = shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=True)
        except Exception as error:
            raise ModelError(f"the model's tensor shapes do not fit together: {_first_line(error)}") from error
        self.types.clear()
        self._read_types(inferred.graph)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of ``name`` if all its dimensions are known."""
        known = self.types.get(name)
        if known is None or known.shape is None or any(d is None for d in known.shape):
            return None
        return tuple(d for d in known.shape if d is not None)

    def element(self, name: str) -> int:
        """The onnx.TensorProto.DataType of ``name`` (0 when unknown)."""
        known = self.types.get(name)
        return known.element if known else 0

    @property
    def producers(self) -> dict[str, Node]:
        """Tensor name -> the node that writes it."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @property
    def consumers(self) -> dict[str, list[Node]]:
        """Tensor name -> the nodes that read it."""
        readers: defaultdict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(node.reads()):
                readers[name].append(node)
        return readers

    @property
    def output_names(self) -> list[str]:
        """Names of the graph outputs, in order."""
        return [value.name for value in self.outputs]

    def scalar(self, name: str) -> float | None:
        """The value of a one-element constant."""
        constant = self.constants.get(name)
        return float(constant.reshape(-1)[0]) if constant is not None and constant.size == 1 else None

    def add_constant(self, name: str, value: Array) -> str:
        """Add a constant under ``name``, or a name like it that is free."""
        unique, count = name, 0
        taken = self.types.keys() | self.constants.keys()
        while unique in taken:
            count += 1
            unique = f"{name}_{count}"
        self.constants[unique] = value
        self.types[unique] = TensorType(helper.np_dtype_to_tensor_dtype(value.dtype), tuple(value.shape))
        return unique

    def rename_uses(self, old: str, new: str) -> None:
        """Make every reader of ``old`` read ``new``. Sub-graphs must not capture it (see ``is_captured``)."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]

    def is_captured(self, name: str) -> bool:
        """Whether a sub-graph of some node reads ``name``."""
        return any(name in node.captured() for node in self.nodes)

    def remove(self, dead: Iterable[Node]) -> None:
        """Take nodes out."""
        gone = {id(node) for node in dead}
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def insert_before(self, anchor: Node, nodes: Sequence[Node]) -> None:
        """Put ``nodes`` just before ``anchor``."""
        at = next(index for index, node in enumerate(self.nodes) if node is anchor)
        self.nodes[at:at] = nodes

    def insert_after(self, anchor: Node, nodes: Sequence[Node]) -> None:
        """Put ``nodes`` just after ``anchor``."""
        at = next(index for index, node in enumerate(self.nodes) if node is anchor)
        self.nodes[at + 1 : at + 1] = nodes

    def prune(self) -> list[Node]:
        """Remove nodes whose results nobody reads, and unused constants; returns the removed nodes."""
        removed: list[Node] = []
        wanted = set(self.output_names)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs):
                wanted.update(node.reads())
                kept.append(node)
            else:
                removed.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in wanted}
        return removed

    def walk(self, accept: Callable[[Node], bool]) -> Iterator[Node]:
        """The nodes that ``accept`` likes, over a copy of the list, so that the graph may be changed on the way."""
        return iter([node for node in self.nodes if accept(node)])

    def to_model(self, *, with_types: bool = True) -> ModelProto:
        """The graph as an ONNX model."""
        graph = helper.make_graph(
            [to_proto(node) for node in self.nodes],
            self.name,
            self.inputs,
            self.outputs,
            [numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in self.constants.items()],
        )
        if with_types:
            skip = self.constants.keys() | {value.name for value in (*self.inputs, *self.outputs)}
            for name, known in self.types.items():
                if name not in skip and known.element and known.shape is not None:
                    graph.value_info.append(helper.make_tensor_value_info(name, known.element, known.shape))
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version, producer_name="fauxdna")


def to_proto(node: Node) -> NodeProto:
    """A node as ONNX has it."""
    proto = NodeProto(op_type=node.op, name=node.name, domain=node.domain, input=node.inputs, output=node.outputs)
    proto.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(node.attributes.items()))
    return proto


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


__all__ = ["Array", "Graph", "Node", "TensorType", "onnx", "to_proto"]
