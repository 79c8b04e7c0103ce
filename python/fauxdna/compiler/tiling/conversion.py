"""Conversions as stages: types, and planes into pixels and back, within the exact bytes of arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...abi import array
from ...abi.tile_program import CONVERT, COPY, Opcode
from ..errors import CompileError
from ..ir import ELEMENT_BYTES, Convert, Layout, Tensor
from ..patterns import STEP_MAX, Dimension, Operand
from ..stage import Stage, memory_needed
from ..tile_code import Region, Step
from .context import Context, channel_offset, pixels, round_up
from .grid import CORES, JOB_BYTES_MIN, SLOT_BYTES_MAX, divisors


@dataclass(frozen=True)
class _Side:
    """A tensor's bytes in a job of ``run`` pixels: what moves, and the pitches between pixels and channels."""

    operand: Operand
    pixel_pitch: int
    channel_pitch: int


def convert(context: Context, layer: Convert, number: int) -> list[Stage]:
    """The stages of a conversion: equal runs of pixels, and what is left over."""
    source, output = layer.inputs[0], layer.output
    count = pixels(source)
    if pixels(output) != count:
        raise CompileError(f"layer {layer.name}: converts {count} pixels to {pixels(output)}; they must be as many")
    run = _run(context, layer, count)
    stages = [_part(layer, number, layer.name, 0, run, count // run)]
    if count % run:
        stages.append(_part(layer, number, f"{layer.name}.rest", count - count % run, count % run, 1))
    return stages


def _per_pixel(tensor: Tensor) -> int:
    return tensor.pixel_pitch if tensor.layout is Layout.PIXELS else tensor.channels * ELEMENT_BYTES[tensor.type]


def _granule(tensor: Tensor, count: int) -> int:
    """Pixels that a run must be a multiple of, so that every transfer is of whole words; all of them if planes are not."""
    element = ELEMENT_BYTES[tensor.type]
    if tensor.layout is Layout.PIXELS or element == 4:
        return 1
    if tensor.channels > 1 and count * element % 4:
        return count
    return 4 // element


def _run(context: Context, layer: Convert, count: int) -> int:
    source, output = layer.inputs[0], layer.output
    granule = max(_granule(source, count), _granule(output, count))
    each = _per_pixel(source) + _per_pixel(output)

    def fits(run: int) -> bool:
        slots = 2 if count // run > CORES else 1
        needed = memory_needed(round_up(run * _per_pixel(source), 4), round_up(run * _per_pixel(output), 4), 0, slots)
        return needed <= array.CORE_DATA_SIZE

    if granule >= count or count * each <= JOB_BYTES_MIN:
        if fits(count):
            return count
        raise CompileError(
            f"layer {layer.name}: planes of {count} elements of {ELEMENT_BYTES[source.type]} and {ELEMENT_BYTES[output.type]} "
            "bytes do not start at words, and all of them do not fit into a core; pad the image to a multiple of 4 elements"
        )
    limit = min(SLOT_BYTES_MAX // each, max(-(-count // context.machine.cores), JOB_BYTES_MIN // each))
    whole = [d for d in divisors(count) if d % granule == 0 and d <= limit and fits(d)]
    best = max(whole, default=0)
    # A poor divisor makes too many jobs; then the rest has a stage of its own.
    plain = max(limit // granule * granule, granule)
    run = best if best * 4 >= plain else plain
    if not fits(run):
        raise CompileError(f"layer {layer.name}: {run} pixels of {each} bytes do not fit into a core; use fewer channels")
    return run


def _side(tensor: Tensor, first: int, run: int, offset: int, channels: int, size: int) -> _Side:
    element = ELEMENT_BYTES[tensor.type]
    if tensor.layout is Layout.PIXELS:
        pitch = tensor.pixel_pitch
        operand = Operand(tensor.name, first * pitch + offset, size, (Dimension(run, pitch),), run * pitch, 0)
        return _Side(operand, size, element)
    count = pixels(tensor)
    if run == count:
        return _Side(Operand(tensor.name, 0, round_up(count * channels * element, 4), (), 0, 0), element, count * element)
    plane = Dimension(channels, count * element)
    return _Side(
        Operand(tensor.name, first * element, round_up(run * element, 4), (plane,), run * element, 0),
        element,
        round_up(run * element, 4),
    )


def _part(layer: Convert, number: int, name: str, first: int, run: int, tiles: int) -> Stage:
    source, output = layer.inputs[0], layer.output
    channels = source.channels
    left = _side(source, first, run, 0, channels, source.pixel_pitch)
    right = _side(output, first, run, channel_offset(layer), channels, channel_bytes_of(layer))
    fetches: tuple[Operand, ...] = (left.operand,)
    if left.operand.window and left.operand.window[0].step > 4 * STEP_MAX:
        # Planes further apart than a BD can step are fetched one by one.
        plane = left.operand.window[0]
        fetches = tuple(
            replace(left.operand, offset=left.operand.offset + index * plane.step, window=()) for index in range(plane.count)
        )
    step = _copy(layer, left, right, run) if source.type is output.type else _converted(layer, left, right, run)
    return Stage(name, number, tiles, 1, 1, fetches, right.operand, (), lambda _y, _x: (step,))


def channel_bytes_of(layer: Convert) -> int:
    """Bytes of one output pixel in a job."""
    if layer.output.layout is Layout.PLANES:
        return 0
    return round_up(layer.inputs[0].channels * ELEMENT_BYTES[layer.output.type], 4)


def _copy(layer: Convert, left: _Side, right: _Side, run: int) -> Step:
    """A change of layout alone."""
    element = ELEMENT_BYTES[layer.output.type]
    descriptor = COPY.pack(
        element_size=element,
        sizes=(1, 1, run, layer.inputs[0].channels),
        in_strides=(0, 0, left.pixel_pitch, left.channel_pitch),
        out_strides=(0, 0, right.pixel_pitch, right.channel_pitch),
    )
    return Step(Opcode.COPY, descriptor, ((Region.INPUT, 0), (Region.OUTPUT, 0)))


def _converted(layer: Convert, left: _Side, right: _Side, run: int) -> Step:
    output, channels = layer.output, layer.inputs[0].channels
    fill = right.pixel_pitch // ELEMENT_BYTES[output.type] if output.layout is Layout.PIXELS else 0
    descriptor = CONVERT.pack(
        pixels=run,
        channels=channels,
        in_pixel_pitch=left.pixel_pitch,
        in_channel_pitch=left.channel_pitch,
        out_pixel_pitch=right.pixel_pitch,
        out_channel_pitch=right.channel_pitch,
        in_type=int(layer.inputs[0].type),
        out_type=int(output.type),
        scale=layer.quantisation.scale,
        zero=layer.quantisation.zero,
        clamp_low=layer.clamp_low,
        clamp_high=layer.clamp_high,
        fill_channels=fill if fill > channels else 0,
    )
    return Step(Opcode.CONVERT, descriptor, ((Region.INPUT, 0), (Region.OUTPUT, 0)))
