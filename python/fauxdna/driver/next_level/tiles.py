"""Tiles of contexts: status of columns, core dumps, registers and memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from fauxdna.abi import messages_5_24 as firmware
from fauxdna.abi import uapi_next
from fauxdna.abi._declare import Record
from fauxdna.abi.uapi_next import NextArray, NextState

from ...errors import BufferTooSmall, InvalidArgument
from ..client import Client
from ..open_files import HardwareContext
from ..vf import Vf
from ._common import argument, contexts_of, not_there, owned, statistics_of, tile_info, vf_of
from .array_access import core_dump, read_tile, write_tile


def aie_status(client: Client, size: int) -> tuple[bytes, int]:
    """AIE_STATUS into a buffer of ``size`` bytes: status of the columns that contexts have, and their bit map.

    Raises:
        InvalidArgument: ``EINVAL`` for a buffer that could not hold all columns.
    """
    vf = vf_of(client, "AIE_STATUS")
    info = tile_info(vf)
    if info.cols * info.size > size:
        raise InvalidArgument(f"AIE status into {size} bytes", f"give {info.cols} columns of {info.size} bytes")
    bitmap = 0
    for _, _, context in contexts_of(vf):
        statistics = statistics_of(vf, context)
        if statistics is not None:
            bitmap |= ((1 << statistics.columns) - 1) << statistics.column
    if not bitmap:
        return b"", 0
    with vf.memory.driver_memory(info.cols * info.size) as (backing, address):
        response = vf.ask("AIE_COLUMN_INFO", dump_buff_addr=address, dump_buff_size=info.cols * info.size, aie4_col_bitmap=bitmap)
        return os.pread(backing.fd, min(response.size, backing.length), backing.offset), bitmap


def _core_dump(client: Client, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
    vf = vf_of(client, "AIE_COREDUMP")
    wanted = argument(uapi_next.AIE_COREDUMP, element_size, count, data)
    context = owned(client, wanted.pid, wanted.context_id)
    size = tile_info(vf).rows * tile_info(vf).cols * firmware.COREDUMP_BUFFER_SIZE
    if element_size < size:
        raise BufferTooSmall(f"core dump into {element_size} bytes", needed=size)
    return size, 1, core_dump(vf, context, size // firmware.COREDUMP_BUFFER_SIZE)


def _tile_read(client: Client, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
    vf = vf_of(client, "AIE_TILE_READ")
    wanted = argument(uapi_next.AIE_TILE_ACCESS, element_size, count, data)
    context = _tile_context(client, vf, wanted)
    read = read_tile(vf, context, wanted)
    return min(element_size, len(read)), 1, read[:element_size]


def _tile_write(client: Client, data: bytes) -> None:
    vf = vf_of(client, "AIE_TILE_WRITE")
    wanted = argument(uapi_next.AIE_TILE_ACCESS, len(data), 1, data)
    context = _tile_context(client, vf, wanted)
    rest = data[uapi_next.AIE_TILE_ACCESS.size :]
    if len(rest) < wanted.size:
        raise InvalidArgument(f"{wanted.size} bytes to write, {len(rest)} given", "put the data behind the request")
    write_tile(vf, context, wanted, rest[: wanted.size])


def _tile_context(client: Client, vf: Vf, wanted: Record) -> HardwareContext:
    context = owned(client, wanted.pid, wanted.context_id)
    statistics = statistics_of(vf, context)
    if statistics is None:
        raise not_there(wanted.pid, wanted.context_id)
    rows = tile_info(vf).rows
    if wanted.col >= statistics.columns or wanted.row >= rows:
        raise InvalidArgument(
            f"tile column {wanted.col} row {wanted.row} of a context of {statistics.columns} columns", f"rows are 0 to {rows - 1}"
        )
    return context


ARRAYS: Final[dict[int, Callable[[Client, int, int, bytes], tuple[int, int, bytes]]]] = {
    NextArray.AIE_COREDUMP: _core_dump,
    NextArray.AIE_TILE_READ: _tile_read,
}
STATES: Final[dict[int, Callable[[Client, bytes], None]]] = {
    NextState.AIE_TILE_WRITE: _tile_write,
}
