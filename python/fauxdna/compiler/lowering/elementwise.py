"""Element-wise operators: functions of one 8-bit tensor (tables), clamps, biases, and operations on two tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...abi.tile_program import BinaryOperation, Broadcast, ElementType, UnaryOperation
from .. import ir
from ..errors import Unsupported
from ..functions import FUNCTIONS
from ..graph import Node
from .rules import RULES
from .state import Lowering, names, usual_order
from .values import Curve, Deferred, Eight, Floating, Order, Placed, Target, Value, has_order, require

OPERATIONS = {
    "Add": BinaryOperation.ADD,
    "Sub": BinaryOperation.SUBTRACT,
    "Mul": BinaryOperation.MULTIPLY,
    "Div": BinaryOperation.DIVIDE,
    "Max": BinaryOperation.MAXIMUM,
    "Min": BinaryOperation.MINIMUM,
}
UNARY = {
    "Relu": UnaryOperation.RELU,
    "Exp": UnaryOperation.EXP,
    "Log": UnaryOperation.LOG,
    "Tanh": UnaryOperation.TANH,
    "Sigmoid": UnaryOperation.SIGMOID,
    "Erf": UnaryOperation.ERF,
    "Sqrt": UnaryOperation.SQRT,
    "Reciprocal": UnaryOperation.RECIPROCAL,
    "Neg": UnaryOperation.NEGATE,
    "Abs": UnaryOperation.ABS,
}


def element_wise(lowering: Lowering, node: Node) -> None:
    """Any operator of FUNCTIONS: try the cheapest form first."""
    graph = lowering.graph
    variable = list(dict.fromkeys(n for n in node.inputs if n and not _constant(lowering, n)))
    require(bool(variable), "it has constant inputs only")
    scalars = all(name in variable or graph.scalar(name) is not None for name in node.inputs if name)
    values = [lowering.value(name) for name in variable]
    if len(variable) == 1 and not scalars:
        _bias(lowering, node, variable[0], values[0])
        return
    if scalars and _clamp(lowering, node, values):
        return
    if scalars and _curve(lowering, node, variable, values):
        return
    if len(variable) == 2 and node.op in OPERATIONS and len(node.inputs) == 2:
        _binary(lowering, node)
        return
    require(len(variable) == 1, "it joins tensors that have no common 8-bit form")
    _unary(lowering, node, variable[0])


for _operator in FUNCTIONS:
    RULES[_operator] = element_wise


def _constant(lowering: Lowering, name: str) -> bool:
    """A constant, or the DequantizeLinear of one."""
    graph = lowering.graph
    if name in graph.constants:
        return True
    producer = lowering.producers.get(name)
    return producer is not None and producer.op == "DequantizeLinear" and producer.inputs[0] in graph.constants


def _bias(lowering: Lowering, node: Node, name: str, value: Value) -> None:
    """Add of one constant per channel to a product that has no bias yet."""
    adds = node.op == "Add" and isinstance(value, Deferred) and value.add_bias is not None
    require(adds, "it combines a tensor with a constant per channel; fold that into the convolution or product before it")
    assert isinstance(value, Deferred)
    assert value.add_bias is not None
    result = value.add_bias(node.inputs[1 - node.inputs.index(name)])
    result.name, result.nodes = node.output, (*value.nodes, *result.nodes, node)
    lowering.values[node.output] = result


def _clamp(lowering: Lowering, node: Node, values: list[Value]) -> bool:
    """Relu or Clip of a layer that still waits for its output form."""
    value = values[0]
    if len(values) != 1 or not isinstance(value, Deferred) or node.op not in ("Relu", "Clip"):
        return False
    low, high = 0.0, np.inf
    if node.op == "Clip":
        bounds = [lowering.graph.scalar(name) if name else None for name in (*node.inputs[1:], "", "")]
        low, high = (bounds[0] if bounds[0] is not None else -np.inf), (bounds[1] if bounds[1] is not None else np.inf)
    if low > value.clamp[1] or high < value.clamp[0] or low > high:
        return False
    merged = (max(low, value.clamp[0]), min(high, value.clamp[1]))
    lowering.values[node.output] = replace(value, name=node.output, clamp=merged, add_bias=None, nodes=(*value.nodes, node))
    return True


def _curve(lowering: Lowering, node: Node, variable: list[str], values: list[Value]) -> bool:
    """A function of one 8-bit tensor, however many nodes it is written in."""
    curves = []
    for name, value in zip(variable, values, strict=True):
        if isinstance(value, Eight):
            curves.append(Curve(value, name, name, nodes=value.nodes))
        elif isinstance(value, Curve):
            curves.append(value)
        else:
            return False
    first = curves[0]
    if any(curve.base.placed != first.base.placed or curve.base.pending != first.base.pending for curve in curves):
        return False
    if any(curve.start != first.start for curve in curves) or lowering.shape(node.output) != first.base.shape:
        return False
    nodes = tuple({id(n): n for curve in curves for n in curve.nodes}.values())
    order = {id(n): at for at, n in enumerate(lowering.graph.nodes)}
    nodes = tuple(sorted((*nodes, node), key=lambda n: order[id(n)]))
    lowering.values[node.output] = Curve(first.base, first.start, node.output, nodes=nodes)
    return True


def _operand(lowering: Lowering, name: str) -> Eight | Placed:
    """An operand of a two-operand layer: an 8-bit tensor as it is, anything else on the array in float32."""
    value = lowering.value(name)
    return value if isinstance(value, Eight) else lowering.floating(name)


def _binary(lowering: Lowering, node: Node) -> None:
    """An operation on two tensors of one shape, or of a tensor and one value per channel."""
    first, second = node.inputs
    shape = lowering.shape(node.output)
    if lowering.shape(first) != shape:
        require(node.op in ("Add", "Mul", "Max", "Min"), "its first operand would have to be broadcast")
        first, second = second, first
    require(lowering.shape(first) == shape, "both its operands would have to be broadcast")
    a, b = _operand(lowering, first), _operand(lowering, second)
    placed = [p for p in ((v.placed if isinstance(v, Eight) else v) for v in (a, b)) if p is not None]
    leading = next((p for p in placed if p.shape == shape), None)
    order = leading.order if leading is not None else usual_order(len(shape))
    broadcast = _broadcast(lowering.shape(second), shape, order)
    if broadcast is None:
        raise Unsupported("its second operand is broadcast along other dimensions than the pixels")
    second_order = order if broadcast is Broadcast.NONE else _channels_last(lowering.shape(second), len(shape), order[-1])
    for value, where in ((a, order), (b, second_order)):
        have = value.placed if isinstance(value, Eight) else value
        require(have is None or has_order(have, where), "its operands lie in different orders of dimensions")

    def emit(target: Target | None, low: int, high: int, nodes: tuple[Node, ...]) -> Placed:
        tensors, scales = [], []
        for value, where in ((a, order), (b, second_order)):
            if isinstance(value, Eight):
                tensors.append(lowering.place(value, where).tensor)
                scales.append(ir.Quantisation(float(value.scale), value.zero))
            else:
                tensors.append(value.tensor)
                scales.append(ir.Quantisation())
        height, width, channels = tensors[0].height, tensors[0].width, tensors[0].channels
        if broadcast is Broadcast.NONE:
            tensors[1] = replace(tensors[1], height=height, width=width, channels=channels)
        kind = target.type if target is not None else ElementType.F32
        out = ir.Tensor(lowering.fresh(target.name if target else f"{node.output}@float"), height, width, channels, kind)
        scale = ir.Quantisation(float(target.scale), target.zero) if target is not None else ir.Quantisation()
        layer = ir.Binary(
            lowering.label(node.name),
            (tensors[0], tensors[1]),
            out,
            nodes=names(nodes),
            operation=OPERATIONS[node.op],
            broadcast=broadcast,
            a=scales[0],
            b=scales[1],
            out=scale,
            clamp_low=low,
            clamp_high=high,
        )
        lowering.emit(layer, nodes, "operation on two tensors")
        return Placed(out, shape, order)

    nodes = tuple(n for value in (a, b) if isinstance(value, Eight) for n in value.nodes)
    lowering.values[node.output] = Deferred(node.output, shape, emit, nodes=(*nodes, node))


def _broadcast(second: tuple[int, ...], shape: tuple[int, ...], order: tuple[int, ...]) -> Broadcast | None:
    """How an operand of shape ``second`` is spread over ``shape``, or None."""
    if second == shape:
        return Broadcast.NONE
    padded = (1,) * (len(shape) - len(second)) + second
    if all(size == 1 for size in padded):
        return Broadcast.SCALAR
    if len(padded) == len(shape) and all(size == (shape[a] if a == order[-1] else 1) for a, size in enumerate(padded)):
        return Broadcast.ROW
    return None


def _channels_last(shape: tuple[int, ...], rank: int, channel: int) -> Order:
    """The order of an operand of ``shape`` that is broadcast to ``rank`` dimensions, ``channel`` being the channels there."""
    axis = max(channel - (rank - len(shape)), 0)
    return (*[other for other in range(len(shape)) if other != axis], axis)


def _unary(lowering: Lowering, node: Node, name: str) -> None:
    """A float32 function of a float32 tensor on the array."""
    alpha = beta = 0.0
    if node.op == "Clip":
        bounds = [lowering.graph.scalar(n) if n else None for n in (*node.inputs[1:], "", "")]
        limit = float(np.finfo(np.float32).max)
        operation = UnaryOperation.CLIP
        alpha, beta = (bounds[0] if bounds[0] is not None else -limit), (bounds[1] if bounds[1] is not None else limit)
    elif node.op == "HardSigmoid":
        operation, alpha, beta = UnaryOperation.HARD_SIGMOID, float(node.get("alpha", 0.2)), float(node.get("beta", 0.5))
    else:
        require(node.op in UNARY, f"{node.op} of a float32 tensor has no array form")
        operation = UNARY[node.op]
    source = lowering.floating(name)
    out = replace(source.tensor, name=lowering.fresh(f"{node.output}@float"))
    layer = ir.Unary(
        lowering.label(node.name), (source.tensor,), out, nodes=names((node,)), operation=operation, alpha=alpha, beta=beta
    )
    lowering.emit(layer, (node,), "float32 function")
    lowering.values[node.output] = Floating(Placed(out, source.shape, source.order))
