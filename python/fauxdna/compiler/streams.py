"""The stream circuits of a column, the same for every stage, and the locks' first values.

Up: shim MM2S0 (activations) and MM2S1 (parameters) to the mem tile; mem MM2S k on lane k to core k's S2MM0; mem MM2S4 on lane 4
to all cores' S2MM1. Down: core k's MM2S0 on south lane k to mem S2MM 4+k; mem MM2S9 to shim S2MM0.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count, takewhile

from ..abi import array
from ..abi.array import TileKind
from ..abi.switch import SWITCHES
from .control_code import Transfer, words, write
from .tile_code import CORE_LOCKS, LOCK_INITIAL

PARAMETER_LANE = array.CORE_ROWS
MEM_PARAMETER_S2MM = 1
MEM_PARAMETER_MM2S = array.CORE_ROWS
MEM_OUTPUT_S2MM = 4
"""The mem tile's S2MM channel of core 0's output; core k's is k above."""
MEM_OUTPUT_MM2S = 9

# Locks of a mem tile, by core; then those of the parameters.
MEM_INPUT_FREE = 0
MEM_INPUT_FULL = 4
MEM_OUTPUT_FREE = 8
MEM_OUTPUT_FULL = 12
MEM_PARAMETERS_FREE = 16
MEM_PARAMETERS_FULL = 17
_MEM_LOCKS = 18
MEM_SLOTS = 2

_ENABLED_SLAVE = array.SWITCH_SLAVE.encode(enable=1)[0]


def _switch(column: int, row: int, routes: Mapping[int, int]) -> list[Transfer]:
    """All registers of a switch: ``routes`` maps a master port to the slave port it follows; the others are off."""
    kind = {array.SHIM_ROW: TileKind.SHIM, array.MEM_ROW: TileKind.MEM}.get(row, TileKind.CORE)
    switch = SWITCHES[kind]
    registers = dict.fromkeys(map(switch.master, switch.master_ports), 0)
    registers |= dict.fromkeys(map(switch.slave, switch.slave_ports), 0)
    for port, source in routes.items():
        registers[switch.master(port)] = array.SWITCH_MASTER.encode(enable=1, select=source)[0]
        registers[switch.slave(source)] = _ENABLED_SLAVE
    # One block for each run of neighbours.
    starts = [offset for offset in sorted(registers) if offset - 4 not in registers]
    blocks = [[*takewhile(registers.__contains__, count(start, 4))] for start in starts]
    return [
        Transfer(array.tile_address(column, row, block[0]), words(*(registers[offset] for offset in block))) for block in blocks
    ]


def _shim(column: int) -> list[Transfer]:
    north = array.SHIM_MASTER_NORTH
    routes = {
        north[0]: array.SHIM_SLAVE_DMA,
        north[1]: array.SHIM_SLAVE_DMA + 1,
        array.SHIM_MASTER_DMA[0]: array.SHIM_SLAVE_NORTH,
    }
    return _switch(column, array.SHIM_ROW, routes)


def _mem(column: int) -> list[Transfer]:
    routes = {
        array.MEM_MASTER_DMA: array.MEM_SLAVE_SOUTH[0],
        array.MEM_MASTER_DMA + MEM_PARAMETER_S2MM: array.MEM_SLAVE_SOUTH[1],
        array.MEM_MASTER_NORTH + PARAMETER_LANE: array.MEM_SLAVE_DMA[MEM_PARAMETER_MM2S],
        array.MEM_MASTER_SOUTH[0]: array.MEM_SLAVE_DMA[MEM_OUTPUT_MM2S],
    }
    for core in range(array.CORE_ROWS):
        routes[array.MEM_MASTER_NORTH + core] = array.MEM_SLAVE_DMA[core]
        routes[array.MEM_MASTER_DMA + MEM_OUTPUT_S2MM + core] = array.MEM_SLAVE_NORTH[core]
    return _switch(column, array.MEM_ROW, routes)


def _core(column: int, core: int) -> list[Transfer]:
    south = array.CORE_SLAVE_SOUTH
    routes = {
        array.CORE_MASTER_DMA: south + core,
        array.CORE_MASTER_DMA + 1: south + PARAMETER_LANE,
        array.CORE_MASTER_SOUTH[core]: array.CORE_SLAVE_DMA,
    }
    if core + 1 < array.CORE_ROWS:
        for lane in (*range(core + 1, array.CORE_ROWS), PARAMETER_LANE):
            routes[array.CORE_MASTER_NORTH + lane] = south + lane
    for above in range(core + 1, array.CORE_ROWS):
        routes[array.CORE_MASTER_SOUTH[above]] = array.CORE_SLAVE_NORTH[above]
    return _switch(column, array.FIRST_CORE_ROW + core, routes)


def circuits(column: int) -> list[Transfer]:
    """Register writes that connect a column's streams."""
    transfers = _shim(column) + _mem(column)
    for core in range(array.CORE_ROWS):
        transfers += _core(column, core)
    return transfers


def locks(column: int) -> bytes:
    """Operations that give a column's locks their first values; every stage leaves them as it found them."""
    values = [0] * _MEM_LOCKS
    for core in range(array.CORE_ROWS):
        values[MEM_INPUT_FREE + core] = values[MEM_OUTPUT_FREE + core] = MEM_SLOTS
    values[MEM_PARAMETERS_FREE] = MEM_SLOTS
    mem = array.tile_address(column, array.MEM_ROW, array.MEM_LOCK_VALUE)
    code = b"".join(write(mem + lock * array.LOCK_STRIDE, value) for lock, value in enumerate(values))
    for core in range(array.CORE_ROWS):
        tile = array.tile_address(column, array.FIRST_CORE_ROW + core, array.CORE_LOCK_VALUE)
        code += b"".join(write(tile + lock * array.LOCK_STRIDE, LOCK_INITIAL.get(lock, 0)) for lock in range(CORE_LOCKS))
    return code
