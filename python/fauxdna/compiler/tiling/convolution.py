"""Convolutions as stages: dense (in blocks of output channels), depthwise (in blocks of channels) and transposed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...abi import array
from ...abi.tile_program import CONV2D, DEPTHWISE, Opcode
from ..errors import CompileError
from ..ir import ELEMENT_BYTES, Conv
from ..stage import Stage, align
from ..tile_code import Region, Step
from .context import (
    Context,
    byte,
    channel_bytes,
    channel_offset,
    output_fields,
    output_parameters,
    padded,
    round_up,
)
from .grid import BYTE_NS, JOB_NS, MAC_NS, RUN_NS, Grid, Job, flat, stretches, windows
from .window import Axis, Window, store

LANES = 16
PARAMETERS_MAX = 48 * 1024
"""Bytes of one pass's weights and parameters, unless one block of 16 channels alone takes more."""
DEPTHWISE_MAC_NS = 1 / 20


def packed(weights: npt.NDArray[np.int8]) -> bytes:
    """int8 [out][in][height][width] as CONV2D reads it."""
    out, inner, height, width = weights.shape
    full = np.zeros((round_up(out, LANES), round_up(inner, 4), height, width), dtype=np.int8)
    full[:out, :inner] = weights
    blocks = full.reshape(full.shape[0] // LANES, LANES, full.shape[1] // 4, 4, height, width)
    return blocks.transpose(0, 4, 5, 2, 1, 3).tobytes()


def packed_size(out: int, inner: int, taps: int) -> int:
    """Bytes of :func:`packed`."""
    return round_up(out, LANES) * round_up(inner, 4) * taps


def dense(layer: Conv) -> npt.NDArray[np.int8]:
    """The weights of a grouped convolution as those of one group: what a group does not see has weight ``weight_zero``."""
    if layer.groups == 1:
        return layer.weights
    out, inner, height, width = layer.weights.shape
    full = np.full((out, inner * layer.groups, height, width), layer.weight_zero, dtype=np.int8)
    each = out // layer.groups
    for group in range(layer.groups):
        rows = slice(group * each, (group + 1) * each)
        full[rows, group * inner : (group + 1) * inner] = layer.weights[rows]
    return full


def upright(layer: Conv) -> Conv:
    """A convolution along one row, turned into one along a column: rows may reach beyond a tensor's end, pixels may not."""
    source, output = layer.inputs[0], layer.output
    if source.height != 1 or output.height != 1 or layer.weights.shape[2] != 1 or source.width == 1:
        return layer
    top, left, bottom, right = layer.pads
    return replace(
        layer,
        inputs=(replace(source, height=source.width, width=1),),
        output=replace(output, height=output.width, width=1),
        weights=np.ascontiguousarray(layer.weights.transpose(0, 1, 3, 2)),
        strides=layer.strides[::-1],
        dilations=layer.dilations[::-1],
        pads=(left, top, right, bottom),
    )


def folded(layer: Conv) -> Conv:
    """The same sums with the input's zero point in the bias: sum((x - zero) * w) = sum(x * w) - zero * sum(w), modulo 2**32.

    A core would otherwise do that anew for each tile. Where weights have a zero point of their own it can't be told apart.
    """
    if layer.in_zero == 0 or layer.weight_zero:
        return layer
    bias = np.zeros(layer.weights.shape[0], np.int64) if layer.bias is None else layer.bias.astype(np.int64)
    bias = bias - layer.in_zero * layer.weights.sum(axis=(1, 2, 3), dtype=np.int64)
    return replace(layer, in_zero=0, bias=bias.astype(np.uint64).astype(np.uint32).view(np.int32))


def axes(layer: Conv) -> tuple[Axis, Axis]:
    """The layer's two axes."""
    source, output = layer.inputs[0], layer.output
    kernel = layer.weights.shape[2:]
    y = Axis(source.height, output.height, kernel[0], layer.strides[0], layer.dilations[0], layer.pads[0])
    return y, Axis(source.width, output.width, kernel[1], layer.strides[1], layer.dilations[1], layer.pads[1])


def blocks(channels: int, block: int) -> tuple[int, ...]:
    """First channels of blocks that cover ``channels``; the last is moved back to end with them."""
    count = -(-channels // block)
    return tuple(min(index * block, channels - block) for index in range(count))


def convolution(context: Context, layer: Conv, number: int, grid: Grid | None = None) -> list[Stage]:
    """The stages of a convolution; with ``grid`` given, its tiles, with all channels in one pass."""
    layer = upright(layer)
    if is_depthwise(layer):
        return [_depthwise(context, layer, number, grid)]
    return [_dense(context, layer, number, grid)]


def is_depthwise(layer: Conv) -> bool:
    """Whether each output channel sees one input channel, its own."""
    return layer.groups == layer.inputs[0].channels == layer.weights.shape[0] and layer.weight_zero == 0 and layer.groups > 1


def is_flat(layer: Conv) -> bool:
    """Whether each output pixel sees one input pixel, its own."""
    if is_depthwise(layer):
        return False
    same = layer.inputs[0].width == layer.output.width and layer.inputs[0].height == layer.output.height
    return layer.weights.shape[2:] == (1, 1) and layer.strides == (1, 1) and not any(layer.pads) and same


@dataclass(frozen=True)
class _Plan:
    """How a dense convolution is cut: output channels of a block, the tiles, and whether blocks alternate within a job."""

    cost: float
    block: int
    grid: Grid
    inside: bool


def _dense(context: Context, layer: Conv, number: int, given: Grid | None) -> Stage:
    weights = dense(layer)
    _, inner, height, width = weights.shape
    total = channel_bytes(layer) // ELEMENT_BYTES[layer.output.type]
    if given is not None:
        return _dense_stage(context, layer, number, weights, _Plan(0.0, total, given, False))
    plans = []
    for block in _block_sizes(total, inner, height * width):
        for inside in (False, True):
            plan = _plan(context, layer, inner, block, inside) if block < total or not inside else None
            plans += [plan] if plan else []
    if not plans:
        raise CompileError(
            f"layer {layer.name}: no tile of its {height} x {width} convolution of {inner} channels fits into a core's "
            f"{array.CORE_DATA_SIZE} bytes; leave the layer to the CPU"
        )
    return _dense_stage(context, layer, number, weights, min(plans, key=lambda plan: plan.cost))


def _plan(context: Context, layer: Conv, inner: int, block: int, inside: bool) -> _Plan | None:
    """The cheapest tiles for blocks of ``block`` output channels: in passes over all tiles, or all blocks within each job."""
    machine, taps = context.machine, layer.weights.shape[2] * layer.weights.shape[3]
    source, element = layer.inputs[0], ELEMENT_BYTES[layer.output.type]
    total = channel_bytes(layer) // element
    pitch, count = source.pixel_pitch, len(blocks(total, block))
    passes, stored = (1, total) if inside else (count, block)
    size = align(packed_size(block, inner, taps)) + align(8 * round_up(block, LANES) + 256)
    pixel_ns = packed_size(block, inner, taps) * MAC_NS * (count if inside else 1)
    y, x = axes(layer)
    if is_flat(layer):
        pixels = source.height * source.width
        try:
            grid = flat(layer.name, pixels, pitch, stored * element, size, machine, passes=passes)
        except CompileError:
            return None
        cost = grid.tiles_y * passes * (JOB_NS + grid.width * (pitch + stored * element) * BYTE_NS)
        cost += pixels * passes * (pixel_ns + (RUN_NS if stored < total else 0.0))
    else:

        def sizes(rows: int, columns: int) -> Job:
            above, across = y.reach(rows), x.reach(columns)
            runs = stretches(above, across, x.size, whole=True)
            runs += stretches(rows, columns, x.out, whole=stored == layer.output.channels)
            return Job(above * across * pitch, rows * columns * stored * element, runs)

        found = windows(y.out, x.out, sizes, size, machine, passes=passes, pixel_ns=pixel_ns)
        if found is None:
            return None
        grid, cost = found.grid, found.cost
    rounds = -(-grid.tiles_y * grid.tiles_x // machine.cores) if inside else 1
    return _Plan(cost + rounds * count * size * machine.columns * BYTE_NS, block, grid, inside)


def _block_sizes(total: int, inner: int, taps: int) -> list[int]:
    """Output channels of one pass: all, or multiples of 16 whose weights fit."""
    sizes = {total}
    for count in range(2, -(-total // LANES) + 1):
        size = round_up(-(-total // count), LANES)
        if size < total:
            sizes.add(size)
    fitting = {size for size in sizes if packed_size(size, inner, taps) <= PARAMETERS_MAX}
    return sorted(fitting or {min(sizes)}, reverse=True)[:6]


def _dense_stage(context: Context, layer: Conv, number: int, weights: npt.NDArray[np.int8], plan: _Plan) -> Stage:
    _, inner, height, width = weights.shape
    source, output = layer.inputs[0], layer.output
    block, grid = plan.block, plan.grid
    element, pitch = ELEMENT_BYTES[output.type], source.pixel_pitch
    zero, layer = byte(layer.in_zero), folded(layer)
    starts = blocks(channel_bytes(layer) // element, block)
    parameters = []
    for start in starts:
        chosen = np.zeros((block, inner, height, width), dtype=np.int8)
        part = weights[start : start + block]
        chosen[: len(part)] = part
        channels = np.arange(start, start + block)
        parameters.append(padded(packed(chosen)) + output_parameters(layer.stage, layer.bias, channels))
    parameters = [padded(block_bytes) for block_bytes in parameters]
    output_offset = align(packed_size(block, inner, height * width))
    y, x = axes(layer)
    if is_flat(layer):
        # Runs of pixels lie one after the other, as rows do.
        y = Axis(grid.tiles_y, grid.tiles_y, 1, 1, 1, 0)
        x = Axis(grid.width, grid.width, 1, 1, 1, 0)
    window = Window(y, x, grid, pitch, pitch)
    out_pitch = channel_bytes(layer) if plan.inside else block * element
    descriptor = CONV2D.pack(
        out_height=grid.height,
        out_width=grid.width,
        out_channels=block,
        in_channels=inner,
        kernel_height=height,
        kernel_width=width,
        stride_height=layer.strides[0],
        stride_width=layer.strides[1],
        dilation_height=layer.dilations[0],
        dilation_width=layer.dilations[1],
        in_row_pitch=window.row_pitch,
        in_pixel_pitch=pitch,
        out_row_pitch=grid.width * out_pitch,
        out_pixel_pitch=out_pitch,
        in_type=int(source.type),
        in_zero=layer.in_zero,
        weight_zero=layer.weight_zero,
        **output_fields(layer.stage, output.type, layer.bias),
    )
    steps = tuple(
        Step(
            Opcode.CONV2D,
            descriptor,
            ((Region.INPUT, 0), (Region.PARAMETERS, 0), (Region.PARAMETERS, output_offset), (Region.OUTPUT, at)),
        )
        for at in ([start * element for start in starts] if plan.inside else [0])
    )
    passes = () if plan.inside else tuple(start * element for start in starts)
    return Stage(
        layer.name,
        number,
        grid.tiles_y,
        grid.tiles_x,
        1 if plan.inside else len(starts),
        (window.operand(source.name),),
        store(
            output.name,
            grid,
            x.out,
            output.pixel_pitch,
            channel_offset(layer),
            out_pitch,
            passes,
        ),
        (context.constant(parameters),),
        lambda tile_y, tile_x: (*window.fills(tile_y, tile_x, zero), *steps),
        blocks=len(starts) if plan.inside else 1,
    )


def _depthwise(context: Context, layer: Conv, number: int, given: Grid | None) -> Stage:
    total = round_up(layer.inputs[0].channels, 4)
    block, grid = (total, given) if given is not None else _depthwise_grid(context, layer)
    return _depthwise_stage(context, layer, number, block, grid)


def _depthwise_grid(context: Context, layer: Conv) -> tuple[int, Grid]:
    """Channels of one pass, and its tiles."""
    kernel_height, kernel_width = layer.weights.shape[2:]
    taps, element = kernel_height * kernel_width, ELEMENT_BYTES[layer.output.type]
    total = round_up(layer.inputs[0].channels, 4)
    y, x = axes(layer)
    best: tuple[float, int, Grid] | None = None
    for count in range(1, 7):
        block = total if count == 1 else round_up(-(-total // count), LANES)
        if count > 1 and block >= total:
            break
        passes = len(blocks(total, block))
        fixed = align(round_up(block, LANES) * taps) + align(8 * round_up(block, LANES) + 256)

        def sizes(rows: int, columns: int, block: int = block) -> Job:
            above, across, whole = y.reach(rows), x.reach(columns), block == total
            runs = stretches(above, across, x.size, whole=whole) + stretches(rows, columns, x.out, whole=whole)
            return Job(above * across * block, rows * columns * block * element, runs)

        pixel_ns = round_up(block, LANES) * taps * DEPTHWISE_MAC_NS
        found = windows(y.out, x.out, sizes, fixed, context.machine, passes=passes, pixel_ns=pixel_ns)
        if found is not None and (best is None or found.cost < best[0]):
            best = (found.cost, block, found.grid)
    if best is None:
        raise CompileError(
            f"layer {layer.name}: no tile of its {kernel_height} x {kernel_width} depthwise convolution fits into a core's "
            f"{array.CORE_DATA_SIZE} bytes; leave the layer to the CPU"
        )
    return best[1:]


def _depthwise_stage(context: Context, layer: Conv, number: int, block: int, grid: Grid) -> Stage:
    source, output = layer.inputs[0], layer.output
    kernel_height, kernel_width = layer.weights.shape[2:]
    taps, element = kernel_height * kernel_width, ELEMENT_BYTES[output.type]
    y, x = axes(layer)
    zero, layer = byte(layer.in_zero), folded(layer)
    starts = blocks(round_up(source.channels, 4), block)
    lanes = round_up(block, LANES)
    parameters = []
    for start in starts:
        part = layer.weights[start : start + block, 0]
        lying = np.zeros((kernel_height, kernel_width, lanes), dtype=np.int8)
        lying[:, :, : len(part)] = part.transpose(1, 2, 0)
        block_parameters = output_parameters(layer.stage, layer.bias, np.arange(start, start + block))
        parameters.append(padded(padded(lying.tobytes()) + block_parameters))
    window = Window(y, x, grid, source.pixel_pitch, block)
    descriptor = DEPTHWISE.pack(
        out_height=grid.height,
        out_width=grid.width,
        channels=block,
        kernel_height=kernel_height,
        kernel_width=kernel_width,
        stride_height=layer.strides[0],
        stride_width=layer.strides[1],
        dilation_height=layer.dilations[0],
        dilation_width=layer.dilations[1],
        in_row_pitch=window.row_pitch,
        in_pixel_pitch=block,
        out_row_pitch=grid.width * block * element,
        out_pixel_pitch=block * element,
        in_type=int(source.type),
        in_zero=layer.in_zero,
        **output_fields(layer.stage, output.type, layer.bias),
    )
    operands = (Region.INPUT, 0), (Region.PARAMETERS, 0), (Region.PARAMETERS, align(lanes * taps)), (Region.OUTPUT, 0)
    step = Step(Opcode.DEPTHWISE, descriptor, operands)
    return Stage(
        layer.name,
        number,
        grid.tiles_y,
        grid.tiles_x,
        len(starts),
        (window.operand(source.name, starts),),
        store(
            output.name,
            grid,
            output.width,
            output.pixel_pitch,
            channel_offset(layer),
            block * element,
            tuple(start * element for start in starts),
        ),
        (context.constant(parameters),),
        lambda tile_y, tile_x: (*window.fills(tile_y, tile_x, zero), step),
    )
