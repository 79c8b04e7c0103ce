"""Element-wise layers as stages: runs of pixels, cut without regard to rows."""

from __future__ import annotations

import numpy as np

from ...abi.tile_program import BINARY, COPY, NORMALISE, TABLE, UNARY, Broadcast, ElementType, NormaliseKind, Opcode
from ..errors import CompileError
from ..ir import ELEMENT_BYTES, Binary, Layer, Normalise, Resize, Table, Unary
from ..patterns import Operand
from ..stage import Stage
from ..tile_code import Region, Step
from .context import Context, channel_bytes, channel_offset, padded, pixels
from .grid import Grid, Job, flat, stretches, windows
from .window import Axis, Window, store

ELEMENT_NS = 0.1
_PLAIN = (Region.INPUT, 0), (Region.OUTPUT, 0)


def _runs(buffer: str, grid: Grid, pitch: int) -> Operand:
    """Whole pixels, run after run."""
    return Operand(buffer, 0, grid.width * pitch, (), grid.width * pitch, 0)


def _stage(
    context: Context,
    layer: Layer,
    number: int,
    grid: Grid,
    step: Step,
    fetches: tuple[Operand, ...],
    parameters: tuple[Operand, ...],
) -> list[Stage]:
    run = Grid(1, grid.width, grid.tiles_y, 1)
    target = store(layer.output.name, run, grid.width, layer.output.pixel_pitch, channel_offset(layer), channel_bytes(layer))
    return [Stage(layer.name, number, grid.tiles_y, 1, 1, fetches, target, parameters, lambda _y, _x: (step,))]


def table(context: Context, layer: Table, number: int, given: Grid | None = None) -> list[Stage]:
    """The stage of a look-up table; with ``given``, over its runs."""
    source, pitch, out_pitch = layer.inputs[0], layer.inputs[0].pixel_pitch, channel_bytes(layer)
    wide = layer.output.type is ElementType.F32
    block = padded(np.ascontiguousarray(layer.table, dtype=np.float32 if wide else np.uint8).tobytes())
    grid = given or flat(layer.name, pixels(source), pitch, out_pitch, len(block), context.machine)
    # Pixels without gaps are one long row.
    dense = out_pitch == pitch * ELEMENT_BYTES[layer.output.type]
    rows, elements = (1, grid.width * pitch) if dense else (grid.width, source.channels)
    descriptor = TABLE.pack(
        rows=rows,
        row_elements=elements,
        in_pitch=elements if dense else pitch,
        out_pitch=elements * ELEMENT_BYTES[layer.output.type] if dense else out_pitch,
        out_type=int(ElementType.F32 if wide else ElementType.U8),
    )
    step = Step(Opcode.TABLE, descriptor, ((Region.INPUT, 0), (Region.PARAMETERS, 0), (Region.OUTPUT, 0)))
    return _stage(context, layer, number, grid, step, (_runs(source.name, grid, pitch),), (context.constant([block]),))


def binary(context: Context, layer: Binary, number: int, given: Grid | None = None) -> list[Stage]:
    """The stage of a two-operand layer, with ``given`` over its runs; a broadcast operand is brought once, as parameters."""
    a, b = layer.inputs
    pitch, out_pitch = a.pixel_pitch, channel_bytes(layer)
    spread = layer.broadcast in (Broadcast.ROW, Broadcast.SCALAR)
    streamed = 0 if spread else b.pixel_pitch
    fixed = b.pixel_pitch if spread else 0
    if not spread and pixels(a) != pixels(b):
        raise CompileError(
            f"layer {layer.name}: operands of {a.height} x {a.width} and {b.height} x {b.width} pixels need a broadcast that has "
            "no tile form; leave the layer to the CPU"
        )
    grid = given or flat(layer.name, pixels(a), pitch + streamed, out_pitch, fixed, context.machine)
    sizes = [ELEMENT_BYTES[tensor.type] for tensor in (a, b, layer.output)]
    # Where all pixels have the same elements, gaps included, a run is one row.
    same = pitch // sizes[0] == out_pitch // sizes[2] and (
        layer.broadcast is Broadcast.SCALAR or pitch // sizes[0] == streamed // sizes[1]
    )
    dense = same and layer.broadcast in (Broadcast.NONE, Broadcast.SCALAR)
    elements = grid.width * pitch // sizes[0] if dense else a.channels
    descriptor = BINARY.pack(
        rows=1 if dense else grid.width,
        channels=elements,
        a_pitch=elements * sizes[0] if dense else pitch,
        b_pitch=elements * sizes[1] if dense else b.pixel_pitch,
        out_pitch=elements * sizes[2] if dense else out_pitch,
        operation=int(layer.operation),
        broadcast=int(layer.broadcast),
        a_type=int(a.type),
        b_type=int(b.type),
        out_type=int(layer.output.type),
        a_zero=layer.a.zero,
        b_zero=layer.b.zero,
        out_zero=layer.out.zero,
        a_scale=layer.a.scale,
        b_scale=layer.b.scale,
        out_scale=layer.out.scale,
        clamp_low=layer.clamp_low,
        clamp_high=layer.clamp_high,
    )
    first = _runs(a.name, grid, pitch)
    if spread:
        step = Step(Opcode.BINARY, descriptor, ((Region.INPUT, 0), (Region.PARAMETERS, 0), (Region.OUTPUT, 0)))
        parameters = (Operand(b.name, 0, b.pixel_pitch, (), 0, 0),)
        return _stage(context, layer, number, grid, step, (first,), parameters)
    step = Step(Opcode.BINARY, descriptor, ((Region.INPUT, 0), (Region.INPUT, grid.width * pitch), (Region.OUTPUT, 0)))
    return _stage(context, layer, number, grid, step, (first, _runs(b.name, grid, b.pixel_pitch)), ())


def unary(context: Context, layer: Unary, number: int) -> list[Stage]:
    """The stage of a float function."""
    source, pitch, out_pitch = layer.inputs[0], layer.inputs[0].pixel_pitch, channel_bytes(layer)
    grid = flat(layer.name, pixels(source), pitch, out_pitch, 0, context.machine)
    descriptor = UNARY.pack(
        rows=grid.width,
        channels=source.channels,
        in_pitch=pitch,
        out_pitch=out_pitch,
        operation=int(layer.operation),
        in_type=int(source.type),
        out_type=int(layer.output.type),
        alpha=layer.alpha,
        beta=layer.beta,
    )
    step = Step(Opcode.UNARY, descriptor, _PLAIN)
    return _stage(context, layer, number, grid, step, (_runs(source.name, grid, pitch),), ())


def normalise(context: Context, layer: Normalise, number: int) -> list[Stage]:
    """The stage of a function over each pixel's channels."""
    source, pitch, out_pitch = layer.inputs[0], layer.inputs[0].pixel_pitch, channel_bytes(layer)
    block = b""
    if layer.kind is NormaliseKind.LAYER:
        gamma = np.ones(source.channels) if layer.gamma is None else layer.gamma
        beta = np.zeros(source.channels) if layer.beta is None else layer.beta
        block = padded(gamma.astype(np.float32).tobytes() + beta.astype(np.float32).tobytes())
    grid = flat(layer.name, pixels(source), pitch, out_pitch, len(block), context.machine)
    descriptor = NORMALISE.pack(
        rows=grid.width,
        channels=source.channels,
        in_pitch=pitch,
        out_pitch=out_pitch,
        kind=int(layer.kind),
        in_type=int(source.type),
        out_type=int(layer.output.type),
        epsilon=layer.epsilon,
    )
    region = Region.PARAMETERS if block else Region.INPUT
    step = Step(Opcode.NORMALISE, descriptor, ((Region.INPUT, 0), (region, 0), (Region.OUTPUT, 0)))
    parameters = (context.constant([block]),) if block else ()
    return _stage(context, layer, number, grid, step, (_runs(source.name, grid, pitch),), parameters)


def resize(context: Context, layer: Resize, number: int, given: Grid | None = None) -> list[Stage]:
    """The stage of a nearest-neighbour enlargement; with ``given``, over its tiles of input pixels."""
    source, output, pitch = layer.inputs[0], layer.output, layer.inputs[0].pixel_pitch
    rows, columns = layer.factors

    def sizes(height: int, width: int) -> Job:
        runs = (1 + rows) * stretches(height, width, source.width, whole=True)
        return Job(height * width * pitch, height * rows * width * columns * pitch, runs)

    grid = given
    if grid is None:
        pixel_ns = pitch * rows * columns * ELEMENT_NS
        found = windows(source.height, source.width, sizes, 0, context.machine, pixel_ns=pixel_ns)
        grid = found.grid if found else None
    if grid is None:
        raise CompileError(f"layer {layer.name}: an enlarged pixel does not fit into a core; leave the layer to the CPU")
    y, x = (Axis(size, size, 1, 1, 1, 0) for size in (source.height, source.width))
    window = Window(y, x, grid, pitch, pitch)
    out_row = grid.width * columns * pitch
    descriptor = COPY.pack(
        element_size=4,
        sizes=(grid.height, grid.width, columns, pitch // 4),
        in_strides=(window.row_pitch, pitch, 0, 4),
        out_strides=(rows * out_row, columns * pitch, pitch, 4),
    )
    steps = tuple(Step(Opcode.COPY, descriptor, ((Region.INPUT, 0), (Region.OUTPUT, row * out_row))) for row in range(rows))
    large = Grid(grid.height * rows, grid.width * columns, grid.tiles_y, grid.tiles_x)
    target = store(output.name, large, output.width, output.pixel_pitch, channel_offset(layer), channel_bytes(layer))
    fetch = window.operand(source.name)
    return [Stage(layer.name, number, grid.tiles_y, grid.tiles_x, 1, (fetch,), target, (), lambda _y, _x: steps)]
