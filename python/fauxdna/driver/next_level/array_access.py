"""Tiles of a context, read and written by way of firmware: registers in messages, memory and core dumps through driver memory."""

from __future__ import annotations

import os
from typing import Final

from fauxdna.abi import messages_5_24 as firmware
from fauxdna.abi._declare import Record
from fauxdna.abi.messages_5_24 import DebugAccess
from fauxdna.abi.uapi_next import TILE_ACCESS_MOST

from ...errors import InvalidArgument
from ..open_files import HardwareContext
from ..vf import Vf

_REGISTER: Final = 4


def read_tile(vf: Vf, context: HardwareContext, wanted: Record) -> bytes:
    """AIE_TILE_READ: a register, or ``wanted.size`` bytes of memory."""
    place = {"hw_context_id": context.id, "row": wanted.row, "col": wanted.col}
    if wanted.size == _REGISTER:
        answer = vf.ask("AIE_DEBUG_ACCESS", opcode=DebugAccess.REG_READ, buffer_addr=wanted.addr, **place)
        return answer.reg_rval.to_bytes(_REGISTER, "little")
    _check(wanted.size)
    with vf.memory.driver_memory(wanted.size) as (backing, address):
        vf.ask(
            "AIE_DEBUG_ACCESS",
            opcode=DebugAccess.BLOCK_READ,
            buffer_addr=address,
            buffer_size=wanted.size,
            mem_addr=wanted.addr,
            mem_size=wanted.size,
            **place,
        )
        return os.pread(backing.fd, wanted.size, backing.offset)


def write_tile(vf: Vf, context: HardwareContext, wanted: Record, data: bytes) -> None:
    """AIE_TILE_WRITE: a register, or ``wanted.size`` bytes of memory."""
    place = {"hw_context_id": context.id, "row": wanted.row, "col": wanted.col}
    if wanted.size == _REGISTER:
        value = int.from_bytes(data, "little") << 32 | wanted.addr
        vf.ask("AIE_DEBUG_ACCESS", opcode=DebugAccess.REG_WRITE, buffer_addr=value, **place)
        return
    _check(wanted.size)
    with vf.memory.driver_memory(wanted.size) as (backing, address):
        os.pwrite(backing.fd, data, backing.offset)
        vf.ask(
            "AIE_DEBUG_ACCESS",
            opcode=DebugAccess.BLOCK_WRITE,
            buffer_addr=address,
            buffer_size=wanted.size,
            mem_addr=wanted.addr,
            mem_size=wanted.size,
            **place,
        )


def core_dump(vf: Vf, context: HardwareContext, tiles: int) -> bytes:
    """AIE_COREDUMP: a buffer of 1 MiB for each of ``tiles`` tiles; those that the context has not are 0."""
    size = firmware.COREDUMP_BUFFER_SIZE
    entry = firmware.COREDUMP_BUFFER
    with (
        vf.memory.driver_memory(tiles * size, size) as (data, address),
        vf.memory.driver_memory(tiles * entry.size) as (buffers, list_address),
    ):
        entries = [entry.pack(buffer_address=address + index * size, buffer_size=size) for index in range(tiles)]
        os.pwrite(buffers.fd, b"".join(entries), buffers.offset)
        vf.ask("AIE_COREDUMP", context_id=context.id, num_buffers=tiles, buffer_list_addr=list_address)
        return os.pread(data.fd, tiles * size, data.offset)


def _check(size: int) -> None:
    if not 0 < size <= TILE_ACCESS_MOST:
        raise InvalidArgument(f"{size} bytes of a tile", f"ask for 1 to {TILE_ACCESS_MOST}")
