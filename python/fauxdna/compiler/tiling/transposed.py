"""Transposed convolution as a stage: one valid convolution for each output phase, all in the same job."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...abi.tile_program import CONV2D, COPY, Opcode
from ..errors import CompileError
from ..ir import ELEMENT_BYTES, ConvTranspose, Tensor
from ..patterns import Dimension, Operand
from ..stage import Stage, align
from ..tile_code import Region, Step
from .context import Context, byte, channel_bytes, channel_offset, output_fields, output_parameters, padded
from .convolution import packed, packed_size
from .grid import MAC_NS, Grid, Job, flat, stretches, windows
from .window import Axis, Window, store


@dataclass(frozen=True)
class Phase:
    """Outputs ``index`` modulo the stride: they see kernel elements ``taps`` over inputs from ``first`` on (relative)."""

    index: int
    taps: tuple[int, ...]
    first: int


def phases(kernel: int, stride: int, pad: int) -> list[Phase]:
    """The phases of one axis.

    Output ``stride * q + index`` takes input ``i`` with kernel element ``k`` where
    ``stride * i + k == stride * q + index + pad``.
    """
    found = []
    for index in range(stride):
        # Highest kernel element first, so that inputs go upwards.
        taps = [k for k in range(kernel - 1, -1, -1) if (index + pad - k) % stride == 0]
        found.append(Phase(index, tuple(taps), (index + pad - taps[0]) // stride if taps else 0))
    return found


def transposed_convolution(context: Context, layer: ConvTranspose, number: int, given: Grid | None = None) -> list[Stage]:
    """The stage of a transposed convolution; with ``given``, over its tiles of input pixels."""
    layer = covering(layer)
    width = -(-layer.output.width // layer.strides[1]) * layer.strides[1]
    if width == layer.output.width:
        return [_stage(context, layer, number, given)]
    # Rows come out in whole blocks of the stride; what is too much is cut off in a stage of its own.
    wide = replace(layer.output, name=f"{layer.name}.wide", width=width, channels=layer.channels)
    first = _stage(context, replace(layer, output=wide, channel_offset=0), number, None)
    return [first, _crop(context, layer, wide, number)]


def covering(layer: ConvTranspose) -> ConvTranspose:
    """The layer with its kernel filled up with zeros to the strides at least, so that every output has an input."""
    weights, (rows, columns) = layer.weights, layer.strides
    more = max(rows - weights.shape[2], 0), max(columns - weights.shape[3], 0)
    if not any(more):
        return layer
    return replace(layer, weights=np.pad(weights, ((0, 0), (0, 0), (0, more[0]), (0, more[1]))))


def _crop(context: Context, layer: ConvTranspose, wide: Tensor, number: int) -> Stage:
    """Copies the left part of each row of ``wide``."""
    output, pitch = layer.output, wide.pixel_pitch
    row = output.width * pitch
    grid = flat(layer.name, output.height, row, row, 0, context.machine)
    rows = Grid(grid.width, output.width, grid.tiles_y, 1)
    fetch = Operand(wide.name, 0, row, (Dimension(grid.width, wide.width * pitch),), grid.width * wide.width * pitch, 0)
    words = grid.width * row // 4
    descriptor = COPY.pack(element_size=4, sizes=(1, 1, 1, words), in_strides=(0, 0, 0, 4), out_strides=(0, 0, 0, 4))
    step = Step(Opcode.COPY, descriptor, ((Region.INPUT, 0), (Region.OUTPUT, 0)))
    target = store(output.name, rows, output.width, output.pixel_pitch, channel_offset(layer), pitch)
    return Stage(f"{layer.name}.crop", number, grid.tiles_y, 1, 1, (fetch,), target, (), lambda _y, _x: (step,))


def _stage(context: Context, layer: ConvTranspose, number: int, given: Grid | None) -> Stage:
    source, output = layer.inputs[0], layer.output
    inner, out, kernel_height, kernel_width = layer.weights.shape
    stride_y, stride_x = layer.strides
    rows, columns = phases(kernel_height, stride_y, layer.pads[0]), phases(kernel_width, stride_x, layer.pads[1])
    y, x = axes(layer)
    element, pitch = ELEMENT_BYTES[output.type], source.pixel_pitch
    out_pitch = channel_bytes(layer)
    weights_size = sum(align(packed_size(out, inner, len(a.taps) * len(b.taps))) for a in rows for b in columns)
    fixed = weights_size + align(8 * (out + 16) + 256)

    def sizes(height: int, width: int) -> Job:
        above, across = y.reach(height), x.reach(width)
        runs = stretches(above, across, x.size, whole=True) + stretches(height * stride_y, width, x.out, whole=True)
        return Job(above * across * pitch, height * stride_y * width * stride_x * out_pitch, runs)

    grid = given
    if grid is None:
        found = windows(y.out, x.out, sizes, fixed, context.machine, pixel_ns=weights_size * MAC_NS)
        grid = found.grid if found else None
    if grid is None:
        raise CompileError(
            f"layer {layer.name}: {weights_size} bytes of weights and one tile do not fit into a core; leave the layer to the CPU"
        )
    window = Window(y, x, grid, pitch, pitch)
    out_row = grid.width * stride_x * out_pitch
    block, steps = b"", []
    for a in rows:
        for b in columns:
            descriptor = CONV2D.pack(
                out_height=grid.height,
                out_width=grid.width,
                out_channels=out,
                in_channels=inner,
                kernel_height=len(a.taps),
                kernel_width=len(b.taps),
                stride_height=1,
                stride_width=1,
                dilation_height=1,
                dilation_width=1,
                in_row_pitch=window.row_pitch,
                in_pixel_pitch=pitch,
                out_row_pitch=stride_y * out_row,
                out_pixel_pitch=stride_x * out_pitch,
                in_type=int(source.type),
                in_zero=layer.in_zero,
                **output_fields(layer.stage, output.type, layer.bias),
            )
            start = (a.first + y.pad) * window.row_pitch + (b.first + x.pad) * pitch
            steps.append((descriptor, start, len(block), a.index * out_row + b.index * out_pitch))
            block += padded(packed(_taps(layer.weights, a.taps, b.taps)))
    parameters_at = len(block)
    block = padded(block + output_parameters(layer.stage, layer.bias, np.arange(out)))
    job = tuple(
        Step(
            Opcode.CONV2D,
            descriptor,
            ((Region.INPUT, start), (Region.PARAMETERS, at), (Region.PARAMETERS, parameters_at), (Region.OUTPUT, to)),
        )
        for descriptor, start, at, to in steps
    )
    zero = byte(layer.in_zero)
    large = Grid(grid.height * stride_y, grid.width * stride_x, grid.tiles_y, grid.tiles_x)
    return Stage(
        layer.name,
        number,
        grid.tiles_y,
        grid.tiles_x,
        1,
        (window.operand(source.name),),
        store(output.name, large, output.width, output.pixel_pitch, channel_offset(layer), out_pitch // element * element),
        (context.constant([block]),),
        lambda tile_y, tile_x: (*window.fills(tile_y, tile_x, zero), *job),
    )


def axes(layer: ConvTranspose) -> tuple[Axis, Axis]:
    """The windows of blocks of one output of each phase."""
    (rows, columns), (stride_y, stride_x) = covering(layer).weights.shape[2:], layer.strides
    y = _axis(layer.inputs[0].height, layer.output.height, stride_y, phases(rows, stride_y, layer.pads[0]))
    return y, _axis(layer.inputs[0].width, layer.output.width, stride_x, phases(columns, stride_x, layer.pads[1]))


def _axis(size: int, out: int, stride: int, found: list[Phase]) -> Axis:
    """The window of blocks of ``stride`` outputs that holds every phase's inputs."""
    first = min(phase.first for phase in found)
    last = max(phase.first + len(phase.taps) for phase in found)
    return Axis(size, -(-out // stride), last - first, 1, 1, -first)


def _taps(weights: npt.NDArray[np.int8], rows: tuple[int, ...], columns: tuple[int, ...]) -> npt.NDArray[np.int8]:
    """int8 [out][in][rows][columns] of a phase."""
    return np.ascontiguousarray(weights[:, :, rows][:, :, :, columns].transpose(1, 0, 2, 3))
