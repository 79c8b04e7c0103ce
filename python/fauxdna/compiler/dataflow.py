"""Buffer descriptors, tasks and tile programs of one stage on one column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..abi import array
from ..abi.control_code import Opcode
from . import streams
from .control_code import Patch, Transfer, operation, write
from .errors import CompileError
from .patterns import Dimension, Operand, ShimTask, interleaved_tasks, job_tasks, tasks
from .stage import Stage, align
from .tile_code import (
    INPUT_FREE,
    INPUT_FULL,
    OUTPUT_FREE,
    OUTPUT_FULL,
    PARAMETERS_FREE,
    PARAMETERS_FULL,
    CoreLayout,
    program,
    round_program,
)

CORES = array.CORE_ROWS


@dataclass(frozen=True)
class Place:
    """Where a buffer lies: the relocation symbol of its argument, and the byte it starts at."""

    symbol: str
    offset: int


@dataclass
class _Column:
    """What a stage writes into one column's registers."""

    column: int
    transfers: list[Transfer]
    starts: bytearray

    def start(self, address: int, bd: int, runs: int = 1, *, token: bool = False) -> None:
        """Queues a task."""
        self.starts += write(address, array.START_QUEUE.encode(bd=bd, repeat=runs - 1, token=int(token))[0])


def _mem_channel(column: int, channel: int, *, mm2s: bool) -> tuple[int, int]:
    """Addresses of a mem tile channel's first BD and of its start queue."""
    per_half = array.MEM_MM2S_PER_HALF if mm2s else array.MEM_S2MM_PER_HALF
    half, index = divmod(channel, per_half)
    tile = array.tile_address(column, array.MEM_ROW, half * array.HALF_STRIDE)
    bds = (array.MEM_BD_MM2S if mm2s else array.MEM_BD_S2MM) + index * array.MEM_CHANNEL_BD_STRIDE
    start = (array.MEM_MM2S_START if mm2s else array.MEM_S2MM_START) + index * array.MEM_CHANNEL_STRIDE
    return tile + bds, tile + start


def _mem_bd(address: int, size: int, acquire: int, release: int, *, slots: int, stride: int, **fields: int) -> bytes:
    fields |= _locked(size, array.MEM_LOCK_WINDOW + acquire, array.MEM_LOCK_WINDOW + release, slots, stride)
    words = array.MEM_BD_WORDS.pack(address=(array.MEM_WINDOW + address) // 4, **fields)
    return words.ljust(array.MEM_BD_STRIDE, b"\0")


def _core_bd(address: int, size: int, acquire: int, release: int, *, slots: int, stride: int) -> bytes:
    words = array.CORE_BD_WORDS.pack(address=address // 4, **_locked(size, acquire, release, slots, stride))
    return words.ljust(array.CORE_BD_STRIDE, b"\0")


def _locked(size: int, acquire: int, release: int, slots: int, stride: int) -> dict[str, int]:
    """A BD that waits for lock ``acquire``, moves ``size`` bytes of the next of ``slots`` slots, and gives lock ``release``."""
    return {
        "length": size // 4,
        "acquire_enable": 1,
        "acquire_id": acquire,
        "acquire_value": -1,
        "release_id": release,
        "release_value": 1,
        "iteration_wrap": slots - 1,
        "iteration_step": stride // 4,
    }


class StageColumn:
    """One stage on one column: who does which jobs, and what is written where."""

    def __init__(self, stage: Stage, column: int, columns: int, places: Mapping[str, Place]) -> None:
        self._stage = stage
        self._places = places
        self._rows = stage.rows(column, columns)
        self._out = _Column(column, [], bytearray())
        per_pass = len(self._rows) * stage.tiles_x
        self._jobs = per_pass * stage.passes
        # Cores take turns through all passes: job g is core g % 4's.
        self._counts = [len(range(core, self._jobs, CORES)) for core in range(CORES)]
        self._rounds = -(-self._jobs // CORES)
        # How often parameters come: once a pass, or every block in every round.
        self._fillings = stage.passes if stage.blocks == 1 else self._rounds * stage.blocks
        self._slots = 2 if self._jobs > CORES else 1
        self._cores = CORES if stage.parameters else min(CORES, self._jobs)
        self._input, self._output = stage.input_size, stage.store.size
        self._layout = self._core_layout()

    def generate(self) -> tuple[list[Transfer], bytes]:
        """Transfers to make, then operations that start the stage and wait for its end."""
        self._core_programs()
        self._mem_tile()
        self._shim()
        column = self._out.column
        enables = b"".join(
            write(array.tile_address(column, array.FIRST_CORE_ROW + core, array.CORE_CONTROL), array.CORE_CONTROL_ENABLE)
            for core in range(self._cores)
        )
        wait = operation(
            Opcode.WAIT_TCTS,
            tile=array.tile_id(column, array.SHIM_ROW),
            actor=array.SHIM_ACTOR_S2MM[0],
            count=1,
        )
        return self._out.transfers, enables + bytes(self._out.starts) + wait

    def _core_layout(self) -> CoreLayout:
        scratch = align(self._stage.parameter_size)
        at = scratch + align(self._stage.scratch)
        inputs = [at + slot * align(self._input) for slot in range(self._slots)]
        at += self._slots * align(self._input)
        outputs = [at + slot * align(self._output) for slot in range(self._slots)]
        at += self._slots * align(self._output)
        if at > array.CORE_DATA_SIZE:
            raise CompileError(f"layer {self._stage.name}: its tiles take {at} bytes; a core has {array.CORE_DATA_SIZE}")
        return CoreLayout((inputs[0], inputs[-1]), (outputs[0], outputs[-1]), 0, scratch)

    def _core_programs(self) -> None:
        stage, layout = self._stage, self._layout
        tiles = [(y, x) for y in self._rows for x in range(stage.tiles_x)]
        if stage.by_columns:
            tiles.sort(key=lambda tile: tile[::-1])
        jobs = [stage.job(y, x) for y, x in tiles]
        for core in range(self._cores):
            turns = [
                [jobs[g - p * len(jobs)] for g in range(p * len(jobs), (p + 1) * len(jobs)) if g % CORES == core]
                for p in range(stage.passes)
            ]
            tile = array.tile_address(self._out.column, array.FIRST_CORE_ROW + core)
            if stage.blocks > 1:
                code = round_program(turns[0], layout, rounds=self._rounds, blocks=stage.blocks)
            else:
                code = program(turns, layout, parameters=bool(stage.parameters))
            self._out.transfers.append(Transfer(tile + array.CORE_PROGRAM, code))
            count = self._counts[core]
            bds, starts = b"", []
            channel = tile + array.CORE_CHANNEL_CONTROL + 4
            if count:
                stride = layout.inputs[1] - layout.inputs[0]
                bds += _core_bd(layout.inputs[0], self._input, INPUT_FREE, INPUT_FULL, slots=self._slots, stride=stride)
                stride = layout.outputs[1] - layout.outputs[0]
                bds += _core_bd(layout.outputs[0], self._output, OUTPUT_FULL, OUTPUT_FREE, slots=self._slots, stride=stride)
                starts = [(channel, 0, count), (channel + 16, 1, count)]
            if stage.parameters:
                starts.append((channel + 8, len(bds) // array.CORE_BD_STRIDE, self._fillings))
                size = stage.parameter_size
                bds += _core_bd(layout.parameters, size, PARAMETERS_FREE, PARAMETERS_FULL, slots=1, stride=0)
            self._out.transfers.append(Transfer(tile + array.CORE_BD, bds))
            for start in starts:
                self._out.start(*start)

    def _turns(self, address: int, size: int, acquire: int, release: int, channel: int, *, mm2s: bool) -> None:
        """A mem tile channel that serves the cores' slots in turn: a chain of four BDs, then one of what is left over."""
        stride = CORES * align(size)
        rounds, rest = divmod(self._jobs, CORES)
        bds, starts = b"", []
        for count, runs, current in ((CORES, rounds, 0), (rest, 1, rounds % self._slots)):
            if not count or not runs:
                continue
            first = len(bds) // array.MEM_BD_STRIDE
            starts.append((first, runs))
            for core in range(count):
                last = core + 1 == count
                bds += _mem_bd(
                    address + core * align(size),
                    size,
                    acquire + core,
                    release + core,
                    slots=self._slots,
                    stride=stride,
                    iteration_current=current,
                    use_next_bd=int(not last),
                    next_bd=0 if last else first + core + 1,
                )
        self._mem_start(channel, bds, starts, mm2s=mm2s)

    def _mem_start(self, channel: int, bds: bytes, starts: list[tuple[int, int]], *, mm2s: bool) -> None:
        bd_address, start_address = _mem_channel(self._out.column, channel, mm2s=mm2s)
        self._out.transfers.append(Transfer(bd_address, bds))
        for first, runs in starts:
            self._out.start(start_address, first, runs)

    def _mem_tile(self) -> None:
        stage, slots = self._stage, self._slots
        inputs, outputs = 0, slots * CORES * align(self._input)
        parameters = outputs + slots * CORES * align(self._output)
        parameter_slots = min(streams.MEM_SLOTS, self._fillings)
        end = parameters + parameter_slots * align(stage.parameter_size)
        if end > array.MEM_TILE_SIZE:
            raise CompileError(f"layer {stage.name}: its tiles take {end} bytes; a mem tile has {array.MEM_TILE_SIZE}")
        self._turns(inputs, self._input, streams.MEM_INPUT_FREE, streams.MEM_INPUT_FULL, 0, mm2s=False)
        for core, count in enumerate(self._counts):
            if not count:
                continue
            address, stride = inputs + core * align(self._input), CORES * align(self._input)
            locks = (streams.MEM_INPUT_FULL + core, streams.MEM_INPUT_FREE + core)
            bd = _mem_bd(address, self._input, *locks, slots=slots, stride=stride)
            self._mem_start(core, bd, [(0, count)], mm2s=True)
            address, stride = outputs + core * align(self._output), CORES * align(self._output)
            locks = (streams.MEM_OUTPUT_FREE + core, streams.MEM_OUTPUT_FULL + core)
            bd = _mem_bd(address, self._output, *locks, slots=slots, stride=stride)
            self._mem_start(streams.MEM_OUTPUT_S2MM + core, bd, [(0, count)], mm2s=False)
        locks = (streams.MEM_OUTPUT_FULL, streams.MEM_OUTPUT_FREE)
        self._turns(outputs, self._output, *locks, streams.MEM_OUTPUT_MM2S, mm2s=True)
        if stage.parameters:
            size, stride = stage.parameter_size, align(stage.parameter_size)
            free, full = streams.MEM_PARAMETERS_FREE, streams.MEM_PARAMETERS_FULL
            bd = _mem_bd(parameters, size, free, full, slots=parameter_slots, stride=stride)
            self._mem_start(streams.MEM_PARAMETER_S2MM, bd, [(0, self._fillings)], mm2s=False)
            bd = _mem_bd(parameters, size, full, free, slots=parameter_slots, stride=stride)
            self._mem_start(streams.MEM_PARAMETER_MM2S, bd, [(0, self._fillings)], mm2s=True)

    def _shim(self) -> None:
        stage = self._stage
        shim = _Shim(self._out, self._places)
        if len(stage.fetches) == 1:
            fetches = [
                [(stage.fetches[0], task)] for task in job_tasks(stage.fetches[0], self._rows, stage.tiles_x, stage.passes)
            ]
        else:
            chains = interleaved_tasks(stage.fetches, self._rows, stage.tiles_x)
            fetches = [list(zip(stage.fetches, chain, strict=True)) for chain in chains]
        mm2s = array.SHIM_MM2S_START
        shim.queue(mm2s, fetches)
        if stage.parameters:
            if stage.blocks > 1:
                (part,) = stage.parameters
                again = [Dimension(stage.blocks, part.run), Dimension(self._rounds, 0)]
                parts = [(part, task) for task in tasks(part.offset, part.run, again)]
            else:
                parts = [(part, task) for part in stage.parameters for task in job_tasks(part, range(1), 1, stage.passes)]
            shim.queue(mm2s + array.SHIM_CHANNEL_STRIDE, [[part] for part in parts])
        stores = job_tasks(stage.store, self._rows, stage.tiles_x, stage.passes, by_columns=stage.by_columns)
        shim.queue(array.SHIM_S2MM_START, [[(stage.store, task)] for task in stores], token=True)
        shim.finish(stage.name)


class _Shim:
    """The shim's BDs, each kept once however often it is queued."""

    def __init__(self, out: _Column, places: Mapping[str, Place]) -> None:
        self._out = out
        self._places = places
        self._bds: dict[tuple[bytes, str], int] = {}

    def _bd(self, data: bytes, symbol: str) -> int:
        return self._bds.setdefault((data, symbol), len(self._bds))

    def queue(self, start: int, chains: list[list[tuple[Operand, ShimTask]]], *, token: bool = False) -> None:
        """Queues chains of BDs on the channel with the given start queue; the last may ask for a token."""
        if len(chains) > array.START_QUEUE_DEPTH:
            raise CompileError(f"{len(chains)} shim DMA tasks; a start queue holds {array.START_QUEUE_DEPTH}")
        tile = array.tile_address(self._out.column, array.SHIM_ROW)
        for index, chain in enumerate(chains):
            following: dict[str, int] = {}
            first = 0
            for operand, task in reversed(chain):
                place = self._places[operand.buffer]
                first = self._bd(task.bd(place.offset, **following), place.symbol)
                following = {"use_next_bd": 1, "next_bd": first}
            last = token and index + 1 == len(chains)
            self._out.start(tile + start, first, chain[0][1].runs, token=last)

    def finish(self, name: str) -> None:
        """Writes the BDs."""
        if len(self._bds) > array.SHIM_BDS:
            raise CompileError(f"layer {name}: its transfers take {len(self._bds)} shim BDs; there are {array.SHIM_BDS}")
        data, patches = b"", []
        for words, symbol in self._bds:
            patches.append(Patch(len(data), symbol))
            data += words + bytes(array.SHIM_BD_STRIDE - len(words))
        tile = array.tile_address(self._out.column, array.SHIM_ROW)
        self._out.transfers.append(Transfer(tile + array.SHIM_BD, data, tuple(patches)))
