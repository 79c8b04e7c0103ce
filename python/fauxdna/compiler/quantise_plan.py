"""Deciding which tensors of a float32 graph become 8-bit, and which share one scale.

Convolutions and matrix products with constant weights are quantised where they carry enough of the work, and with them the
operators between them that the array has in 8 bits. A chain of one-operand functions (an activation written out in any
number of nodes) stays float32 between a DequantizeLinear and a QuantizeLinear: the compiler makes one table of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from .functions import FUNCTIONS
from .graph import Graph, Node
from .macs import node_macs

WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
SELECTING = ("MaxPool", "GlobalMaxPool", "Resize")
"""Operators whose results are elements of their input: input and output share one scale."""
TWO_OPERAND = ("Add", "Sub", "Mul", "Div")
AVERAGING = ("GlobalAveragePool", "AveragePool")
MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")
"""Operators that only rename dimensions; quantisation passes through them."""
CLAMPING = ("Relu", "Clip")
FILTER_BANK_TAPS = 32
"""A convolution of one channel with at least this many taps is a filter bank (an STFT), which 8-bit samples would ruin."""
WORTHWHILE_SHARE = 0.001
"""Share of the model's MACs below which a matrix product fed by float32 work is not worth quantising."""


@dataclass
class Plan:
    """What to quantise: ``operators`` in 8 bits, ``tensors`` that get a Q/DQ pair in order, ``scale_of`` tying tensors."""

    operators: list[Node] = field(default_factory=list)
    tensors: list[str] = field(default_factory=list)
    operands: dict[str, list[str]] = field(default_factory=dict)
    """Operator name -> the 8-bit tensors it reads."""
    results: dict[str, str] = field(default_factory=dict)
    """Operator name -> its result, behind the bias and clamp that belong to it."""
    biases: dict[str, str] = field(default_factory=dict)
    """MatMul node name -> the constant that the Add behind it adds."""
    source: dict[str, str] = field(default_factory=dict)
    """Tensor inside a chain of functions -> the 8-bit tensor the chain is a function of."""
    scale_of: dict[str, str] = field(default_factory=dict)

    def group(self, name: str) -> str:
        """The tensor that stands for all those which share ``name``'s scale."""
        while self.scale_of.get(name, name) != name:
            name = self.scale_of[name]
        return name

    def tie(self, first: str, second: str) -> None:
        """Give two tensors one scale."""
        a, b = self.group(first), self.group(second)
        if a != b:
            self.scale_of[b] = a


def make_plan(graph: Graph, exclude: Collection[str] = ()) -> Plan:
    """Walk ``graph`` once in execution order; nodes named in ``exclude`` stay float32."""
    return _Planner(graph, exclude).run()


class _Planner:
    def __init__(self, graph: Graph, exclude: Collection[str]) -> None:
        self.graph = graph
        self.exclude = set(exclude)
        self.consumers = graph.consumers
        self.outputs = set(graph.output_names)
        self.given = {value.name for value in graph.inputs}
        self.plan = Plan()
        self.root: dict[str, str] = {}
        """Tensor -> the tensor before any operators that only rename dimensions."""
        self.eight: set[str] = set()
        """Results of 8-bit operators: candidates for a Q/DQ pair."""
        self.wanted: set[str] = set()
        self.total = sum(node_macs(graph, node) for node in graph.nodes)

    def run(self) -> Plan:
        for node in self.graph.nodes:
            if node.domain == "" and node.name not in self.exclude:
                self._visit(node)
        for node in self.graph.nodes:
            if node.domain == "" and node.output in self.plan.source and node.output not in self.eight:
                self.wanted.add(self.plan.source[node.output])
        order = [value.name for value in self.graph.inputs] + [name for node in self.graph.nodes for name in node.outputs]
        self.plan.tensors = [name for name in order if name in self.wanted]
        self._tie()
        return self.plan

    def _visit(self, node: Node) -> None:
        variable = [name for name in node.inputs if name and name not in self.graph.constants]
        if not variable or any(output in self.eight for output in node.outputs):
            return
        if node.op in MOVING:
            self.root[node.output] = self._root(variable[0])
        elif node.op in WEIGHTED:
            self._weighted(node)
        elif not all(self._hot(name) for name in variable):
            return
        elif node.op in FUNCTIONS and self._is_chain(node, variable):
            self.plan.source[node.output] = self._source(variable[0])
        elif node.op in TWO_OPERAND and len(variable) == 2 and self._broadcastable(node):
            self._take(node, variable)
        elif node.op in AVERAGING or (node.op in SELECTING and self._selects(node)):
            self._take(node, variable[:1])
        elif node.op == "Concat" and len(variable) == len(node.inputs):
            self._take(node, variable)

    def _weighted(self, node: Node) -> None:
        graph = self.graph
        data, weights = node.inputs[0], graph.constants.get(node.inputs[1])
        if weights is None or data in graph.constants or weights.ndim < 2:
            return
        if node.op in ("MatMul", "Gemm") and weights.ndim != 2:
            return
        if node.op == "Gemm" and (node.get("transA", 0) or node.get("alpha", 1.0) != 1.0 or node.get("beta", 1.0) != 1.0):
            return
        if node.op == "Conv" and weights.shape[1] == 1 and node.get("group", 1) == 1 and weights[0].size >= FILTER_BANK_TAPS:
            return
        near = self._hot(data) or self._root(data) in self.given
        if not near and node_macs(graph, node) < WORTHWHILE_SHARE * self.total:
            return
        self._take(node, [data])

    def _take(self, node: Node, operands: Iterable[str]) -> None:
        """Make ``node`` an 8-bit operator, with the bias and clamp behind it."""
        self.plan.operators.append(node)
        self.plan.operands[node.name] = [self._root(name) for name in operands]
        self.wanted.update(self.plan.operands[node.name])
        result = node.output
        if node.op == "MatMul" and (add := self._only(result)) is not None and add.op == "Add":
            other = add.inputs[1 - add.inputs.index(result)] if len(set(add.inputs)) == 2 else ""
            constant = self.graph.constants.get(other)
            channels = self.graph.constants[node.inputs[1]].shape[-1]
            if constant is not None and constant.size == channels == constant.shape[-1]:
                self.plan.biases[node.name] = other
                result = add.output
        if (
            (clamp := self._only(result)) is not None
            and clamp.op in CLAMPING
            and node.op not in SELECTING
            and node.op != "Concat"
        ):
            limits = [self.graph.scalar(name) for name in clamp.inputs[1:] if name]
            if all(limit is not None for limit in limits):
                result = clamp.output
                self.wanted.add(result)
        self.plan.results[node.name] = result
        self.eight.add(result)

    def _only(self, name: str) -> Node | None:
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs and readers[0].name not in self.exclude else None

    def _root(self, name: str) -> str:
        return self.root.get(name, name)

    def _source(self, name: str) -> str:
        root = self._root(name)
        return self.plan.source.get(root, root)

    def _hot(self, name: str) -> bool:
        root = self._root(name)
        return root in self.eight or root in self.plan.source

    def _is_chain(self, node: Node, variable: list[str]) -> bool:
        scalars = all(name in variable or self.graph.scalar(name) is not None for name in node.inputs if name)
        shapes = {self.graph.shape(name) for name in (*variable, node.output)}
        if any(self._root(name) != name and self._root(name) in self.plan.source for name in variable):
            return False  # a chain ends where dimensions are renamed
        return scalars and len({self._source(name) for name in variable}) == 1 and len(shapes) == 1

    def _broadcastable(self, node: Node) -> bool:
        """Same shape, or one operand with all dimensions but the channels 1 (Sub and Div: only the second)."""
        first, second = (self.graph.shape(name) for name in node.inputs)
        out = self.graph.shape(node.output)
        if first is None or second is None or len(set(node.inputs)) != 2:
            return False
        row = len(first) == len(second) == 4 and all(d == 1 for d in (*second[2:], second[0]))
        flipped = len(first) == len(second) == 4 and all(d == 1 for d in (*first[2:], first[0])) and node.op in ("Add", "Mul")
        return first == second or (row and first == out) or (flipped and second == out)

    def _selects(self, node: Node) -> bool:
        return node.op != "Resize" or node.get("mode", "nearest") == "nearest"

    def _tie(self) -> None:
        plan = self.plan
        for node in plan.operators:
            if node.op in SELECTING and node.output in self.wanted:
                plan.tie(self._root(node.inputs[0]), node.output)
        uses: defaultdict[str, int] = defaultdict(int)
        for node in self.graph.nodes:
            for name in node.reads():
                uses[name] += 1
        for node in plan.operators:
            if node.op == "Concat" and node.output in self.wanted:
                for name in node.inputs:
                    if uses[name] == 1 and name in self.wanted:
                        plan.tie(node.output, name)
