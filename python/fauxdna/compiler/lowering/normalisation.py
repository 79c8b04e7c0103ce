"""Softmax, layer normalisation and reductions over the channels, in float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...abi.tile_program import NormaliseKind
from .. import ir
from ..graph import Array, Node
from .rules import lowers
from .state import Lowering, names
from .values import Floating, Placed, require, spread


def _rows(lowering: Lowering, node: Node, axis: int) -> Placed:
    """The input in float32, rows along ``axis`` being its channels."""
    shape = lowering.shape(node.inputs[0])
    placed = lowering.floating(node.inputs[0])
    axis %= len(shape)
    last = spread(placed.order, shape)[-1:] or [placed.order[-1]]
    require(axis in (placed.order[-1], *last), "it does not work along the channels")
    if placed.tensor.channels != shape[axis]:
        pixels = placed.tensor.height * placed.tensor.width * placed.tensor.channels // shape[axis]
        order = (*[a for a in placed.order if a != axis], axis)
        placed = Placed(replace(placed.tensor, height=pixels, width=1, channels=shape[axis]), shape, order)
    return placed


def _emit(lowering: Lowering, node: Node, source: Placed, kind: NormaliseKind, **extra: Any) -> ir.Tensor:
    channels = source.tensor.channels if kind in (NormaliseKind.SOFTMAX, NormaliseKind.LAYER) else 1
    out = replace(source.tensor, name=lowering.fresh(f"{node.output}@float"), channels=channels)
    layer = ir.Normalise(lowering.label(node.name), (source.tensor,), out, nodes=names((node,)), kind=kind, **extra)
    lowering.emit(layer, (node,), "float32 over the channels")
    return out


@lowers("Softmax")
def softmax(lowering: Lowering, node: Node) -> None:
    """Softmax along the channels."""
    source = _rows(lowering, node, int(node.get("axis", -1)))
    out = _emit(lowering, node, source, NormaliseKind.SOFTMAX)
    lowering.values[node.output] = Floating(Placed(out, source.shape, source.order))


@lowers("LayerNormalization")
def layer_normalisation(lowering: Lowering, node: Node) -> None:
    """Layer normalisation along the last dimension."""
    shape = lowering.shape(node.inputs[0])
    require(int(node.get("axis", -1)) % len(shape) == len(shape) - 1, "it normalises more than the last dimension")
    require(len([o for o in node.outputs if o]) == 1, "its mean and deviation as outputs have no array form")
    source = _rows(lowering, node, -1)
    gamma = _vector(lowering, node.inputs[1], shape[-1])
    beta = (
        _vector(lowering, node.inputs[2], shape[-1])
        if len(node.inputs) > 2 and node.inputs[2]
        else np.zeros(shape[-1], np.float32)
    )
    out = _emit(lowering, node, source, NormaliseKind.LAYER, epsilon=float(node.get("epsilon", 1e-5)), gamma=gamma, beta=beta)
    lowering.values[node.output] = Floating(Placed(out, source.shape, source.order))


def _vector(lowering: Lowering, name: str, length: int) -> Array:
    constant = lowering.graph.constants.get(name)
    require(constant is not None, "its scale or bias is not constant")
    assert constant is not None
    return np.broadcast_to(constant.astype(np.float32).reshape(-1), (length,)).copy()
