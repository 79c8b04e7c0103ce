"""The compiler's layers computed with numpy: sums in float64 (exact below 2**53), float32 where the layer says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fauxdna.abi.tile_program import BinaryOperation, Broadcast, ElementType, NormaliseKind, PoolKind, UnaryOperation
from fauxdna.compiler import ir

Array = npt.NDArray[Any]
TYPES = {
    ElementType.U8: np.uint8,
    ElementType.S8: np.int8,
    ElementType.S16: np.int16,
    ElementType.S32: np.int32,
    ElementType.F32: np.float32,
}


def run(segment: ir.Segment, feeds: dict[str, Array]) -> dict[str, Array]:
    """Run ``segment``: arrays in and out are dense, in ONNX's order of elements (any shape of the right size)."""
    memory: dict[str, Array] = {}
    for tensor in segment.inputs:
        memory[tensor.name] = to_pixels(tensor, feeds[tensor.name])
    for layer in segment.layers:
        inputs = [look(tensor, memory[tensor.name]) for tensor in layer.inputs]
        result = RULES[type(layer)](layer, *inputs)
        out = layer.output
        if layer.channel_offset or layer.channels != out.channels:
            whole = memory.setdefault(out.name, np.zeros((out.height, out.width, out.channels), TYPES[out.type]))
            whole[..., layer.channel_offset : layer.channel_offset + layer.channels] = result
        else:
            memory[out.name] = result
        assert memory[out.name].dtype == TYPES[out.type], (layer.name, memory[out.name].dtype)
        assert memory[out.name].shape == (out.height, out.width, out.channels), (layer.name, memory[out.name].shape, out)
    return {tensor.name: from_pixels(tensor, look(tensor, memory[tensor.name])) for tensor in segment.outputs}


def look(tensor: ir.Tensor, stored: Array) -> Array:
    """``stored`` as ``tensor`` sees it: another grouping of the same bytes."""
    shape = (tensor.height, tensor.width, tensor.channels)
    if stored.shape == shape:
        return stored
    if stored.shape[2] != tensor.channels:
        assert stored.shape[2] * stored.itemsize % 4 == 0, stored.shape
        assert tensor.channels * stored.itemsize % 4 == 0, tensor
    return stored.reshape(shape)


def to_pixels(tensor: ir.Tensor, values: Array) -> Array:
    if tensor.layout is ir.Layout.PLANES:
        return values.reshape(tensor.channels, tensor.height, tensor.width).transpose(1, 2, 0)
    return values.reshape(tensor.height, tensor.width, tensor.channels)


def from_pixels(tensor: ir.Tensor, values: Array) -> Array:
    if tensor.layout is ir.Layout.PLANES:
        return np.ascontiguousarray(values.transpose(2, 0, 1)).reshape(-1)
    return values.reshape(-1)


def staged(accumulator: Array, stage: ir.OutputStage, kind: ElementType) -> Array:
    if stage.scale is None:
        return accumulator.astype(np.int32)
    product = accumulator.astype(np.int32).astype(np.float32) * stage.scale
    if kind is ElementType.F32:
        return product.astype(np.float32)
    result = np.clip(np.rint(product) + stage.zero, stage.clamp_low, stage.clamp_high).astype(np.int64).astype(TYPES[kind])
    return result if stage.table is None else stage.table[result.view(np.uint8)].view(TYPES[kind])


def pad(values: Array, pads: tuple[int, int, int, int], fill: float) -> Array:
    top, left, bottom, right = pads
    return np.pad(values, ((top, bottom), (left, right), (0, 0)), constant_values=fill)


def conv(layer: ir.Conv, data: Array) -> Array:
    x = pad(data.astype(np.float64) - layer.in_zero, layer.pads, 0)
    weights = layer.weights.astype(np.float64) - layer.weight_zero
    out_channels, per_group, kh, kw = weights.shape
    height, width = layer.output.height, layer.output.width
    sums = np.zeros((height, width, out_channels))
    width_of_group = out_channels // layer.groups
    for y in range(kh):
        for z in range(kw):
            top, left = y * layer.dilations[0], z * layer.dilations[1]
            taps = x[top : top + (height - 1) * layer.strides[0] + 1 : layer.strides[0]]
            taps = taps[:, left : left + (width - 1) * layer.strides[1] + 1 : layer.strides[1]]
            if per_group == 1 and width_of_group == 1:
                sums += taps * weights[:, 0, y, z]
                continue
            for group in range(layer.groups):
                rows = slice(group * width_of_group, (group + 1) * width_of_group)
                columns = slice(group * per_group, (group + 1) * per_group)
                sums[..., rows] += taps[..., columns] @ weights[rows, :, y, z].T
    if layer.bias is not None:
        sums += layer.bias
    return staged(sums, layer.stage, layer.output.type)


def conv_transpose(layer: ir.ConvTranspose, data: Array) -> Array:
    x = data.astype(np.float64) - layer.in_zero
    _, out_channels, kh, kw = layer.weights.shape
    top, left, bottom, right = layer.pads
    whole = np.zeros(((x.shape[0] - 1) * layer.strides[0] + kh, (x.shape[1] - 1) * layer.strides[1] + kw, out_channels))
    for y in range(kh):
        for z in range(kw):
            rows = slice(y, y + (x.shape[0] - 1) * layer.strides[0] + 1, layer.strides[0])
            columns = slice(z, z + (x.shape[1] - 1) * layer.strides[1] + 1, layer.strides[1])
            whole[rows, columns] += x @ layer.weights[:, :, y, z].astype(np.float64)
    sums = whole[top : whole.shape[0] - bottom, left : whole.shape[1] - right]
    if layer.bias is not None:
        sums = sums + layer.bias
    return staged(sums, layer.stage, layer.output.type)


def windows(layer: ir.Pool, data: Array) -> list[Array]:
    height, width = layer.output.height, layer.output.width
    found = []
    for y in range(layer.kernel[0]):
        for z in range(layer.kernel[1]):
            rows = data[y : y + (height - 1) * layer.strides[0] + 1 : layer.strides[0]]
            found.append(rows[:, z : z + (width - 1) * layer.strides[1] + 1 : layer.strides[1]])
    return found


def pool(layer: ir.Pool, data: Array) -> Array:
    padded = pad(data.astype(np.int64), layer.pads, layer.in_zero)
    taps = windows(layer, padded)
    if layer.kind is PoolKind.MAX:
        result = np.maximum.reduce(taps).astype(data.dtype)
        return result if layer.stage.table is None else layer.stage.table[result.view(np.uint8)].view(TYPES[layer.output.type])
    return staged(sum(t - layer.in_zero for t in taps), layer.stage, layer.output.type)


def reduce(layer: ir.Reduce, data: Array) -> Array:
    sums = (data.astype(np.int64) - layer.in_zero).sum(axis=(0, 1), keepdims=True)
    return staged(sums, layer.stage, layer.output.type)


def real(data: Array, quantisation: ir.Quantisation) -> Array:
    if data.dtype == np.float32:
        return data
    return (data.astype(np.int32) - quantisation.zero).astype(np.float32) * np.float32(quantisation.scale)


def stored(values: Array, quantisation: ir.Quantisation, low: int, high: int, kind: ElementType) -> Array:
    if kind is ElementType.F32:
        return values.astype(np.float32)
    steps = np.rint(values / np.float32(quantisation.scale)) + quantisation.zero
    return np.clip(steps, low, high).astype(np.int64).astype(TYPES[kind])


def binary(layer: ir.Binary, first: Array, second: Array) -> Array:
    a, b = real(first, layer.a), real(second, layer.b)
    assert layer.broadcast is not Broadcast.NONE or a.shape == b.shape
    assert layer.broadcast is not Broadcast.ROW or b.shape == (1, 1, a.shape[2])
    function = {
        BinaryOperation.ADD: np.add,
        BinaryOperation.SUBTRACT: np.subtract,
        BinaryOperation.MULTIPLY: np.multiply,
        BinaryOperation.DIVIDE: np.divide,
        BinaryOperation.MAXIMUM: np.maximum,
        BinaryOperation.MINIMUM: np.minimum,
    }[layer.operation]
    return stored(function(a, b), layer.out, layer.clamp_low, layer.clamp_high, layer.output.type)


def table(layer: ir.Table, data: Array) -> Array:
    result = layer.table[data.view(np.uint8)]
    return result if layer.output.type is ElementType.F32 else result.view(TYPES[layer.output.type])


def convert(layer: ir.Convert, data: Array) -> Array:
    if layer.output.type is ElementType.F32:
        return real(data, layer.quantisation)
    return stored(data, layer.quantisation, layer.clamp_low, layer.clamp_high, layer.output.type)


def resize(layer: ir.Resize, data: Array) -> Array:
    return data.repeat(layer.factors[0], axis=0).repeat(layer.factors[1], axis=1)


def unary(layer: ir.Unary, data: Array) -> Array:
    x = data.astype(np.float64)
    with np.errstate(all="ignore"):
        result = {
            UnaryOperation.RELU: lambda: np.maximum(x, 0),
            UnaryOperation.EXP: lambda: np.exp(x),
            UnaryOperation.LOG: lambda: np.log(x),
            UnaryOperation.TANH: lambda: np.tanh(x),
            UnaryOperation.SIGMOID: lambda: 1 / (1 + np.exp(-x)),
            UnaryOperation.ERF: lambda: np.vectorize(__import__("math").erf)(x),
            UnaryOperation.SQRT: lambda: np.sqrt(x),
            UnaryOperation.RECIPROCAL: lambda: 1 / x,
            UnaryOperation.NEGATE: lambda: -x,
            UnaryOperation.ABS: lambda: np.abs(x),
            UnaryOperation.HARD_SIGMOID: lambda: np.clip(layer.alpha * x + layer.beta, 0, 1),
            UnaryOperation.CLIP: lambda: np.clip(x, layer.alpha, layer.beta),
            UnaryOperation.POWER: lambda: x**layer.alpha,
        }[layer.operation]()
    return result.astype(np.float32)


def normalise(layer: ir.Normalise, data: Array) -> Array:
    x = data.astype(np.float64)
    if layer.kind is NormaliseKind.SOFTMAX:
        e = np.exp(x - x.max(axis=2, keepdims=True))
        return (e / e.sum(axis=2, keepdims=True)).astype(np.float32)
    if layer.kind is NormaliseKind.LAYER:
        assert layer.gamma is not None
        assert layer.beta is not None
        centred = x - x.mean(axis=2, keepdims=True)
        return (centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + layer.epsilon) * layer.gamma + layer.beta).astype(
            np.float32
        )
    function = {NormaliseKind.SUM: np.sum, NormaliseKind.MEAN: np.mean, NormaliseKind.MAX: np.max}[layer.kind]
    return function(x, axis=2, keepdims=True).astype(np.float32)


RULES: dict[type[ir.Layer], Any] = {
    ir.Conv: conv,
    ir.ConvTranspose: conv_transpose,
    ir.Pool: pool,
    ir.Reduce: reduce,
    ir.Binary: binary,
    ir.Table: table,
    ir.Convert: convert,
    ir.Resize: resize,
    ir.Unary: unary,
    ir.Normalise: normalise,
}
