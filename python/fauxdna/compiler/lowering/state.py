"""The state of a lowering run: values by tensor name, layers and CPU nodes in order, and the moves between the two."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np
from onnx import TensorProto

from ...abi.tile_program import ElementType, UnaryOperation
from .. import ir
from ..errors import Unsupported
from ..functions import FUNCTIONS
from ..graph import Array, Graph, Node
from ..onnx_import import run_nodes
from .values import Curve, Deferred, Eight, External, Floating, Order, Placed, Target, Value, has_order, quantised_bounds, spread

NUMPY_TYPES = {ElementType.U8: np.uint8, ElementType.S8: np.int8}


@dataclass
class CpuNode:
    """A node that runs on the CPU, and why. ``node`` may be a Transpose of our own between array order and ONNX order."""

    node: Node
    why: str


@dataclass
class Lowering:
    """What has been decided so far."""

    graph: Graph
    values: dict[str, Value] = field(default_factory=dict)
    items: list[ir.Layer | CpuNode] = field(default_factory=list)
    on_array: dict[str, str] = field(default_factory=dict)
    """Node name -> why it is on the array."""
    on_cpu: dict[str, str] = field(default_factory=dict)
    exported: dict[str, str] = field(default_factory=dict)
    imported: dict[tuple[str, Order, str], Placed] = field(default_factory=dict)
    types: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    """Shape and numpy type of tensors that cross a border and are not in the graph."""
    tables: dict[tuple[object, ...], Array] = field(default_factory=dict)
    tensor_names: set[str] = field(default_factory=set)
    layer_names: set[str] = field(default_factory=set)

    @cached_property
    def producers(self) -> dict[str, Node]:
        """Tensor name -> the node that writes it (the graph is not changed any more)."""
        return self.graph.producers

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        """Tensor name -> the nodes that read it."""
        return self.graph.consumers

    # Names and constants

    def fresh(self, name: str) -> str:
        """``name``, or a name like it that no tensor has."""
        return _unique(name, self.tensor_names)

    def label(self, name: str) -> str:
        """``name``, or a name like it that no layer has."""
        return _unique(name, self.layer_names)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an ONNX tensor; Unsupported where it is not known."""
        shape = self.graph.shape(name)
        if shape is None:
            raise Unsupported(f"the shape of {name!r} is not known before it runs")
        return shape

    def value(self, name: str) -> Value:
        """What is known of ``name``; a tensor nobody lowered is external."""
        if name not in self.values:
            self.values[name] = External(name, self.graph.shape(name) or ())
        return self.values[name]

    # Emission

    def emit(self, layer: ir.Layer, nodes: tuple[Node, ...], why: str) -> None:
        """Append a layer that stands for ``nodes``."""
        self.items.append(layer)
        for node in nodes:
            self.on_array.setdefault(node.name, why)

    def add_cpu(self, node: Node, why: str) -> None:
        """Put a node on the CPU; its inputs are brought there in float32, its outputs become external."""
        if node.name in self.on_cpu:
            return
        self.on_cpu[node.name] = why
        for name in node.reads():
            self.export(name)
        self.items.append(CpuNode(node, why))
        for name in node.outputs:
            if name:
                self.values[name] = External(name, self.graph.shape(name) or ())

    # 8-bit tensors

    def eight(self, name: str) -> Eight:
        """The value of ``name`` as an 8-bit tensor, or Unsupported."""
        value = self.value(name)
        if isinstance(value, Eight):
            return value
        raise Unsupported(f"its input {name!r} is not an 8-bit tensor with a scale; quantise the model first (fauxdna quantize)")

    def place(self, value: Eight, order: Order) -> Placed:
        """``value`` on the array in ``order``; a pending tensor is brought in and quantised."""
        if value.pending is not None:
            key = (value.pending.name, order, f"{value.type}{value.scale}{value.zero}")
            if key not in self.imported:
                self.imported[key] = self._import(value, value.pending, order)
            return self.imported[key]
        assert value.placed is not None
        if not has_order(value.placed, order):
            raise Unsupported(f"{value.placed.tensor.name!r} lies in another order of dimensions than this operator reads")
        return value.placed

    def any_order(self, value: Eight) -> Order:
        """The order ``value`` lies in, or the usual one for its rank: pixels, then channels."""
        if value.placed is not None:
            return value.placed.order
        return usual_order(len(value.shape))

    def _import(self, value: Eight, source: External, order: Order) -> Placed:
        shape = value.shape
        border = self._border_tensor(source.name, shape, order)
        out = ir.Tensor(self.fresh(f"{source.name}@quantised"), border.height, border.width, border.channels, value.type)
        low, high = value.bounds
        layer = ir.Convert(
            self.label(f"quantise {source.name}"),
            (border,),
            out,
            nodes=names(value.nodes),
            quantisation=ir.Quantisation(float(value.scale), value.zero),
            clamp_low=low,
            clamp_high=high,
        )
        self.emit(layer, value.nodes, "quantised on its way into the array")
        return Placed(out, shape, order)

    def _border_tensor(self, name: str, shape: tuple[int, ...], order: Order) -> ir.Tensor:
        """The array's view of an external float32 tensor that is to be read in ``order``."""
        height, width, channels = extents(shape, order)
        if spread(order, shape) == spread(tuple(range(len(shape))), shape):
            return ir.Tensor(name, height, width, channels, ElementType.F32)
        if spread((order[-1], *order[:-1]), shape) == spread(tuple(range(len(shape))), shape):
            return ir.Tensor(name, height, width, channels, ElementType.F32, ir.Layout.PLANES)
        moved = f"{name}@{'.'.join(map(str, order))}"
        if moved not in self.types:
            self.types[moved] = (tuple(shape[axis] for axis in order), "float32")
            self.items.append(
                CpuNode(Node("Transpose", f"order {moved}", [name], [moved], {"perm": list(order)}), "order of dimensions")
            )
        return ir.Tensor(moved, height, width, channels, ElementType.F32)

    # Forms of values

    def quantise(self, name: str, target: Target, shape: tuple[int, ...], node: Node) -> Eight:
        """The tensor ``name`` in the 8-bit form ``target``, made by whatever fits its value."""
        value = self.value(name)
        if isinstance(value, External):
            return Eight(target.type, target.scale, target.zero, shape, pending=value, nodes=(node,))
        if isinstance(value, Eight):
            if (value.type, value.scale, value.zero) == (target.type, target.scale, target.zero):
                self.on_array.setdefault(node.name, "its input has this scale already")
                return Eight(value.type, value.scale, value.zero, shape, value.placed, value.pending, nodes=(*value.nodes, node))
            placed = self.table(Curve(value, name, name, nodes=value.nodes), target, node)
        elif isinstance(value, Curve):
            placed = self.table(value, target, node)
        elif isinstance(value, Deferred):
            low, high = quantised_bounds(target, value.clamp)
            placed = value.emit(target, low, high, (*value.nodes, node))
        else:
            placed = self._quantise_float(self.floating(name), target, node)
        return Eight(target.type, target.scale, target.zero, shape, placed)

    def _quantise_float(self, source: Placed, target: Target, node: Node) -> Placed:
        out = ir.Tensor(self.fresh(target.name), source.tensor.height, source.tensor.width, source.tensor.channels, target.type)
        low, high = quantised_bounds(target, (-np.inf, np.inf))
        scale = ir.Quantisation(float(target.scale), target.zero)
        layer = ir.Convert(
            self.label(node.name), (source.tensor,), out, nodes=names((node,)), quantisation=scale, clamp_low=low, clamp_high=high
        )
        self.emit(layer, (node,), "quantise")
        return Placed(out, source.shape, source.order)

    def later(self, value: Curve | Deferred, target: Target, low: int, high: int, nodes: tuple[Node, ...]) -> Placed:
        """``value`` in the 8-bit form that something behind it asked for: quantising commutes with moving and choosing."""
        if isinstance(value, Curve):
            return self.table(value, target, *nodes)
        own = quantised_bounds(target, value.clamp)
        return value.emit(target, max(low, own[0]), min(high, own[1]), (*value.nodes, *nodes))

    def table(self, curve: Curve, target: Target | None, *more: Node) -> Placed:
        """A Table layer for ``curve`` (and the nodes ``more``), 8-bit or (target None) float32."""
        source = self.place(curve.base, self.any_order(curve.base))
        nodes = (*curve.nodes, *more)
        if target is None:
            entries, kind, name = self._curve(curve), ElementType.F32, f"{curve.name}@float"
        else:
            entries = self.byte_table(curve, target, *quantised_bounds(target, (-np.inf, np.inf)))
            kind, name = target.type, target.name
        out = ir.Tensor(self.fresh(name), source.tensor.height, source.tensor.width, source.tensor.channels, kind)
        layer = ir.Table(self.label(f"{name} table"), (source.tensor,), out, nodes=names(nodes), table=entries)
        self.emit(layer, nodes, "one 256-entry table")
        return Placed(out, source.shape, source.order)

    def byte_table(self, curve: Curve, target: Target, low: int, high: int) -> Array:
        """uint8[256]: the curve's 8-bit result for every element."""
        with np.errstate(invalid="ignore", over="ignore"):
            steps = np.rint(self._curve(curve) / target.scale) + np.float32(target.zero)
        kept = np.clip(np.nan_to_num(steps), low, high)
        return kept.astype(np.int64).astype(NUMPY_TYPES[target.type]).view(np.uint8)

    def _curve(self, curve: Curve) -> Array:
        """float32[256]: the curve at every element, indexed by the element's byte; computed by ONNX Runtime."""
        base = curve.base
        functions = [node for node in curve.nodes if node.op in FUNCTIONS]
        key = (tuple(node.name for node in functions), base.type, float(base.scale), base.zero)
        if key not in self.tables:
            steps = np.arange(256, dtype=np.uint8).view(NUMPY_TYPES[base.type]).astype(np.int32) - base.zero
            points = steps.astype(np.float32) * base.scale
            if functions:
                feeds = {n: self.graph.constants[n] for f in functions for n in f.inputs if n in self.graph.constants}
                points = run_nodes(self.graph, functions, {curve.start: points, **feeds}, [curve.name])[curve.name].reshape(-1)
            self.tables[key] = points.astype(np.float32)
        return self.tables[key]

    def floating(self, name: str) -> Placed:
        """The tensor ``name`` in float32 on the array, or Unsupported if it is external."""
        value = self.value(name)
        if isinstance(value, Floating):
            return value.placed
        if isinstance(value, Curve):
            placed = self.table(value, None)
        elif isinstance(value, Eight):
            placed = self.table(Curve(value, name, name, nodes=value.nodes), None)
        elif isinstance(value, Deferred):
            placed = self._clamped(value.emit(None, 0, 0, value.nodes), value)
        else:
            raise Unsupported(f"its input {name!r} comes from the CPU in float32")
        self.values[name] = Floating(placed)
        return placed

    def _clamped(self, placed: Placed, value: Deferred) -> Placed:
        low, high = value.clamp
        if not np.isfinite([low, high]).any():
            return placed
        finite = np.finfo(np.float32)
        out = replace(placed.tensor, name=self.fresh(f"{value.name}@clamped"))
        layer = ir.Unary(
            self.label(f"{value.name} clamp"),
            (placed.tensor,),
            out,
            nodes=names(value.nodes),
            operation=UnaryOperation.CLIP,
            alpha=max(low, float(finite.min)),
            beta=min(high, float(finite.max)),
        )
        self.emit(layer, value.nodes, "clamp in float32")
        return Placed(out, placed.shape, placed.order)

    # Leaving the array

    def export(self, name: str) -> None:
        """Make ``name`` available outside the array, in ONNX's own order and type."""
        if name in self.exported or name in self.graph.constants:
            return
        self.exported[name] = name
        value = self.value(name)
        if isinstance(value, External):
            return
        if isinstance(value, Eight) and value.pending is not None:
            for node in value.nodes:
                self.items.append(CpuNode(node, "its operand stays on the CPU"))
                self.on_cpu.setdefault(node.name, "its operand stays on the CPU")
            return
        if isinstance(value, Eight):
            assert value.placed is not None
            if self.graph.element(name) in (TensorProto.UINT8, TensorProto.INT8):
                self._export_integers(name, value.placed, value.nodes)
            else:
                self._export_convert(name, value.placed, ir.Quantisation(float(value.scale), value.zero), value.nodes)
            return
        if isinstance(value, Curve) and value.start in self.exported:
            for node in value.nodes:
                if node.op in FUNCTIONS and node.name not in self.on_array:
                    self.add_cpu(node, "its operand is on the CPU already")
            return
        try:
            placed = self.floating(name)
        except Unsupported as reason:
            self._demote(value, str(reason))
            return
        self._export_convert(name, placed, ir.Quantisation(), ())

    def _demote(self, value: Value, why: str) -> None:
        """Put on the CPU what was to become a layer but has no float32 form."""
        order = {id(node): at for at, node in enumerate(self.graph.nodes)}
        for node in sorted(value.nodes, key=lambda n: order[id(n)]):
            if node.op != "DequantizeLinear" and node.name not in self.on_array:
                self.add_cpu(node, why)

    def _export_integers(self, name: str, placed: Placed, nodes: tuple[Node, ...]) -> None:
        """An 8-bit tensor that the outside wants as it is: brought out as float32 numbers, cast on the CPU."""
        numbers = f"{name}@numbers"
        self.types[numbers] = (placed.shape, "float32")
        self._export_convert(numbers, placed, ir.Quantisation(), nodes)
        cast = Node("Cast", f"integers {name}", [numbers], [name], {"to": self.graph.element(name)})
        self.items.append(CpuNode(cast, "the array returns float32"))

    def _export_convert(self, name: str, placed: Placed, quantisation: ir.Quantisation, nodes: tuple[Node, ...]) -> None:
        shape, order, tensor = placed.shape, placed.order, placed.tensor
        identity = tuple(range(len(shape)))
        layout, border = ir.Layout.PIXELS, name
        if spread(order, shape) != spread(identity, shape):
            if spread((order[-1], *order[:-1]), shape) == spread(identity, shape):
                layout = ir.Layout.PLANES
            else:
                border = f"{name}@array"
                self.types[border] = (tuple(shape[axis] for axis in order), "float32")
        out = ir.Tensor(border, tensor.height, tensor.width, tensor.channels, ElementType.F32, layout)
        layer = ir.Convert(self.label(f"return {name}"), (tensor,), out, nodes=names(nodes), quantisation=quantisation)
        self.emit(layer, nodes, "dequantised on its way out of the array")
        if border != name:
            back = [order.index(axis) for axis in identity]
            self.items.append(
                CpuNode(Node("Transpose", f"order {name}", [border], [name], {"perm": back}), "order of dimensions")
            )


def _unique(name: str, taken: set[str]) -> str:
    unique, count = name, 0
    while unique in taken:
        count += 1
        unique = f"{name}~{count}"
    taken.add(unique)
    return unique


def names(nodes: tuple[Node, ...]) -> tuple[str, ...]:
    """Node names, each once."""
    return tuple(dict.fromkeys(node.name for node in nodes))


def usual_order(rank: int) -> Order:
    """Pixels then channels for images (rank 4 and more), ONNX's own order for vectors and matrices."""
    return (0, *range(2, rank), 1) if rank >= 4 else tuple(range(rank))


def extents(shape: tuple[int, ...], order: Order) -> tuple[int, int, int]:
    """Height, width and channels of a tensor in ``order``: width is the second-innermost dimension of an image."""
    channels = shape[order[-1]] if order else 1
    rest = [shape[axis] for axis in order[:-1]]
    if len(rest) >= 3:
        return prod(rest[:-1]), rest[-1], channels
    return prod(rest), 1, channels
