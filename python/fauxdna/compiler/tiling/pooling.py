"""Pooling and global sums as stages."""

from __future__ import annotations

import numpy as np

from ...abi.tile_program import FILL, POOL, REDUCE, ElementType, Opcode, PoolKind, Requantise
from ..errors import CompileError
from ..ir import ELEMENT_BYTES, Pool, Reduce
from ..patterns import Operand
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
    pixels,
    round_up,
)
from .convolution import DEPTHWISE_MAC_NS
from .grid import Grid, Job, flat, stretches, windows
from .window import Axis, Window, store


def pool(context: Context, layer: Pool, number: int, given: Grid | None = None) -> list[Stage]:
    """The stage of a pooling layer; with ``given``, over its tiles."""
    source, output = layer.inputs[0], layer.output
    y, x = axes(layer)
    pitch, out_pitch = source.pixel_pitch, channel_bytes(layer)
    block = output_parameters(layer.stage, None, np.arange(source.channels))

    def sizes(rows: int, columns: int) -> Job:
        above, across = y.reach(rows), x.reach(columns)
        runs = stretches(above, across, x.size, whole=True) + stretches(rows, columns, x.out, whole=True)
        return Job(above * across * pitch, rows * columns * out_pitch, runs)

    pixel_ns = pitch * y.kernel * x.kernel * DEPTHWISE_MAC_NS
    grid = given
    if grid is None:
        found = windows(y.out, x.out, sizes, len(padded(block)), context.machine, pixel_ns=pixel_ns)
        grid = found.grid if found else None
    if grid is None:
        raise CompileError(f"layer {layer.name}: no tile of its pooling windows fits into a core; leave the layer to the CPU")
    window = Window(y, x, grid, pitch, pitch)
    fields = output_fields(layer.stage, output.type, None)
    if layer.kind is PoolKind.MAX:
        fields["requantise"] = int(Requantise.NONE)
    descriptor = POOL.pack(
        out_height=grid.height,
        out_width=grid.width,
        channels=source.channels,
        kernel_height=y.kernel,
        kernel_width=x.kernel,
        stride_height=y.stride,
        stride_width=x.stride,
        dilation_height=1,
        dilation_width=1,
        in_row_pitch=window.row_pitch,
        in_pixel_pitch=pitch,
        out_row_pitch=grid.width * out_pitch,
        out_pixel_pitch=out_pitch,
        in_type=int(source.type),
        kind=int(layer.kind),
        in_zero=layer.in_zero,
        **fields,
    )
    step = Step(Opcode.POOL, descriptor, ((Region.INPUT, 0), (Region.PARAMETERS, 0), (Region.OUTPUT, 0)))
    outside = byte(layer.in_zero)
    if layer.kind is PoolKind.MAX:
        # Never the largest: every window has an element inside.
        outside = 0 if source.type is ElementType.U8 else byte(-128)
    return [
        Stage(
            layer.name,
            number,
            grid.tiles_y,
            grid.tiles_x,
            1,
            (window.operand(source.name),),
            store(output.name, grid, output.width, output.pixel_pitch, channel_offset(layer), out_pitch),
            (context.constant([padded(block)]),) if block else (),
            lambda tile_y, tile_x: (*window.fills(tile_y, tile_x, outside), step),
        )
    ]


def axes(layer: Pool) -> tuple[Axis, Axis]:
    """The layer's two axes."""
    source, output = layer.inputs[0], layer.output
    y = Axis(source.height, output.height, layer.kernel[0], layer.strides[0], 1, layer.pads[0])
    return y, Axis(source.width, output.width, layer.kernel[1], layer.strides[1], 1, layer.pads[1])


def reduce(context: Context, layer: Reduce, number: int) -> list[Stage]:
    """The stages of a sum over all pixels: partial sums of runs of pixels, then the sum of those."""
    source, output = layer.inputs[0], layer.output
    count, pitch, channels = pixels(source), source.pixel_pitch, source.channels
    block = padded(output_parameters(layer.stage, None, np.arange(channels)))
    fields = output_fields(layer.stage, output.type, None)
    # A job's output is one sum for each channel, however many pixels it takes.
    grid = flat(layer.name, count, pitch, 0, len(block) + 2 * align(4 * channels), context.machine)
    out_size = round_up(channels * ELEMENT_BYTES[output.type], 4)
    result = Operand(output.name, channel_offset(layer), out_size, (), 0, 0)
    if grid.tiles_y == 1:
        step = _sum(count, channels, pitch, source.type, layer.in_zero, fields, parameters=bool(block))
        fetch = Operand(source.name, 0, count * pitch, (), 0, 0)
        parameters = (context.constant([block]),) if block else ()
        return [Stage(layer.name, number, 1, 1, 1, (fetch,), result, parameters, lambda _y, _x: (step,))]
    run, tiles, sums = grid.width, grid.tiles_y, 4 * channels
    plain: dict[str, object] = {"out_type": int(ElementType.S32), "requantise": int(Requantise.NONE)}
    partial = _sum(run, channels, pitch, source.type, layer.in_zero, plain, parameters=False)
    beyond = tiles * run - count
    zeros = Step(
        Opcode.FILL,
        FILL.pack(rows=1, row_bytes=beyond * pitch, pitch=beyond * pitch, value=byte(layer.in_zero)),
        ((Region.INPUT, (run - beyond) * pitch),),
    )
    last = (zeros, partial) if beyond else (partial,)
    buffer = f"{layer.name}.sums"
    first = Stage(
        f"{layer.name}.partial",
        number,
        tiles,
        1,
        1,
        (Operand(source.name, 0, run * pitch, (), run * pitch, 0),),
        Operand(buffer, 0, sums, (), sums, 0),
        (),
        lambda y, _x: last if y == tiles - 1 else (partial,),
    )
    step = _sum(tiles, channels, sums, ElementType.S32, 0, fields, parameters=bool(block))
    fetch = Operand(buffer, 0, tiles * sums, (), 0, 0)
    parameters = (context.constant([block]),) if block else ()
    return [first, Stage(layer.name, number, 1, 1, 1, (fetch,), result, parameters, lambda _y, _x: (step,))]


def _sum(
    rows: int, channels: int, pitch: int, kind: ElementType, zero: int, fields: dict[str, object], *, parameters: bool
) -> Step:
    descriptor = REDUCE.pack(rows=rows, channels=channels, in_pitch=pitch, in_type=int(kind), in_zero=zero, **fields)
    region = Region.PARAMETERS if parameters else Region.INPUT
    return Step(Opcode.REDUCE, descriptor, ((Region.INPUT, 0), (region, 0), (Region.OUTPUT, 0)))
