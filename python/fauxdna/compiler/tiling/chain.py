"""Several layers as one stage: a job's intermediate results stay in its core's memory.

A chain is a head (any layer with windows or runs) and layers after it that see one pixel at a time. No tensor between them is
seen by anyone else, so none is written to host memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...abi.tile_program import Broadcast
from ..errors import CompileError
from ..ir import Binary, Conv, ConvTranspose, Layer, Pool, Resize, Table, Tensor
from ..patterns import Operand
from ..stage import WEIGHTS, Stage, align
from ..tile_code import Region, Step
from . import pooling, transposed
from .context import Context, channel_bytes, channel_offset, padded, pixels
from .convolution import axes, convolution, is_flat, upright
from .elementwise import binary, resize, table
from .grid import MAC_NS, Grid, Job, flat, stretches, windows
from .window import Axis, store

LONGEST = 8
PARAMETERS_MAX = 64 * 1024
ACROSS_MAX = 4
"""Tiles in a row where operands take turns: each column of tiles needs a BD for each operand."""
PIXELS_MIN = 48
"""Smaller tiles cost more in jobs than their fusion saves in transfers."""

_RULES: Mapping[type[Layer], Any] = {
    Conv: convolution,
    ConvTranspose: transposed.transposed_convolution,
    Pool: pooling.pool,
    Resize: resize,
    Table: table,
    Binary: binary,
}
Places = tuple[Region, int]


@dataclass(frozen=True)
class Uses:
    """Which layers of a segment write and read each tensor, and which tensors are arguments."""

    writers: Mapping[str, Sequence[int]]
    readers: Mapping[str, Sequence[int]]
    arguments: frozenset[str]

    @classmethod
    def of(cls, layers: Sequence[Layer], arguments: frozenset[str]) -> Uses:
        """Gathers them."""
        writers: dict[str, list[int]] = {}
        readers: dict[str, list[int]] = {}
        for index, layer in enumerate(layers):
            writers.setdefault(layer.output.name, []).append(index)
            for tensor in layer.inputs:
                readers.setdefault(tensor.name, []).append(index)
        return cls(writers, readers, arguments)


def _sees_pixels(layer: Layer) -> bool:
    """Whether the layer's output pixels depend on the same pixels of its inputs alone."""
    if isinstance(layer, Conv):
        return is_flat(layer)
    if isinstance(layer, Binary):
        return layer.broadcast in (Broadcast.NONE, Broadcast.ROW, Broadcast.SCALAR)
    return isinstance(layer, Table)


def _streamed(layer: Layer) -> tuple[Tensor, ...]:
    """Inputs that come pixel by pixel."""
    if isinstance(layer, Binary) and layer.broadcast is not Broadcast.NONE:
        return layer.inputs[:1]
    return layer.inputs


def chain_length(layers: Sequence[Layer], start: int, uses: Uses) -> int:
    """How many layers from ``start`` on can be a chain, memory not considered."""
    head = layers[start]
    cropped = isinstance(head, ConvTranspose) and head.output.width % head.strides[1]
    if type(head) not in _RULES or cropped or any(t.name in uses.arguments for t in head.inputs):
        return 1
    best = 1
    for end in range(start + 1, min(start + LONGEST, len(layers))):
        layer, before = layers[end], layers[end - 1]
        made = {other.output for other in layers[start:end]}
        if not _sees_pixels(layer) or not any(tensor in made for tensor in _streamed(layer)):
            break
        first = layers[start].output
        same = all((t.height, t.width) == (first.height, first.width) for t in (*_streamed(layer), layer.output))
        plain = before.channel_offset == 0 and before.channels == before.output.channels
        outside = {t.name for t in layer.inputs if t not in made}
        # A tensor may be read with its pixels regrouped; not from core memory.
        regrouped = bool(outside & {t.name for t in made})
        row = layer.inputs[1].name if isinstance(layer, Binary) and len(_streamed(layer)) == 1 else ""
        if not same or not plain or regrouped or outside & uses.arguments or row in {t.name for t in made}:
            break
        if closed(layers, start, end + 1, uses):
            best = end + 1 - start
    return best


def closed(layers: Sequence[Layer], start: int, end: int, uses: Uses) -> bool:
    """Whether nobody else sees what the chain keeps to itself."""
    inside = range(start, end)
    for layer in layers[start : end - 1]:
        name = layer.output.name
        if name in uses.arguments or len(uses.writers[name]) != 1 or any(r not in inside for r in uses.readers.get(name, ())):
            return False
    return layers[end - 1].output.name not in uses.arguments


@dataclass(frozen=True)
class _Head:
    """The window of a chain's first layer, and output pixels for each step of its grid."""

    y: Axis
    x: Axis
    rows: int
    columns: int


def _head(layer: Layer) -> _Head:
    source = layer.inputs[0]
    if isinstance(layer, Conv):
        return _Head(*axes(layer), 1, 1)
    if isinstance(layer, Pool):
        return _Head(*pooling.axes(layer), 1, 1)
    if isinstance(layer, ConvTranspose):
        return _Head(*transposed.axes(layer), *layer.strides)
    assert isinstance(layer, Resize)
    y, x = (Axis(size, size, 1, 1, 1, 0) for size in (source.height, source.width))
    return _Head(y, x, *layer.factors)


def chain(context: Context, layers: Sequence[Layer], number: int) -> Stage | None:
    """One stage for a chain, or None where too little of it fits into a core."""
    try:
        return _Chain(context, layers, number).stage()
    except CompileError:
        return None


class _Chain:
    """A chain on its way to a stage."""

    def __init__(self, context: Context, layers: Sequence[Layer], number: int) -> None:
        self._context = context
        self._layers = [upright(layer) if isinstance(layer, Conv) and is_flat(layer) else layer for layer in layers]
        self._number = number
        self._names = [layer.output.name for layer in layers]
        self._flat = _sees_pixels(layers[0])
        head = layers[:0] if self._flat else layers[:1]
        made = set(self._names)
        self._outside = {t.name: t.pixel_pitch for layer in layers[len(head) :] for t in _streamed(layer) if t.name not in made}

    def stage(self) -> Stage | None:
        """The stage, or None."""
        unit = Grid(1, 1, 1, 1)
        trial = self._stages(Context(self._context.machine), unit, 1)
        fixed = sum(align(stage.parameter_size) for stage in trial)
        if fixed > PARAMETERS_MAX:
            return None
        last, head = self._layers[-1], self._layers[0]
        out_pitch, scratch = channel_bytes(last), self._scratch(1)[1]
        macs = sum(layer.weights.size for layer in self._layers if isinstance(layer, Conv))
        if self._flat:
            into = sum(self._outside.values())
            grid = flat(head.name, pixels(head.output), into, out_pitch, fixed, self._context.machine, scratch=scratch)
            tile, large = grid.width, Grid(1, grid.width, grid.tiles_y, 1)
        else:
            found = self._windows(fixed, out_pitch, scratch, macs * MAC_NS)
            if found is None:
                return None
            grid, large = found
            tile = large.height * large.width
        if tile < PIXELS_MIN and grid.tiles_y * grid.tiles_x > self._context.machine.cores:
            return None
        own = Context(self._context.machine)
        return self._merged(self._stages(own, grid, tile), own, large, tile)

    def _windows(self, fixed: int, out_pitch: int, scratch: int, pixel_ns: float) -> tuple[Grid, Grid] | None:
        window = _head(self._layers[0])
        pitch, each = self._layers[0].inputs[0].pixel_pitch, window.rows * window.columns

        def sizes(height: int, width: int) -> Job:
            count, above, across = height * width * each, window.y.reach(height), window.x.reach(width)
            runs = stretches(above, across, window.x.size, whole=True)
            runs += (1 + len(self._outside)) * stretches(height * window.rows, width, window.x.out, whole=True)
            return Job(above * across * pitch + count * sum(self._outside.values()), count * out_pitch, runs)

        found = windows(
            window.y.out,
            window.x.out,
            sizes,
            fixed,
            self._context.machine,
            pixel_ns=pixel_ns * each,
            scratch=scratch * each,
            across=ACROSS_MAX if self._outside else 0,
        )
        if found is None:
            return None
        grid = found.grid
        return grid, Grid(grid.height * window.rows, grid.width * window.columns, grid.tiles_y, grid.tiles_x)

    def _stages(self, context: Context, grid: Grid, tile: int) -> list[Stage]:
        """Every layer as a stage of its own, over the same tiles."""
        run = Grid(1, tile, grid.tiles_y * grid.tiles_x, 1)
        stages = []
        for index, layer in enumerate(self._layers):
            over = grid if index == 0 and not self._flat else run
            (stage,) = _RULES[type(layer)](context, layer, self._number, over)
            stages.append(stage)
        return stages

    def _scratch(self, tile: int) -> tuple[dict[str, int], int]:
        """Where the intermediate results of ``tile`` pixels lie, each only while someone still reads it, and what they take."""
        last_use = {t.name: index for index, layer in enumerate(self._layers) for t in layer.inputs}
        places: dict[str, int] = {}
        live: list[tuple[int, int, int]] = []
        size = 0
        for index, layer in enumerate(self._layers[:-1]):
            live = sorted(entry for entry in live if entry[2] >= index)
            need = tile * layer.output.pixel_pitch
            if tile > 1:
                need = align(need)
            at = 0
            for start, end, _ in live:
                if at + need <= start:
                    break
                at = max(at, end)
            places[layer.output.name] = at
            live.append((at, at + need, last_use[layer.output.name]))
            size = max(size, at + need)
        return places, size

    def _merged(self, stages: list[Stage], own: Context, large: Grid, tile: int) -> Stage:
        scratch, scratch_size = self._scratch(tile)
        places: dict[str, Places] = {name: (Region.SCRATCH, at) for name, at in scratch.items()}
        last = self._layers[-1]
        width = large.width if self._flat else last.output.width
        fetches: list[Operand] = [] if self._flat else list(stages[0].fetches)
        at = sum(fetch.size for fetch in fetches)
        for name, pitch in self._outside.items():
            fetches.append(store(name, large, width, pitch, 0, pitch))
            places[name] = (Region.INPUT, at)
            at += fetches[-1].size
        blob, rows = b"", []
        bases: list[Places] = []
        for stage in stages:
            bases.append((Region.PARAMETERS, len(blob)))
            for operand in stage.parameters:
                if operand.buffer == WEIGHTS:
                    blob += padded(bytes(own.constants[operand.offset : operand.offset + operand.size]))
        at = len(blob)
        for index, stage in enumerate(stages):
            for operand in stage.parameters:
                if operand.buffer != WEIGHTS:
                    bases[index] = (Region.PARAMETERS, at)
                    rows.append(operand)
                    at += operand.size
        parameters = ((self._context.constant([blob]),) if blob else ()) + tuple(rows)
        tails: list[Step] = []
        moves = []
        for index, stage in enumerate(stages):
            inputs = [places.get(fetch.buffer, (Region.INPUT, 0)) for fetch in stage.fetches]
            target = (Region.OUTPUT, 0) if index + 1 == len(stages) else places[self._names[index]]
            sizes = [fetch.size for fetch in stage.fetches]
            if index == 0 and not self._flat:
                # The head's own input lies at the start of the slot, as in a stage of its own.
                inputs = [(Region.INPUT, 0)]
            moves.append(_Move(tuple(inputs), tuple(sizes), bases[index], target))
            if index or self._flat:
                tails += [moves[index].step(step) for step in stage.job(0, 0)]
        head, rest = stages[0], tuple(tails)

        def job(y: int, x: int) -> tuple[Step, ...]:
            return rest if self._flat else (*(moves[0].step(step) for step in head.job(y, x)), *rest)

        whole = store(last.output.name, large, width, last.output.pixel_pitch, channel_offset(last), channel_bytes(last))
        return replace(
            head,
            name=" + ".join(layer.name for layer in self._layers),
            fetches=tuple(fetches),
            store=whole,
            parameters=parameters,
            job=job,
            scratch=scratch_size,
        )


@dataclass(frozen=True)
class _Move:
    """From a single layer's slots to places in the chain's."""

    inputs: tuple[Places, ...]
    sizes: tuple[int, ...]
    parameters: Places
    output: Places

    def step(self, step: Step) -> Step:
        """The step with its operands moved."""
        return replace(step, operands=tuple(self._place(region, offset) for region, offset in step.operands))

    def _place(self, region: Region, offset: int) -> Places:
        if region is Region.INPUT:
            for place, size in zip(self.inputs, self.sizes, strict=True):
                if offset < size:
                    return place[0], place[1] + offset
                offset -= size
            raise CompileError("an operand lies outside its layer's input")
        base = self.parameters if region is Region.PARAMETERS else self.output
        return base[0], base[1] + offset
