"""Conv, ConvTranspose, MatMul and Gemm with constant 8-bit weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np

from ...abi.tile_program import ElementType
from .. import ir
from ..graph import Array, Node
from .quantisation import parameters
from .rules import lowers
from .state import Lowering, names
from .values import Deferred, Eight, Order, Placed, Target, require

LARGEST_STEP = 1 << 16
"""Strides, dilations, groups and pads from here on are taken for damage."""


@dataclass(frozen=True)
class Weights:
    """Constant weights as stored, their scale per output channel (or one) and their zero point."""

    steps: Array
    scale: Array
    zero: int
    nodes: tuple[Node, ...]


def constant_weights(lowering: Lowering, name: str, channel_axis: int) -> Weights:
    """The weights behind a DequantizeLinear of a constant, as int8."""
    graph = lowering.graph
    node = lowering.producers.get(name)
    constant = graph.constants.get(node.inputs[0]) if node is not None and node.op == "DequantizeLinear" else None
    require(constant is not None, "its weights are not 8-bit constants; quantise the model first (fauxdna quantize)")
    assert constant is not None
    assert node is not None
    scale, zeros = parameters(graph, node)
    if scale.size > 1:
        axis = int(node.get("axis", 1)) % constant.ndim
        require(axis == channel_axis, f"its weights have scales along dimension {axis}, not along the output channels")
    scale = scale.reshape(-1)
    values = np.unique(zeros.astype(np.int64))
    require(values.size == 1, "its weights have different zero points per channel; use symmetric weights")
    require(constant.dtype in (np.int8, np.uint8), f"its weights have type {constant.dtype}; int8 and uint8 have an array form")
    steps, zero = constant, int(values[0])
    if constant.dtype == np.uint8:
        steps, zero = (constant.astype(np.int16) - 128).astype(np.int8), zero - 128
    return Weights(steps, scale.astype(np.float32), zero, (node,))


def bias_steps(lowering: Lowering, name: str, unit: Array, channels: int) -> tuple[Array, tuple[Node, ...]]:
    """A constant bias as int32 in steps of ``unit`` (input scale times weight scale)."""
    graph = lowering.graph
    node = lowering.producers.get(name)
    if node is not None and node.op == "DequantizeLinear" and node.inputs[0] in graph.constants:
        stored = graph.constants[node.inputs[0]]
        scale, zeros = parameters(graph, node)
        scale = np.broadcast_to(scale.reshape(-1), (channels,))
        if stored.dtype == np.int32 and not zeros.any() and np.allclose(scale, unit, rtol=1e-5, atol=0):
            return np.broadcast_to(stored.reshape(-1), (channels,)).astype(np.int32), (node,)
        real = (stored.astype(np.float64).reshape(-1) - zeros.astype(np.float64).reshape(-1)) * scale
        nodes: tuple[Node, ...] = (node,)
    else:
        constant = graph.constants.get(name)
        require(constant is not None, "its bias is not constant")
        assert constant is not None
        real, nodes = constant.astype(np.float64).reshape(-1), ()
    steps = np.rint(np.broadcast_to(real, (channels,)) / unit)
    require(bool((np.abs(steps) < 2**31).all()), "its bias exceeds an int32 in steps of input scale times weight scale")
    return steps.astype(np.int32), nodes


def output_stage(unit: Array, target: Target | None, low: int, high: int) -> ir.OutputStage:
    """From accumulator to ``target``; the scale is rounded to float32 after each step, as ONNX Runtime does."""
    if target is None:
        return ir.OutputStage(scale=unit.astype(np.float32), clamp_low=0, clamp_high=0)
    scale = (unit.astype(np.float32) / target.scale).astype(np.float32)
    return ir.OutputStage(scale=scale, zero=target.zero, clamp_low=low, clamp_high=high)


@dataclass
class Product:
    """A convolution or matrix product that waits for its output form."""

    lowering: Lowering
    node: Node
    data: Eight
    order: Order
    extent: tuple[int, int]
    weights: Weights
    out_shape: tuple[int, ...]
    out_extent: tuple[int, int]
    groups: int = 1
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    transposed: bool = False

    @property
    def channels(self) -> int:
        """Output channels."""
        return int(self.weights.steps.shape[1 if self.transposed else 0])

    @property
    def unit(self) -> Array:
        """Value of one accumulator step, per channel or one for all: float32(input scale * weight scale)."""
        return (self.data.scale * self.weights.scale).astype(np.float32)

    def value(self, bias: Array | None, nodes: tuple[Node, ...]) -> Deferred:
        """The product as a value; the bias may be added once."""
        deferred = Deferred(self.node.output, self.out_shape, partial(self.emit, bias), nodes=nodes)
        if bias is None:
            deferred.add_bias = self.with_bias
        return deferred

    def with_bias(self, name: str) -> Deferred:
        """The product plus the constant ``name``, which must have one value per channel."""
        shape = self.lowering.shape(name)
        axis = self.order[-1] - len(self.out_shape)
        long = {at - len(shape) for at, size in enumerate(shape) if size > 1}
        require(len(shape) <= len(self.out_shape) and long <= {axis}, "the constant added to it differs along other dimensions")
        unit = np.broadcast_to(self.unit, (self.channels,))
        steps, nodes = bias_steps(self.lowering, name, unit, self.channels)
        return self.value(steps, nodes)

    def emit(self, bias: Array | None, target: Target | None, low: int, high: int, nodes: tuple[Node, ...]) -> Placed:
        """Make the layer."""
        lowering = self.lowering
        source = replace(
            lowering.place(self.data, self.order).tensor, height=self.extent[0], width=self.extent[1], channels=self.in_channels
        )
        kind = target.type if target is not None else ElementType.F32
        name = lowering.fresh(target.name if target is not None else f"{self.node.output}@float")
        out = ir.Tensor(name, *self.out_extent, self.channels, kind)
        stage = output_stage(self.unit, target, low, high)
        label = lowering.label(self.node.name)
        layer: ir.Layer
        if self.transposed:
            layer = ir.ConvTranspose(
                label,
                (source,),
                out,
                nodes=names(nodes),
                weights=self.weights.steps,
                bias=bias,
                stage=stage,
                in_zero=self.data.zero,
                strides=self.strides,
                pads=self.pads,
            )
        else:
            layer = ir.Conv(
                label,
                (source,),
                out,
                nodes=names(nodes),
                weights=self.weights.steps,
                bias=bias,
                stage=stage,
                in_zero=self.data.zero,
                weight_zero=self.weights.zero,
                groups=self.groups,
                strides=self.strides,
                dilations=self.dilations,
                pads=self.pads,
            )
        lowering.emit(layer, nodes, "8-bit product with constant weights")
        return Placed(out, self.out_shape, self.order)

    @property
    def in_channels(self) -> int:
        """Input channels."""
        return int(self.weights.steps.shape[0] if self.transposed else self.weights.steps.shape[1] * self.groups)

    def record(self) -> None:
        """Check the geometry and that the input can be had in this order, and set the node's value."""
        steps = (*self.strides, *self.dilations, self.groups)
        require(all(1 <= step < LARGEST_STEP for step in steps), f"its strides, dilations or group are out of range: {steps}")
        require(all(0 <= pad < LARGEST_STEP for pad in self.pads), f"its pads are out of range: {self.pads}")
        axis = self.order[-1]
        fits = self.data.shape[axis] == self.in_channels and self.channels % self.groups == 0
        require(fits, "its input, weights and group do not fit together")
        if self.data.pending is None:
            self.lowering.place(self.data, self.order)
        nodes = (*self.data.nodes, *self.weights.nodes, self.node)
        bias = None
        if self.node.op != "MatMul" and len(self.node.inputs) > 2 and self.node.inputs[2]:
            unit = np.broadcast_to(self.unit, (self.channels,))
            bias, more = bias_steps(self.lowering, self.node.inputs[2], unit, self.channels)
            nodes = (*nodes, *more)
        self.lowering.values[self.node.output] = self.value(bias, nodes)


def _pair(values: list[int] | None, rank: int, default: int) -> tuple[int, int]:
    """An attribute of one or two spatial dimensions as (height, width); one dimension is the height."""
    values = [default] * rank if values is None else [int(v) for v in values]
    return (values[0], values[1] if rank == 2 else default)


def spatial_pads(node: Node, extent: list[int], kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Begin and end padding per spatial dimension, auto_pad worked out."""
    rank = len(extent)
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", "VALID", ""):
        pads = node.get("pads") if auto != "VALID" else None
        return [int(p) for p in pads] if pads is not None else [0] * (2 * rank)
    begin, end = [], []
    for size, taps, stride, dilation in zip(extent, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return begin + end


def spatial(shape: tuple[int, ...]) -> tuple[Order, tuple[int, int]]:
    """Order and (height, width) of an image [1, C, H, W], or of signals [N, C, L], whose batch lies along the width."""
    require(len(shape) in (3, 4), f"it works on {len(shape) - 2} spatial dimensions; one and two have an array form")
    if len(shape) == 3:
        return (2, 0, 1), (shape[2], shape[0])
    require(shape[0] == 1, f"its batch is {shape[0]}; images go through the array one by one: fix the batch dimension to 1")
    return (0, 2, 3, 1), (shape[2], shape[3])


@lowers("Conv")
def conv(lowering: Lowering, node: Node) -> None:
    """Conv in one or two dimensions, any groups, strides, dilations and pads."""
    data = lowering.eight(node.inputs[0])
    order, extent = spatial(data.shape)
    weights = constant_weights(lowering, node.inputs[1], 0)
    rank = weights.steps.ndim - 2
    require(rank == len(data.shape) - 2, "its weights and input have different ranks")
    kernel = list(weights.steps.shape[2:])
    strides, dilations = _pair(node.get("strides"), rank, 1), _pair(node.get("dilations"), rank, 1)
    pads = spatial_pads(node, list(data.shape[2:]), kernel, list(strides[:rank]), list(dilations[:rank]))
    if rank == 1:
        weights = replace(weights, steps=weights.steps[..., np.newaxis])
        pads = [pads[0], 0, pads[1], 0]
    out_shape = lowering.shape(node.output)
    Product(
        lowering,
        node,
        data,
        order,
        extent,
        weights,
        out_shape,
        spatial(out_shape)[1],
        groups=int(node.get("group", 1)),
        strides=strides,
        dilations=dilations,
        pads=(pads[0], pads[1], pads[2], pads[3]),
    ).record()


@lowers("ConvTranspose")
def conv_transpose(lowering: Lowering, node: Node) -> None:
    """ConvTranspose in two dimensions with one group."""
    data = lowering.eight(node.inputs[0])
    order, extent = spatial(data.shape)
    weights = constant_weights(lowering, node.inputs[1], 1)
    require(weights.steps.ndim == 4, "a transposed convolution has an array form in two dimensions only")
    require(node.get("group", 1) == 1, "a transposed convolution with groups has no array form")
    require(weights.zero == 0, "a transposed convolution needs symmetric weights")
    require(not any(node.get("output_padding") or ()), "output_padding has no array form")
    require(not any(d != 1 for d in node.get("dilations") or ()), "a dilated transposed convolution has no array form")
    auto = node.get("auto_pad", "NOTSET")
    require(
        auto in ("NOTSET", "VALID") and node.get("output_shape") is None, f"auto_pad {auto} or output_shape has no array form"
    )
    pads = [int(p) for p in node.get("pads") or (0, 0, 0, 0)]
    out_shape = lowering.shape(node.output)
    Product(
        lowering,
        node,
        data,
        order,
        extent,
        weights,
        out_shape,
        spatial(out_shape)[1],
        strides=_pair(node.get("strides"), 2, 1),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        transposed=True,
    ).record()


@lowers("MatMul", "Gemm")
def matrix_product(lowering: Lowering, node: Node) -> None:
    """MatMul or Gemm of an activation with a constant matrix: rows become pixels, a 1x1 convolution."""
    data = lowering.eight(node.inputs[0])
    transposed = node.op == "Gemm" and bool(node.get("transB", 0))
    if node.op == "Gemm":
        plain = not node.get("transA", 0) and node.get("alpha", 1.0) == 1.0 and node.get("beta", 1.0) == 1.0
        require(plain, "Gemm with transA, alpha or beta has no array form")
    weights = constant_weights(lowering, node.inputs[1], 0 if transposed else 1)
    require(weights.steps.ndim == 2, "a batch of constant matrices has no array form")
    steps = weights.steps if transposed else weights.steps.T
    weights = replace(weights, steps=np.ascontiguousarray(steps)[:, :, np.newaxis, np.newaxis])
    require(len(data.shape) >= 1 and data.shape[-1] == steps.shape[1], "its operands do not fit together")
    rows = prod(data.shape[:-1])
    out_shape = lowering.shape(node.output)
    order = tuple(range(len(data.shape)))
    Product(lowering, node, data, order, (rows, 1), weights, out_shape, (rows, 1)).record()
