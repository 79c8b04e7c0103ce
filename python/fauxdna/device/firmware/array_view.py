"""The array as debug messages show it: which registers a tile's status comes from, and the layout XRT reads it in.

A column's status is that of its core tiles, mem tile and shim tile, from low rows up within a kind; a tile's is, for each DMA
channel, the S2MM and the MM2S status word, then event words, for a core tile two sets of those and core status, program counter,
stack pointer and link register, then a byte for each lock (XRT ``core/common/info_aie2.cpp``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from fauxdna.abi import array

EVENTS: Final = 8
"""Event words of each module (chosen, as Linux reports for AIE2); this array counts no events, so they are 0."""
CORE_CHANNELS: Final = max(array.CORE_S2MM, array.CORE_MM2S)
MEM_CHANNELS: Final = max(array.MEM_S2MM, array.MEM_MM2S)
SHIM_CHANNELS: Final = max(array.SHIM_S2MM, array.SHIM_MM2S)
FIRST_CORE: Final = array.MEM_ROW + 1
"""Row of the first core tile, as rows are counted in messages; in addresses it is ``array.FIRST_CORE_ROW``."""
ROWS: Final = FIRST_CORE + array.CORE_ROWS
TILE_VIEW: Final = 1 << array.ROW_SHIFT
"""Bytes of a tile's address range."""

_CORE_SIZE: Final = 8 * CORE_CHANNELS + 4 * EVENTS * 2 + 4 * 4 + array.CORE_LOCKS
_MEM_SIZE: Final = 8 * MEM_CHANNELS + 4 * EVENTS + array.MEM_LOCKS
_SHIM_SIZE: Final = 8 * SHIM_CHANNELS + 4 * EVENTS + array.SHIM_LOCKS
COLUMN_STATUS_SIZE: Final = _CORE_SIZE * array.CORE_ROWS + _MEM_SIZE + _SHIM_SIZE

_CORE_MM2S_STATUS: Final = 0x10
"""Status of a core tile's MM2S channels, behind that of S2MM channel 0 (``array.CORE_CHANNEL_STATUS``)."""
_XRT_DEBUG_HALT: Final = 1 << 16
_XRT_ERROR_HALT: Final = 1 << 19
"""Bits of a core's status in XRT's list, where this array has no such bit of the same place."""

Read = Callable[[int, int], bytes]
"""Reads words: array address, and how many."""


def tile_address(column: int, row: int) -> int:
    """Address of a tile by rows as messages count them."""
    place = row if row < FIRST_CORE else row - FIRST_CORE + array.FIRST_CORE_ROW
    return column << array.COLUMN_SHIFT | place << array.ROW_SHIFT


def column_status(read: Read, column: int) -> bytes:
    """Status of a column's tiles, :data:`COLUMN_STATUS_SIZE` bytes."""
    rows = [*range(FIRST_CORE, ROWS), array.MEM_ROW, array.SHIM_ROW]
    return b"".join(_tile_status(read, tile_address(column, row), row) for row in rows)


def tile_dump(read: Read, column: int, row: int) -> bytes:
    """What a tile's address range shows of memories, DMA status, locks and core; what is not there reads 0."""
    base = tile_address(column, row)
    view = bytearray(TILE_VIEW)
    areas = [(offset, 4) for offset in _channel_words(row) if offset is not None]
    areas += [(offset, 4) for offset in _lock_words(row)]
    if row >= FIRST_CORE:
        areas += [(array.CORE_DATA, array.CORE_DATA_SIZE), (array.CORE_PROGRAM, array.CORE_PROGRAM_SIZE)]
        areas += [(offset, 4) for offset in (array.CORE_CONTROL, array.CORE_STATUS, array.CORE_PC, array.CORE_FAULT)]
    elif row == array.MEM_ROW:
        areas.append((array.MEM_DATA, array.MEM_DATA_SIZE))
    for offset, size in areas:
        view[offset : offset + size] = read(base + offset, size // 4)
    return bytes(view)


def _tile_status(read: Read, base: int, row: int) -> bytes:
    def word(offset: int | None) -> int:
        return 0 if offset is None else int.from_bytes(read(base + offset, 1), "little")

    channels = [word(offset) for offset in _channel_words(row)]
    locks = bytes(word(offset) & 0xFF for offset in _lock_words(row))
    core: list[int] = []
    events = EVENTS
    if row >= FIRST_CORE:
        events *= 2
        status = word(array.CORE_STATUS)
        shown = status & (array.CORE_STATUS_ENABLED | array.CORE_STATUS_RESET)
        shown |= _XRT_DEBUG_HALT if status & array.CORE_STATUS_HALTED else 0
        shown |= _XRT_ERROR_HALT if status & array.CORE_STATUS_FAULT else 0
        # Tile programs have neither stack nor link register.
        core = [shown, word(array.CORE_PC), 0, 0]
    words = [*channels, *(0,) * events, *core]
    return struct.pack(f"<{len(words)}I", *words) + locks


def _channel_words(row: int) -> list[int | None]:
    """Offsets of status words, S2MM and MM2S of each channel in turn; None where there is no such channel."""
    if row >= FIRST_CORE:
        return [
            offset
            for channel in range(CORE_CHANNELS)
            for offset in (
                array.CORE_CHANNEL_STATUS + 4 * channel if channel < array.CORE_S2MM else None,
                array.CORE_CHANNEL_STATUS + _CORE_MM2S_STATUS + 4 * channel if channel < array.CORE_MM2S else None,
            )
        ]
    if row == array.MEM_ROW:
        return [
            offset
            for channel in range(MEM_CHANNELS)
            for offset in (
                _in_half(array.MEM_S2MM_STATUS, channel, array.MEM_S2MM, array.MEM_S2MM_PER_HALF),
                _in_half(array.MEM_MM2S_STATUS, channel, array.MEM_MM2S, array.MEM_MM2S_PER_HALF),
            )
        ]
    return [
        offset
        for channel in range(SHIM_CHANNELS)
        for offset in (
            _in_half(array.SHIM_S2MM_STATUS, channel, array.SHIM_S2MM, array.SHIM_S2MM_PER_HALF),
            _in_half(array.SHIM_MM2S_STATUS, channel, array.SHIM_MM2S, array.SHIM_MM2S_PER_HALF),
        )
    ]


def _in_half(first: int, channel: int, count: int, per_half: int) -> int | None:
    if channel >= count:
        return None
    half, index = divmod(channel, per_half)
    return first + half * array.HALF_STRIDE + 4 * index


def _lock_words(row: int) -> list[int]:
    if row >= FIRST_CORE:
        return [array.CORE_LOCK_VALUE + array.LOCK_STRIDE * lock for lock in range(array.CORE_LOCKS)]
    if row == array.MEM_ROW:
        halves = [divmod(lock, array.MEM_LOCKS_PER_HALF) for lock in range(array.MEM_LOCKS)]
        return [array.MEM_LOCK_VALUE + half * array.HALF_STRIDE + array.LOCK_STRIDE * lock for half, lock in halves]
    return [array.SHIM_LOCK_VALUE + array.LOCK_STRIDE * lock for lock in range(array.SHIM_LOCKS)]
