"""From a segment's layers to one AIE4 ELF: stages, workspace, and each micro-controller's control code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from ..abi import array
from ..abi.control_code import REMOTE_BARRIER_BASE, UC_PER_COLUMN, Opcode
from ..artifact import elf_writer
from ..artifact.program import LayerInfo
from . import streams, tiling
from .control_code import ControlCode, operation
from .dataflow import Place, StageColumn
from .errors import CompileError
from .ir import Conv, ConvTranspose, Layer, Segment
from .stage import WEIGHTS, Stage
from .storage import workspace
from .tile_code import Region, Step


@dataclass(frozen=True)
class Generated:
    """A segment's ELF, and the bytes of workspace that its last kernel argument must have."""

    elf: bytes
    workspace: int
    layers: tuple[LayerInfo, ...]
    columns: int


def generate(segment: Segment, *, columns: int = array.COLUMNS) -> Generated:
    """Compiles a segment for a partition of ``columns`` columns.

    Kernel arguments in order: the segment's inputs, its outputs, the workspace.

    Raises:
        CompileError: A layer has no tile form or does not fit; the message names it.
    """
    if not 1 <= columns <= array.COLUMNS:
        raise CompileError(f"{columns} columns: a partition has 1 to {array.COLUMNS}")
    arguments = {tensor.name: tensor.size for tensor in (*segment.inputs, *segment.outputs)}
    context = tiling.Context(tiling.Machine(columns))
    by_layer = _lowered(context, segment.layers, frozenset(arguments))
    stages = [stage for group in by_layer for stage in group]
    sizes = {tensor.name: tensor.size for layer in segment.layers for tensor in (*layer.inputs, layer.output)}
    offsets, size = workspace(stages, sizes, arguments)
    places = {name: Place(str(len(arguments)), offset) for name, offset in offsets.items()}
    places |= {name: Place(str(index), 0) for index, name in enumerate(arguments)}
    places[WEIGHTS] = Place(WEIGHTS, 0)
    image = _image(stages, places, bytes(context.constants), len(arguments) + 1, columns)
    layers = tuple(_layer_info(layer, group) for layer, group in zip(segment.layers, _headed(by_layer), strict=True))
    return Generated(image, size, layers, columns)


def refusal(layer: Layer, *, columns: int = array.COLUMNS) -> str | None:
    """Why the back end has no form for a layer, or None if it has one."""
    try:
        _stages(tiling.Context(tiling.Machine(columns)), layer, 0)
    except CompileError as error:
        return str(error)
    return None


def _lowered(context: tiling.Context, layers: Sequence[Layer], arguments: frozenset[str]) -> list[list[Stage]]:
    """The stages of each layer; those of a chain of layers stand with its first."""
    uses = tiling.Uses.of(layers, arguments)
    found: list[list[Stage]] = []
    while len(found) < len(layers):
        number = len(found)
        for length in range(tiling.chain_length(layers, number, uses), 1, -1):
            if tiling.closed(layers, number, number + length, uses):
                stage = tiling.chain(context, layers[number : number + length], number)
                if stage is not None and _fits(_inlined(stage), context.machine.columns):
                    found += [[_inlined(stage)], *([] for _ in range(length - 1))]
                    break
        else:
            found.append(_stages(context, layers[number], number))
    return found


def _fits(stage: Stage, columns: int) -> bool:
    """Whether a stage's descriptors, tasks and programs are few enough."""
    try:
        _check(stage, columns)
    except (OverflowError, CompileError):
        return False
    return True


def _check(stage: Stage, columns: int) -> None:
    """Raises what generating the stage would, wherever its buffers lie."""
    buffers = (stage.store.buffer, *(operand.buffer for operand in (*stage.fetches, *stage.parameters)))
    anywhere = 1 << 40
    places = {name: Place("0", anywhere) for name in buffers}
    StageColumn(stage, 0, stage.columns(columns), places).generate()


def _stages(context: tiling.Context, layer: Layer, number: int) -> list[Stage]:
    try:
        stages = [_inlined(stage) for stage in tiling.stages(context, layer, number)]
        for stage in stages:
            _check(stage, context.machine.columns)
        return stages
    except (OverflowError, CompileError) as error:
        text = str(error)
        if layer.name in text:
            raise
        raise CompileError(f"layer {layer.name}: {text}; leave the layer to the CPU") from error


def _inlined(stage: Stage) -> Stage:
    """A stage of one job gets its parameters along with its input, so that only core 0 has to run."""
    if stage.jobs != 1 or stage.blocks > 1 or not stage.parameters:
        return stage
    size = stage.parameter_size
    steps = tuple(_moved(step, size) for step in stage.job(0, 0))
    fetches = (*stage.parameters, *stage.fetches)
    return replace(stage, fetches=fetches, parameters=(), job=lambda _y, _x: steps)


def _moved(step: Step, size: int) -> Step:
    """The step with parameters at the start of the input slot, and the input ``size`` bytes further."""
    places = {Region.PARAMETERS: 0, Region.INPUT: size}
    moved = tuple(
        (Region.INPUT, offset + places[region]) if region in places else (region, offset) for region, offset in step.operands
    )
    return replace(step, operands=moved)


def _image(stages: Sequence[Stage], places: dict[str, Place], constants: bytes, arguments: int, columns: int) -> bytes:
    codes = [ControlCode(UC_PER_COLUMN * column) for column in range(columns)]
    for column, code in enumerate(codes):
        code.transfer(streams.circuits(column))
        code.operate(streams.locks(column))
    used = [stage.columns(columns) for stage in stages]
    layer = -1
    for index, stage in enumerate(stages):
        for column, code in enumerate(codes):
            if stage.layer != layer:
                code.operate(operation(Opcode.TRACE, info=stage.layer))
            if column < used[index]:
                transfers, start = StageColumn(stage, column, used[index], places).generate()
                code.transfer(transfers)
                code.operate(start)
            # A column that works on alone has nobody to wait for.
            alone = used[index] == 1 and (index + 1 == len(stages) or used[index + 1] == 1)
            if columns > 1 and not alone:
                mask = sum(1 << UC_PER_COLUMN * other for other in range(columns))
                code.operate(operation(Opcode.REMOTE_BARRIER, id=REMOTE_BARRIER_BASE, mask=mask))
        layer = stage.layer
    pages, references = {}, []
    for column, code in enumerate(codes):
        pages[UC_PER_COLUMN * column], found = code.finish()
        references += found
    return elf_writer.write(pages, references, constants, arguments=arguments, columns=columns)


def _macs(layer: Layer) -> int:
    if isinstance(layer, Conv):
        return layer.output.height * layer.output.width * int(np.prod(layer.weights.shape))
    if isinstance(layer, ConvTranspose):
        return layer.inputs[0].height * layer.inputs[0].width * int(np.prod(layer.weights.shape))
    return 0


def _headed(by_layer: Sequence[list[Stage]]) -> list[tuple[int, list[Stage]]]:
    """Each layer's stages, and the layer whose trace mark covers it: its own, or the head of its chain."""
    heads = [number if stages else -1 for number, stages in enumerate(by_layer)]
    return list(zip(accumulate(heads, max), by_layer, strict=True))


def _layer_info(layer: Layer, headed: tuple[int, Sequence[Stage]]) -> LayerInfo:
    number, stages = headed
    brought = sum(stage.jobs * stage.input_size + stage.passes * stage.blocks * stage.parameter_size for stage in stages)
    return LayerInfo(
        layer.name,
        type(layer).__name__,
        layer.nodes,
        _macs(layer),
        sum(stage.jobs for stage in stages),
        number,
        brought,
        sum(stage.jobs * stage.store.size for stage in stages),
    )
