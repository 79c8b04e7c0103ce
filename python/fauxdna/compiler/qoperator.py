"""QOperator models (QLinearConv, QLinearAdd, ...) rewritten as QDQ: each operator in float32 between DequantizeLinear and
QuantizeLinear. Operators that work on 8-bit tensors directly (MaxPool, Reshape, ...) are treated alike.
"""

from __future__ import annotations

import numpy as np

from .graph import Graph, Node

DIRECT = frozenset({"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "GlobalMaxPool", "Concat"})
"""Standard operators that ONNX Runtime leaves between 8-bit tensors; they keep scale and zero point."""
UNARY = {
    "QLinearSigmoid": "Sigmoid",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearAveragePool": "AveragePool",
    "QLinearSoftmax": "Softmax",
}
BINARY = {"QLinearAdd": "Add", "QLinearMul": "Mul"}


def rewrite(graph: Graph) -> bool:
    """Rewrite every QOperator node in place; returns whether there was one. Types must be inferred anew afterwards."""
    if not any(node.op.startswith("QLinear") or node.op == "QGemm" for node in graph.nodes):
        return False
    writer = _Writer(graph)
    for node in list(graph.nodes):
        writer.rewrite(node)
    graph.nodes = writer.nodes
    return True


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.known: dict[str, tuple[str, str]] = {}
        """8-bit tensor -> names of its scale and zero point."""
        self.floats: dict[str, str] = {}

    def rewrite(self, node: Node) -> None:
        """Append ``node`` or what replaces it."""
        operand = node.inputs
        if node.op == "QuantizeLinear" and len(operand) > 2:
            self.known[node.output] = (operand[1], operand[2])
        if node.op == "QLinearConv":
            self._conv(node)
        elif node.op == "QLinearMatMul":
            self._replace(node, "MatMul", [self._real(*operand[0:3]), self._real(*operand[3:6], axis=1)], operand[6:8])
        elif node.op == "QGemm":
            self._gemm(node)
        elif node.op in UNARY and not node.get("channels_last", 0):
            self._replace(node, UNARY[node.op], [self._real(*operand[0:3])], operand[3:5])
        elif node.op in BINARY:
            self._replace(node, BINARY[node.op], [self._real(*operand[0:3]), self._real(*operand[3:6])], operand[6:8])
        elif node.op == "QLinearConcat":
            self._concat(node)
        elif node.op in DIRECT and node.domain == "" and operand[0] in self.known:
            self._direct(node)
        else:
            self.nodes.append(node)

    def _real(self, tensor: str, scale: str, zero: str, *, axis: int | None = None) -> str:
        """The float form of an 8-bit tensor, one DequantizeLinear per tensor."""
        if tensor not in self.floats:
            name = f"{tensor}@real"
            attributes = {} if axis is None or self._size(scale) == 1 else {"axis": axis}
            self.nodes.append(
                Node("DequantizeLinear", f"{name}_DequantizeLinear", self._inputs(tensor, scale, zero), [name], attributes)
            )
            self.floats[tensor] = name
        return self.floats[tensor]

    def _inputs(self, tensor: str, scale: str, zero: str) -> list[str]:
        """The inputs of a (De)QuantizeLinear; a one-element scale or zero point becomes a scalar."""
        names = [tensor]
        for name in (scale, zero):
            constant = self.graph.constants.get(name)
            if constant is not None and constant.size == 1 and constant.ndim:
                name = self.graph.add_constant(f"{name}@scalar", constant.reshape(()))
            if name:
                names.append(name)
        return names

    def _size(self, name: str) -> int:
        constant = self.graph.constants.get(name)
        return 1 if constant is None else int(constant.size)

    def _replace(
        self, node: Node, op: str, inputs: list[str], out: list[str], attributes: dict[str, object] | None = None
    ) -> None:
        real = f"{node.output}@float"
        kept = (
            {k: v for k, v in node.attributes.items() if k not in ("channels_last", "opset")}
            if attributes is None
            else attributes
        )
        self.nodes.append(Node(op, node.name, inputs, [real], kept, "", node.origins))
        self.nodes.append(Node("QuantizeLinear", f"{node.name}_QuantizeLinear", self._inputs(real, *out), [node.output]))
        self.known[node.output] = (out[0], out[1])

    def _conv(self, node: Node) -> None:
        operand = node.inputs
        inputs = [self._real(*operand[0:3]), self._real(*operand[3:6], axis=0)]
        if len(operand) > 8 and operand[8]:
            inputs.append(self._bias(operand[8], operand[1], operand[4]))
        self._replace(node, "Conv", inputs, operand[6:8])

    def _bias(self, bias: str, data_scale: str, weight_scale: str) -> str:
        constants = self.graph.constants
        if data_scale not in constants or weight_scale not in constants:
            return self._real(bias, weight_scale, "")  # not constant: the rule of the operator will say so
        scale = (constants[data_scale].reshape(-1) * constants[weight_scale].reshape(-1)).astype(np.float32)
        name = self.graph.add_constant(f"{bias}@scale", scale)
        zero = self.graph.add_constant(f"{bias}@zero", np.zeros(scale.shape, np.int32))
        return self._real(bias, name, zero, axis=0)

    def _gemm(self, node: Node) -> None:
        operand = [*node.inputs, "", "", ""]
        transposed = bool(node.get("transB", 0))
        inputs = [self._real(*operand[0:3]), self._real(*operand[3:6], axis=0 if transposed else 1)]
        if operand[6]:
            inputs.append(self._bias(operand[6], operand[1], operand[4]))
        if operand[7]:
            self._replace(node, "Gemm", inputs, operand[7:9])
        else:
            self.nodes.append(Node("Gemm", node.name, inputs, node.outputs, dict(node.attributes), "", node.origins))

    def _concat(self, node: Node) -> None:
        operand = node.inputs
        inputs = [self._real(*operand[at : at + 3]) for at in range(2, len(operand), 3)]
        self._replace(node, "Concat", inputs, operand[0:2])

    def _direct(self, node: Node) -> None:
        scale = self.known[node.inputs[0]]
        data = node.inputs if node.op == "Concat" else node.inputs[:1]
        if any(self.known.get(name) != scale for name in data):
            self.nodes.append(node)
            return
        inputs = [self._real(name, *scale) for name in data] + ([] if node.op == "Concat" else node.inputs[1:])
        self._replace(node, node.op, inputs, list(scale))
