"""Pooling and reductions over pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...abi.tile_program import ElementType, PoolKind
from .. import ir
from ..errors import Unsupported
from ..graph import Node
from .convolution import LARGEST_STEP, output_stage, spatial, spatial_pads
from .rules import lowers
from .state import Lowering, names
from .values import Curve, Deferred, Eight, Placed, Target, require

LARGEST_WINDOW = 8
"""Extent of a window of a global maximum, which is taken in several passes: small enough that a tile holds whole windows."""


@lowers("MaxPool")
def max_pool(lowering: Lowering, node: Node) -> None:
    """Max pooling keeps scale and zero point; of a function of an 8-bit tensor it is taken after quantisation."""
    value = lowering.value(node.inputs[0])
    data = value.base if isinstance(value, Curve) else lowering.eight(node.inputs[0])
    order, extent = spatial(data.shape)
    out_shape = lowering.shape(node.output)
    rank = len(data.shape) - 2
    require(len([o for o in node.outputs if o]) == 1, "the indices of a max pooling have no array form")
    require(not any(d != 1 for d in node.get("dilations") or ()), "a dilated pooling has no array form")
    taps = [int(k) for k in node.get("kernel_shape")]
    steps = [int(s) for s in node.get("strides") or [1] * rank]
    pads = spatial_pads(node, list(data.shape[2:]), taps, steps, [1] * rank)
    require(_sane(taps, steps, pads), f"its windows are out of range: kernel {taps}, strides {steps}, pads {pads}")
    kernel = (taps[0], taps[1] if rank == 2 else 1)
    strides = (steps[0], steps[1] if rank == 2 else 1)
    begin = (pads[0], pads[1] if rank == 2 else 0)
    placed = lowering.place(data, order)

    def pooled(placed: Placed, nodes: tuple[Node, ...]) -> ir.Tensor:
        source = replace(placed.tensor, height=extent[0], width=extent[1])
        lowest = 0 if source.type is ElementType.U8 else -128
        return _max_layer(lowering, node, nodes, source, spatial(out_shape)[1], kernel, strides, begin, lowest)

    if isinstance(value, Curve):
        curve = value

        def emit(target: Target | None, low: int, high: int, nodes: tuple[Node, ...]) -> Placed:
            if target is None:
                raise Unsupported("a max pooling of float32 has no array form")
            return Placed(pooled(lowering.later(curve, target, low, high, ()), nodes), out_shape, order)

        lowering.values[node.output] = Deferred(node.output, out_shape, emit, nodes=(node,))
        return
    out = pooled(placed, (*data.nodes, node))
    lowering.values[node.output] = Eight(data.type, data.scale, data.zero, out_shape, Placed(out, out_shape, order))


def _sane(taps: list[int], steps: list[int], pads: list[int]) -> bool:
    """Whether windows are of a size that fits a core, and padding is less than a window, as ONNX asks."""
    fits = all(1 <= k < LARGEST_STEP and 1 <= s < LARGEST_STEP for k, s in zip(taps, steps, strict=True))
    return fits and all(0 <= p < k for p, k in zip(pads, taps * 2, strict=True))


@lowers("GlobalMaxPool")
def global_max_pool(lowering: Lowering, node: Node) -> None:
    """The maximum over all pixels, in passes of small windows."""
    data = lowering.eight(node.inputs[0])
    order, extent = spatial(data.shape)
    out_shape = lowering.shape(node.output)
    last = (1, 1) if len(data.shape) == 4 else (1, extent[1])
    tensor = replace(lowering.place(data, order).tensor, height=extent[0], width=extent[1])
    while (tensor.height, tensor.width) != last:
        kernel = (min(tensor.height, LARGEST_WINDOW), min(tensor.width, LARGEST_WINDOW) if last[1] == 1 else 1)
        shrunk = (-(-tensor.height // kernel[0]), -(-tensor.width // kernel[1]))
        tensor = _max_layer(lowering, node, (*data.nodes, node), tensor, shrunk, kernel, kernel, (0, 0), data.bounds[0])
    lowering.values[node.output] = Eight(data.type, data.scale, data.zero, out_shape, Placed(tensor, out_shape, order))


def _max_layer(
    lowering: Lowering,
    node: Node,
    nodes: tuple[Node, ...],
    source: ir.Tensor,
    out_extent: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    begin: tuple[int, int],
    lowest: int,
) -> ir.Tensor:
    """One max pooling; what lies outside the input is padded with the lowest element."""
    end = [
        (o - 1) * s + k - e - b
        for o, s, k, e, b in zip(out_extent, strides, kernel, (source.height, source.width), begin, strict=True)
    ]
    out = ir.Tensor(lowering.fresh(f"{node.output}@pooled"), *out_extent, source.channels, source.type)
    layer = ir.Pool(
        lowering.label(node.name),
        (source,),
        out,
        nodes=names(nodes),
        kind=PoolKind.MAX,
        kernel=kernel,
        strides=strides,
        pads=(begin[0], begin[1], max(end[0], 0), max(end[1], 0)),
        in_zero=lowest,
    )
    lowering.emit(layer, nodes, "max pooling")
    return out


@lowers("AveragePool")
def average_pool(lowering: Lowering, node: Node) -> None:
    """Average pooling where every window counts the same number of elements."""
    data = lowering.eight(node.inputs[0])
    order, extent = spatial(data.shape)
    rank = len(data.shape) - 2
    out_shape = lowering.shape(node.output)
    taps = [int(k) for k in node.get("kernel_shape")]
    steps = [int(s) for s in node.get("strides") or [1] * rank]
    pads = spatial_pads(node, list(data.shape[2:]), taps, steps, [1] * rank)
    require(not any(d != 1 for d in node.get("dilations") or ()), "a dilated pooling has no array form")
    require(_sane(taps, steps, pads), f"its windows are out of range: kernel {taps}, strides {steps}, pads {pads}")
    require(not any(pads) or bool(node.get("count_include_pad", 0)), "its windows at the border count fewer elements")
    require(not node.get("ceil_mode", 0), "its last windows may reach past the input (ceil_mode)")
    if rank == 1:
        taps, steps, pads = [taps[0], 1], [steps[0], 1], [pads[0], 0, pads[1], 0]
    out_extent = spatial(out_shape)[1]

    def emit(target: Target | None, low: int, high: int, nodes: tuple[Node, ...]) -> Placed:
        source = replace(lowering.place(data, order).tensor, height=extent[0], width=extent[1])
        kind = target.type if target is not None else ElementType.F32
        out = ir.Tensor(lowering.fresh(target.name if target else f"{node.output}@float"), *out_extent, source.channels, kind)
        unit = np.array([data.scale / np.float32(taps[0] * taps[1])], np.float32)
        layer = ir.Pool(
            lowering.label(node.name),
            (source,),
            out,
            nodes=names(nodes),
            kind=PoolKind.SUM,
            kernel=(taps[0], taps[1]),
            strides=(steps[0], steps[1]),
            pads=(pads[0], pads[1], pads[2], pads[3]),
            in_zero=data.zero,
            stage=output_stage(unit, target, low, high),
        )
        lowering.emit(layer, nodes, "average pooling as a scaled sum")
        return Placed(out, out_shape, order)

    if data.pending is None:
        lowering.place(data, order)
    lowering.values[node.output] = Deferred(node.output, out_shape, emit, nodes=(*data.nodes, node))


@lowers("GlobalAveragePool", "ReduceMean")
def mean(lowering: Lowering, node: Node) -> None:
    """The mean over all pixels of each channel."""
    data = lowering.eight(node.inputs[0])
    if node.op == "ReduceMean":
        axes = node.get("axes")
        if axes is None and len(node.inputs) > 1 and node.inputs[1] in lowering.graph.constants:
            axes = lowering.graph.constants[node.inputs[1]].tolist()
        wanted = list(range(2, len(data.shape)))
        require(axes is not None and sorted(a % len(data.shape) for a in axes) == wanted, "it is a mean over other dimensions")
    order, extent = spatial(data.shape)
    require(len(data.shape) == 4 or data.shape[0] == 1, "it is a mean over the signals of a batch")
    shape, out_shape = data.shape, lowering.shape(node.output)

    def emit(target: Target | None, low: int, high: int, nodes: tuple[Node, ...]) -> Placed:
        source = replace(lowering.place(data, order).tensor, height=extent[0], width=extent[1])
        kind = target.type if target is not None else ElementType.F32
        out = ir.Tensor(lowering.fresh(target.name if target else f"{node.output}@float"), 1, 1, source.channels, kind)
        count = np.float32(extent[0] * extent[1])
        if target is None:
            stage = output_stage(np.array([data.scale / count], np.float32), None, low, high)
        else:
            scale = np.array([data.scale / (target.scale * count)], np.float32)
            stage = ir.OutputStage(scale=scale, zero=target.zero, clamp_low=low, clamp_high=high)
        layer = ir.Reduce(lowering.label(node.name), (source,), out, nodes=names(nodes), in_zero=data.zero, stage=stage)
        lowering.emit(layer, nodes, "mean over the pixels as a scaled sum")
        kept = order if len(out_shape) == len(shape) else tuple(range(len(out_shape)))
        return Placed(out, out_shape, kept)

    if data.pending is None:
        lowering.place(data, order)
    lowering.values[node.output] = Deferred(node.output, out_shape, emit, nodes=(*data.nodes, node))
