"""Multiply-accumulate counts of ONNX nodes."""

from __future__ import annotations

from math import prod

from .graph import Graph, Node


def node_macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of one node: convolutions, matrix products and recurrent layers; 0 for the rest or unknown shapes."""
    if node.domain not in ("", "com.microsoft") or len(node.inputs) < 2:
        return 0
    weights_at = 3 if node.op in ("QLinearConv", "QLinearMatMul", "QGemm") else 1
    if len(node.inputs) <= weights_at:
        return 0
    data, weights = graph.shape(node.inputs[0]), graph.shape(node.inputs[weights_at])
    out = graph.shape(node.output)
    if data is None or weights is None or out is None:
        return 0
    if node.op in ("Conv", "QLinearConv", "ConvInteger"):
        return prod(out) * prod(weights[1:])
    if node.op == "ConvTranspose":
        return prod(data) * prod(weights[1:])
    if node.op in ("MatMul", "QLinearMatMul", "MatMulInteger"):
        return prod(out) * (data[-1] if data else 0)
    if node.op in ("Gemm", "QGemm"):
        return prod(out) * (data[0] if node.get("transA", 0) else data[1])
    if node.op in ("LSTM", "GRU", "RNN") and len(data) == 3:
        recurrent = graph.shape(node.inputs[2]) or (0,)
        return data[0] * data[1] * (prod(weights) + prod(recurrent))
    return 0
