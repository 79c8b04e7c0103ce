"""Operators that move elements or only rename dimensions: Reshape and its kin, Transpose, Resize, Concat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .. import ir
from ..graph import Array, Node
from .convolution import spatial
from .rules import lowers
from .state import Lowering, names, usual_order
from .values import Curve, Deferred, Eight, Floating, Order, Placed, Target, Value, has_order, require, spread


def _renamed(lowering: Lowering, node: Node, shape: tuple[int, ...], order_of: Callable[[Placed], Placed]) -> None:
    """Give the node's output its input's value under another shape; ``order_of(placed)`` finds the new order."""
    value = lowering.value(node.inputs[0])
    if isinstance(value, (Curve, Deferred)):
        inner = value

        def emit(target: Target | None, low: int, high: int, nodes: tuple[Node, ...]) -> Placed:
            if target is None:
                return order_of(lowering.floating(node.inputs[0]))
            return order_of(lowering.later(inner, target, low, high, nodes))

        lowering.values[node.output] = Deferred(node.output, shape, emit, nodes=(node,))
        return
    if isinstance(value, Eight) and value.pending is not None:
        value = replace(value, placed=lowering.place(value, usual_order(len(value.shape))), pending=None)
    out: Value
    if isinstance(value, Eight) and value.placed is not None:
        out = replace(value, shape=shape, placed=order_of(value.placed), nodes=(*value.nodes, node))
    elif isinstance(value, Floating):
        out = Floating(order_of(value.placed))
        lowering.on_array.setdefault(node.name, "no bytes move")
    else:
        require(False, "its input is not on the array")
        return
    lowering.on_array.setdefault(node.name, "no bytes move")
    lowering.values[node.output] = out


@lowers("Transpose")
def transpose(lowering: Lowering, node: Node) -> None:
    """A transposition only renames dimensions: the order in memory stays."""
    shape = lowering.shape(node.inputs[0])
    perm = [int(p) for p in node.get("perm") or range(len(shape))[::-1]]
    out_shape = tuple(shape[axis] for axis in perm)

    def order_of(placed: Placed) -> Placed:
        return Placed(placed.tensor, out_shape, tuple(perm.index(axis) for axis in placed.order))

    _renamed(lowering, node, out_shape, order_of)


@lowers("Reshape", "Squeeze", "Unsqueeze", "Flatten")
def reshape(lowering: Lowering, node: Node) -> None:
    """A reshape renames dimensions where ONNX's order of elements is that in memory."""
    shape, out_shape = lowering.shape(node.inputs[0]), lowering.shape(node.output)
    _renamed(lowering, node, out_shape, lambda placed: reshaped(placed, shape, out_shape))


def reshaped(placed: Placed, shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Placed:
    """``placed`` with its dimensions regrouped to ``out_shape`` (both in ONNX's order), or Unsupported."""
    groups = _matching(shape, out_shape)
    position = {axis: at for at, axis in enumerate(spread(placed.order, shape))}
    start_of: dict[int, tuple[int, list[int]]] = {}
    for before, after in groups:
        at = [position[axis] for axis in before]
        require(at == list(range(at[0], at[0] + len(at))), "it regroups elements that do not lie together in memory")
        start_of[at[0]] = (len(at), after)
    long = [axis for at in sorted(start_of) for axis in start_of[at][1]]
    tensor = placed.tensor
    units = [axis for axis in range(len(out_shape)) if out_shape[axis] == 1]
    last = spread(placed.order, shape)
    channel_is_last = tensor.channels > 1 or not last
    kept = (len(long) > 0 and out_shape[long[-1]] == tensor.channels) if channel_is_last else bool(units)
    if kept:
        channel = long[-1] if channel_is_last and long else units[0]
        order: Order = (*[axis for axis in (*units, *long) if axis != channel], channel)
        return Placed(tensor, out_shape, order)
    width = ir.ELEMENT_BYTES[tensor.type]
    channels = out_shape[long[-1]] if long else 1
    require(placed.dense and channels * width % 4 == 0, "it regroups channels that are padded to 4 bytes in memory")
    pixels = int(np.prod(out_shape)) // channels
    order = (*units, *long) if long else tuple(range(len(out_shape)))
    return Placed(replace(tensor, height=pixels, width=1, channels=channels), out_shape, order)


def _matching(shape: tuple[int, ...], out_shape: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Smallest groups of dimensions of both shapes (1s left out) that hold the same elements."""
    first = [axis for axis, size in enumerate(shape) if size > 1]
    second = [axis for axis, size in enumerate(out_shape) if size > 1]
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(first) and j < len(second):
        before, after = [first[i]], [second[j]]
        a, b = shape[first[i]], out_shape[second[j]]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                before.append(first[i])
                a *= shape[first[i]]
                i += 1
            else:
                after.append(second[j])
                b *= out_shape[second[j]]
                j += 1
        groups.append((before, after))
    return groups


@lowers("Resize")
def resize(lowering: Lowering, node: Node) -> None:
    """Nearest-neighbour enlargement by whole factors."""
    data = lowering.eight(node.inputs[0])
    require(len(data.shape) == 4, "it resizes other dimensions than those of an image")
    order, extent = spatial(data.shape)
    require(node.get("mode", "nearest") == "nearest", f"mode {node.get('mode')} has no array form, nearest has")
    out_shape = lowering.shape(node.output)
    require(out_shape[:2] == data.shape[:2], "it resizes the channels")
    factors = []
    for axis in (2, 3):
        factor = out_shape[axis] // data.shape[axis]
        require(factor >= 1 and factor * data.shape[axis] == out_shape[axis], "it does not enlarge by a whole factor")
        expected = np.arange(out_shape[axis]) // factor
        require(
            bool((_nearest(node, data.shape[axis], out_shape[axis]) == expected).all()), "it does not repeat each pixel alike"
        )
        factors.append(factor)
    source = replace(lowering.place(data, order).tensor, height=extent[0], width=extent[1])
    out = ir.Tensor(lowering.fresh(f"{node.output}@resized"), out_shape[2], out_shape[3], source.channels, data.type)
    nodes = (*data.nodes, node)
    layer = ir.Resize(lowering.label(node.name), (source,), out, nodes=names(nodes), factors=(factors[0], factors[1]))
    lowering.emit(layer, nodes, "nearest-neighbour enlargement")
    lowering.values[node.output] = Eight(data.type, data.scale, data.zero, out_shape, Placed(out, out_shape, order))


def _nearest(node: Node, size: int, out_size: int) -> Array:
    """The input index of each output index, as ONNX defines Resize."""
    out = np.arange(out_size, dtype=np.float64)
    scale = out_size / size
    mode = node.get("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        at = out / scale
    elif mode in ("half_pixel", "half_pixel_symmetric") or (mode == "pytorch_half_pixel" and out_size > 1):
        at = (out + 0.5) / scale - 0.5
    elif mode == "align_corners":
        at = out * (size - 1) / max(out_size - 1, 1)
    else:
        require(False, f"coordinate_transformation_mode {mode} has no array form")
        return out
    rounded: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    }
    index = rounded[node.get("nearest_mode", "round_prefer_floor")](at)
    return np.clip(index, 0, size - 1).astype(np.int64)


@lowers("Concat")
def concat(lowering: Lowering, node: Node) -> None:
    """Concatenation along the channels: each part is written at its channel offset."""
    parts = [lowering.eight(name) for name in node.inputs]
    shape = lowering.shape(node.output)
    axis = int(node.get("axis", 0)) % len(shape)
    placed_first = next((part.placed for part in parts if part.placed is not None), None)
    require(placed_first is not None, "all its inputs come from the CPU")
    assert placed_first is not None
    order = placed_first.order
    require(order[-1] == axis, "it does not join channels")
    for part in parts[:-1]:
        require(part.shape[axis] % 4 == 0, f"a part of {part.shape[axis]} channels does not end at a multiple of 4 bytes")
    require(all(part.placed is None or has_order(part.placed, order) for part in parts), "its inputs lie in different orders")

    def emit(target: Target | None, low: int, high: int, nodes: tuple[Node, ...]) -> Placed:
        require(target is not None, "it joins 8-bit tensors of different scales and is not quantised itself")
        assert target is not None
        first = placed_first.tensor
        out = ir.Tensor(lowering.fresh(target.name), first.height, first.width, shape[axis], target.type)
        offset = 0
        for index, part in enumerate(parts):
            source = replace(lowering.place(part, order).tensor, height=first.height, width=first.width)
            curve = Curve(part, node.inputs[index], node.inputs[index])
            entries = lowering.byte_table(curve, target, low, high)
            layer = ir.Table(
                lowering.label(f"{node.name} part {index}"),
                (source,),
                out,
                nodes=names(nodes),
                channel_offset=offset,
                table=entries,
            )
            lowering.emit(layer, nodes, "each part is written at its channels")
            offset += part.shape[axis]
        return Placed(out, shape, order)

    nodes = tuple(n for part in parts for n in part.nodes)
    same = {(part.type, float(part.scale), part.zero) for part in parts}
    readers = lowering.consumers.get(node.output, [])
    if len(same) == 1 and any(reader.op != "QuantizeLinear" for reader in readers):
        part = parts[0]
        placed = emit(Target(f"{node.output}@joined", part.type, part.scale, part.zero), *part.bounds, (*nodes, node))
        lowering.values[node.output] = Eight(part.type, part.scale, part.zero, shape, placed)
    else:
        lowering.values[node.output] = Deferred(node.output, shape, emit, nodes=(*nodes, node))
