"""Messages that look into the array, and those that configure a context (protocol 5.24)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from fauxdna.abi import messages_5_24 as abi
from fauxdna.abi import uc_log
from fauxdna.abi.messages import Status
from fauxdna.abi.messages_5_24 import ContextProperty, DebugAccess, LogLevel, RuntimeConfig

from .array_view import COLUMN_STATUS_SIZE, ROWS, TILE_VIEW, column_status, tile_address, tile_dump
from .contexts import context_of
from .state import Context, Refusal, Request

_KEPT: Final = (ContextProperty.DPM, ContextProperty.HANDLE)
"""Hints: taken, and not acted on."""


def column_info(request: Request) -> bytes:
    """Status of the asked columns, one after another, as the VF's contexts have them: each context has its own tiles."""
    fields, sender = request.fields, request.sender
    columns = [column for column in range(32) if fields.aie4_col_bitmap >> column & 1]
    size = COLUMN_STATUS_SIZE * len(columns)
    if fields.dump_buff_size < size:
        raise Refusal(f"{len(columns)} columns take {size} bytes; the buffer has {fields.dump_buff_size}")
    states = {
        context: request.firmware.engine.context_state(context.handle)["state"] == "running"
        for context in sender.contexts.values()
    }
    data = b""
    for column in columns:
        there = [context for context in states if context.column <= column < context.column + context.columns]
        if not there:
            raise Refusal(f"no context of the VF has column {column}")
        # Of several, the one that runs.
        context = max(there, key=lambda context: states[context])
        data += column_status(_reader(request, context), column - context.column)
    if data:
        request.write_memory(fields.dump_buff_addr, data)
    return request.answer(size=size)


def debug_access(request: Request) -> bytes:
    """Reads or writes a register, or a block of memory by way of host memory, in a context's tile."""
    fields = request.fields
    context = context_of(request, fields.hw_context_id)
    if fields.col >= context.columns or fields.row >= ROWS:
        raise Refusal(f"tile column {fields.col} row {fields.row}; the context has {context.columns} columns of {ROWS} rows")
    base = tile_address(fields.col, fields.row)
    if fields.opcode in (DebugAccess.REG_READ, DebugAccess.REG_WRITE):
        offset, value = fields.buffer_addr & 0xFFFF_FFFF, fields.buffer_addr >> 32
        _check_inside(offset, 4)
        if fields.opcode == DebugAccess.REG_WRITE:
            _write(request, context, base + offset, struct.pack("<I", value))
            return request.answer()
        return request.answer(reg_rval=int.from_bytes(_reader(request, context)(base + offset, 1), "little"))
    if fields.opcode not in (DebugAccess.BLOCK_READ, DebugAccess.BLOCK_WRITE):
        raise Refusal(f"access {fields.opcode}; there are 0 to {max(DebugAccess).value}")
    if fields.mem_size > fields.buffer_size:
        raise Refusal(f"{fields.mem_size} bytes of a buffer of {fields.buffer_size}")
    _check_inside(fields.mem_addr, fields.mem_size)
    if fields.opcode == DebugAccess.BLOCK_READ:
        data = _reader(request, context)(base + fields.mem_addr, fields.mem_size // 4)
        request.write_memory(fields.buffer_addr, data)
    else:
        _write(request, context, base + fields.mem_addr, request.read_memory(fields.buffer_addr, fields.mem_size))
    return request.answer()


def coredump(request: Request) -> bytes:
    """Each tile's address range into a buffer of its own, column by column, rows upwards."""
    fields = request.fields
    context = context_of(request, fields.context_id)
    tiles = [(column, row) for column in range(context.columns) for row in range(ROWS)]
    if fields.num_buffers < len(tiles):
        raise Refusal(f"{fields.num_buffers} buffers; the context's {len(tiles)} tiles take one each")
    size = abi.COREDUMP_BUFFER.size
    buffers = request.read_memory(fields.buffer_list_addr, size * len(tiles))
    for index, (column, row) in enumerate(tiles):
        buffer = abi.COREDUMP_BUFFER.unpack(buffers, size * index)
        if buffer.buffer_size < TILE_VIEW:
            raise Refusal(f"buffer {index} has {buffer.buffer_size} bytes; a tile takes {TILE_VIEW}")
        request.write_memory(buffer.buffer_address, tile_dump(_reader(request, context), column, row))
    return request.answer()


def configure_context(request: Request) -> bytes:
    """Log and debug buffers of the micro-controllers; hints, which change nothing."""
    fields = request.fields
    context = context_of(request, fields.hw_context_id)
    if fields.property == ContextProperty.CERT_LOG_BUFFER:
        level = request.sender.config.get(RuntimeConfig.DYNAMIC_LOGGING_LEVEL, LogLevel.ERROR)
        buffers = _log_buffers(request.payload) if level > LogLevel.NONE else []
        request.firmware.engine.set_uc_log(context.handle, buffers, level >= LogLevel.INFORMATION)
    elif fields.property == ContextProperty.CERT_DEBUG_BUFFER:
        request.firmware.engine.set_uc_debug(context.handle, _buffers(request.payload))
    elif fields.property not in _KEPT:
        name = ContextProperty(fields.property).name if fields.property in set(ContextProperty) else str(fields.property)
        raise Refusal(f"property {name} can't be configured", Status.NOTSUPP)
    return request.answer()


def _log_buffers(payload: bytes) -> list[tuple[int, int]]:
    buffers = _buffers(payload)
    for uc, (address, size) in enumerate(buffers):
        if size and (not uc_log.BUFFER_MINIMUM <= size <= uc_log.BUFFER_MAXIMUM or size % uc_log.LOG_ENTRY.size or address % 4):
            raise Refusal(
                f"log buffer of {size} bytes at {address:#x} for uC {uc}; a multiple of {uc_log.LOG_ENTRY.size} from "
                f"{uc_log.BUFFER_MINIMUM} to {uc_log.BUFFER_MAXIMUM} at a multiple of 4"
            )
    return buffers


def _buffers(payload: bytes) -> list[tuple[int, int]]:
    """Address and size of each micro-controller's share; nothing where none has one."""
    start = abi.CONFIGURE_HW_CONTEXT_REQUEST.offsets["data"]
    if not abi.CERT_LOGGING.unpack(payload, start).num:
        return []
    words = struct.unpack_from(f"<{3 * abi.UC_COUNT}I", payload, start + abi.CERT_LOGGING.offsets["info"])
    return [(words[3 * uc + 1] << 32 | words[3 * uc], words[3 * uc + 2]) for uc in range(abi.UC_COUNT)]


def _check_inside(offset: int, size: int) -> None:
    if offset % 4 or size % 4 or not size or offset + size > TILE_VIEW:
        raise Refusal(f"{size} bytes at {offset:#x} of a tile; whole words below {TILE_VIEW:#x}")


def _reader(request: Request, context: Context) -> Callable[[int, int], bytes]:
    return partial(_read, request, context)


def _read(request: Request, context: Context, address: int, words: int) -> bytes:
    try:
        return request.firmware.engine.read_array(context.handle, address, words)
    except OSError as error:
        raise Refusal(str(error.strerror)) from None


def _write(request: Request, context: Context, address: int, data: bytes) -> None:
    try:
        request.firmware.engine.write_array(context.handle, address, data)
    except OSError as error:
        raise Refusal(str(error.strerror)) from None


HANDLERS: Final[Mapping[str, Callable[[Request], bytes]]] = {
    "AIE_COLUMN_INFO": column_info,
    "AIE_DEBUG_ACCESS": debug_access,
    "AIE_COREDUMP": coredump,
    "CONFIGURE_HW_CONTEXT": configure_context,
}
