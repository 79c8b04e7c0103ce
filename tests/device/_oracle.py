"""What layers compute, in numpy float64 and Python integers, on [height][width][channels] arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fauxdna.abi.tile_program import BinaryOperation, Broadcast, ElementType, NormaliseKind, PoolKind, UnaryOperation
from fauxdna.compiler import ir

Array = npt.NDArray[np.generic]
DTYPES = {
    ElementType.U8: np.uint8,
    ElementType.S8: np.int8,
    ElementType.S32: np.int32,
    ElementType.F32: np.float32,
}


def stage(stage: ir.OutputStage, accumulator: Array, kind: ElementType) -> Array:
    """The output stage: bias already added."""
    if stage.scale is None:
        return accumulator.astype(np.int32)
    product = accumulator.astype(np.float32) * stage.scale.reshape(-1)
    if kind is ElementType.F32:
        return product
    result = np.clip(np.rint(product).astype(np.float64) + stage.zero, stage.clamp_low, stage.clamp_high)
    result = result.astype(DTYPES[kind])
    return result if stage.table is None else stage.table[result.view(np.uint8)].view(DTYPES[kind])


def _padded(x: Array, pads: tuple[int, int, int, int], value: float) -> npt.NDArray[np.float64]:
    top, left, bottom, right = pads
    return np.pad(x.astype(np.float64), ((top, bottom), (left, right), (0, 0)), constant_values=value)


def convolution(layer: ir.Conv, x: Array) -> Array:
    """float64 is exact for these sums."""
    height, width = layer.output.height, layer.output.width
    out, inner, rows, columns = layer.weights.shape
    padded = _padded(x, layer.pads, layer.in_zero) - layer.in_zero
    weights = layer.weights.astype(np.float64) - layer.weight_zero
    accumulator = np.zeros((height, width, out))
    each = out // layer.groups
    (sy, sx), (dy, dx) = layer.strides, layer.dilations
    for group in range(layer.groups):
        w = weights[group * each : (group + 1) * each]
        part = padded[:, :, group * inner : (group + 1) * inner]
        for i in range(rows):
            for j in range(columns):
                tap = part[i * dy : i * dy + (height - 1) * sy + 1 : sy, j * dx : j * dx + (width - 1) * sx + 1 : sx]
                accumulator[:, :, group * each : (group + 1) * each] += tap @ w[:, :, i, j].T
    if layer.bias is not None:
        accumulator += layer.bias
    return stage(layer.stage, accumulator, layer.output.type)


def transposed(layer: ir.ConvTranspose, x: Array) -> Array:
    """Scatter, then crop."""
    _, out, rows, columns = layer.weights.shape
    (sy, sx), (top, left, _, _) = layer.strides, layer.pads
    height, width = x.shape[:2]
    full = np.zeros(((height - 1) * sy + rows + sy, (width - 1) * sx + columns + sx, out))
    centred = x.astype(np.float64) - layer.in_zero
    for i in range(rows):
        for j in range(columns):
            part = centred @ layer.weights[:, :, i, j].astype(np.float64)
            full[i : i + height * sy : sy, j : j + width * sx : sx] += part
    accumulator = full[top : top + layer.output.height, left : left + layer.output.width]
    if layer.bias is not None:
        accumulator = accumulator + layer.bias
    return stage(layer.stage, accumulator, layer.output.type)


def pool(layer: ir.Pool, x: Array) -> Array:
    """Maximum, or sum of x - zero."""
    outside = -1e9 if layer.kind is PoolKind.MAX else layer.in_zero
    padded = _padded(x, layer.pads, outside)
    (rows, columns), (sy, sx) = layer.kernel, layer.strides
    height, width = layer.output.height, layer.output.width
    taps = [
        padded[i : i + (height - 1) * sy + 1 : sy, j : j + (width - 1) * sx + 1 : sx] for i in range(rows) for j in range(columns)
    ]
    if layer.kind is PoolKind.MAX:
        return np.max(taps, axis=0).astype(DTYPES[layer.output.type])
    return stage(layer.stage, np.sum(np.array(taps) - layer.in_zero, axis=0), layer.output.type)


def reduce(layer: ir.Reduce, x: Array) -> Array:
    """Sum over all pixels."""
    total = (x.astype(np.float64) - layer.in_zero).sum(axis=(0, 1), keepdims=True)
    return stage(layer.stage, total, layer.output.type)


def _real(x: Array, quantisation: ir.Quantisation) -> npt.NDArray[np.float32]:
    if x.dtype == np.float32:
        return x.astype(np.float32)
    return (x.astype(np.int32) - quantisation.zero).astype(np.float32) * np.float32(quantisation.scale)


_OPERATIONS = {
    BinaryOperation.ADD: np.add,
    BinaryOperation.SUBTRACT: np.subtract,
    BinaryOperation.MULTIPLY: np.multiply,
    BinaryOperation.DIVIDE: np.divide,
    BinaryOperation.MAXIMUM: np.maximum,
    BinaryOperation.MINIMUM: np.minimum,
}


def binary(layer: ir.Binary, a: Array, b: Array) -> Array:
    """float32, as the tile's."""
    if layer.broadcast is Broadcast.SCALAR:
        b = b.reshape(-1)[:1]
    result = _OPERATIONS[layer.operation](_real(a, layer.a), _real(b, layer.b)).astype(np.float32)
    if layer.output.type is ElementType.F32:
        return result
    scaled = np.rint(result / np.float32(layer.out.scale)).astype(np.float64) + layer.out.zero
    return np.clip(scaled, layer.clamp_low, layer.clamp_high).astype(DTYPES[layer.output.type])


def convert(layer: ir.Convert, x: Array) -> Array:
    """Quantise, dequantise or copy."""
    kind = layer.output.type
    if layer.inputs[0].type is kind:
        return x
    if kind is ElementType.F32:
        return _real(x, layer.quantisation)
    scaled = np.rint(x / np.float32(layer.quantisation.scale)).astype(np.float64) + layer.quantisation.zero
    return np.clip(scaled, layer.clamp_low, layer.clamp_high).astype(DTYPES[kind])


def table(layer: ir.Table, x: Array) -> Array:
    """Look-up."""
    values = layer.table[x.view(np.uint8)]
    return values if layer.output.type is ElementType.F32 else values.view(DTYPES[layer.output.type])


_FUNCTIONS = {
    UnaryOperation.RELU: lambda x: np.maximum(x, np.float32(0)),
    UnaryOperation.NEGATE: np.negative,
    UnaryOperation.ABS: np.abs,
}


def run(layer: ir.Layer, *inputs: Array) -> Array:
    """The layer's output."""
    x = inputs[0]
    match layer:
        case ir.Conv():
            return convolution(layer, x)
        case ir.ConvTranspose():
            return transposed(layer, x)
        case ir.Pool():
            return pool(layer, x)
        case ir.Reduce():
            return reduce(layer, x)
        case ir.Binary():
            return binary(layer, *inputs)
        case ir.Table():
            return table(layer, x)
        case ir.Convert():
            return convert(layer, x)
        case ir.Resize():
            return x.repeat(layer.factors[0], axis=0).repeat(layer.factors[1], axis=1)
        case ir.Unary():
            return _FUNCTIONS[layer.operation](x)
        case ir.Normalise(kind=NormaliseKind.MAX):
            return x.max(axis=2, keepdims=True)
    raise TypeError(f"no oracle for {type(layer).__name__}")


def planes(x: Array, tensor: ir.Tensor) -> bytes:
    """[height][width][channels] as an argument's planes."""
    return np.ascontiguousarray(x.transpose(2, 0, 1)).tobytes().ljust(tensor.size, b"\0")


def pixels(data: bytes, tensor: ir.Tensor) -> Array:
    """The inverse of :func:`planes`."""
    count = tensor.height * tensor.width * tensor.channels
    flat = np.frombuffer(data, DTYPES[tensor.type], count)
    return flat.reshape(tensor.channels, tensor.height, tensor.width).transpose(1, 2, 0)


def elements(tensor: ir.Tensor) -> int:
    """Bytes of a tensor's elements, as planes."""
    return tensor.height * tensor.width * tensor.channels * np.dtype(DTYPES[tensor.type]).itemsize


def segment(whole: ir.Segment, inputs: list[Array]) -> list[Array]:
    """All outputs of a segment."""
    values = {tensor.name: x for tensor, x in zip(whole.inputs, inputs, strict=True)}
    for layer in whole.layers:
        result = run(layer, *(values[tensor.name] for tensor in layer.inputs))
        if layer.output.name in values or layer.channel_offset or result.shape[2] != layer.output.channels:
            shape = (layer.output.height, layer.output.width, layer.output.channels)
            target = values.setdefault(layer.output.name, np.zeros(shape, result.dtype))
            target[:, :, layer.channel_offset : layer.channel_offset + result.shape[2]] = result
        else:
            values[layer.output.name] = result
    return [values[tensor.name] for tensor in whole.outputs]
