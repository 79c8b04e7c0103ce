"""QuantizeLinear and DequantizeLinear: where a tensor's 8-bit form is asked for and given."""

from __future__ import annotations

import numpy as np

from ...abi.tile_program import ElementType
from ..graph import Array, Graph, Node
from .rules import lowers
from .state import Lowering
from .values import Eight, Target, require

ELEMENT_TYPES = {np.dtype(np.uint8): ElementType.U8, np.dtype(np.int8): ElementType.S8}


def parameters(graph: Graph, node: Node) -> tuple[Array, Array]:
    """Constant scale and zero point (same shape, zero point as int) of a QuantizeLinear or DequantizeLinear."""
    scale = graph.constants.get(node.inputs[1])
    require(scale is not None, "its scale is not constant; make it an initialiser")
    assert scale is not None
    require(scale.dtype == np.float32, f"its scale has type {scale.dtype}; float32 is taken")
    require(bool(np.isfinite(scale).all()) and bool((scale > 0).all()), "its scale is not a positive number")
    if len(node.inputs) > 2 and node.inputs[2]:
        zero = graph.constants.get(node.inputs[2])
        require(zero is not None, "its zero point is not constant; make it an initialiser")
        assert zero is not None
        return scale, zero
    return scale, np.zeros(scale.shape, np.uint8)


def _single(node: Node, scale: Array, zero: Array) -> tuple[np.float32, int, ElementType]:
    require(scale.size == 1, "activations with one scale per channel have no array form; use one scale per tensor")
    kind = ELEMENT_TYPES.get(zero.dtype)
    require(kind is not None, f"its 8-bit type is {zero.dtype}; uint8 and int8 have an array form")
    assert kind is not None
    return np.float32(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]), kind


@lowers("QuantizeLinear")
def quantise_linear(lowering: Lowering, node: Node) -> None:
    """The consumer that decides a value's 8-bit form."""
    scale, zero, kind = _single(node, *parameters(lowering.graph, node))
    shape = lowering.shape(node.inputs[0])
    target = Target(f"{node.inputs[0]}@quantised", kind, scale, zero)
    lowering.values[node.output] = lowering.quantise(node.inputs[0], target, shape, node)


@lowers("DequantizeLinear")
def dequantise_linear(lowering: Lowering, node: Node) -> None:
    """A name for an 8-bit tensor's float form; nothing is computed."""
    if node.inputs[0] in lowering.graph.constants:
        return  # weights: read by the rule of the node that uses them
    scale, zero, kind = _single(node, *parameters(lowering.graph, node))
    value = lowering.eight(node.inputs[0])
    same = (value.type, value.scale, value.zero) == (kind, scale, zero)
    require(same, "it reads the 8-bit tensor with another scale or zero point than it was written with")
    lowering.values[node.output] = Eight(kind, scale, zero, value.shape, value.placed, value.pending, nodes=(*value.nodes, node))
