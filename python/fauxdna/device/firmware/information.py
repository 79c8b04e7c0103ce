"""Messages that ask what the array is like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fauxdna.abi import array

from . import array_view
from .state import Request

_VERSION: Final = (1, 1)
"""Versions of this structure and of a column's status that XRT 2.25 knows (``core/common/info_aie2.cpp``)."""


def tile_info(request: Request) -> bytes:
    """Geometry, DMA channels, locks and event registers; ``size`` is that of a column's status (AIE_COLUMN_INFO)."""
    return request.answer(
        size=array_view.COLUMN_STATUS_SIZE,
        major=_VERSION[0],
        minor=_VERSION[1],
        cols=request.firmware.columns,
        rows=array_view.ROWS,
        core_rows=array.CORE_ROWS,
        mem_rows=1,
        shim_rows=1,
        core_row_start=array_view.FIRST_CORE,
        mem_row_start=array.MEM_ROW,
        shim_row_start=array.SHIM_ROW,
        core_dma_channels=array_view.CORE_CHANNELS,
        mem_dma_channels=array_view.MEM_CHANNELS,
        shim_dma_channels=array_view.SHIM_CHANNELS,
        core_locks=array.CORE_LOCKS,
        mem_locks=array.MEM_LOCKS,
        shim_locks=array.SHIM_LOCKS,
        core_events=array_view.EVENTS,
        mem_events=array_view.EVENTS,
        shim_events=array_view.EVENTS,
    )


def version_info(request: Request) -> bytes:
    """Version of a column's status."""
    return request.answer(major=_VERSION[0], minor=_VERSION[1])


HANDLERS: Final[Mapping[str, Callable[[Request], bytes]]] = {"AIE_TILE_INFO": tile_info, "AIE_VERSION_INFO": version_info}
