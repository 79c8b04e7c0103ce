"""Messages that ask what the array is like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fauxdna.abi import array

from .state import Request

_EVENTS: Final = 8
"""Event registers of each tile kind, as Linux reports for AIE2 (chosen)."""
_VERSION: Final = (4, 0)
"""AIE4 (chosen)."""
_ARRAY_CORE_ROW: Final = array.MEM_ROW + 1
"""Array row of the first core tile; its address row is another (``array.FIRST_CORE_ROW``)."""


def tile_info(request: Request) -> bytes:
    """Geometry, DMA channels, locks and event registers."""
    return request.answer(
        size=1 << array.COLUMN_SHIFT,
        major=_VERSION[0],
        minor=_VERSION[1],
        cols=request.firmware.columns,
        rows=_ARRAY_CORE_ROW + array.CORE_ROWS,
        core_rows=array.CORE_ROWS,
        mem_rows=1,
        shim_rows=1,
        core_row_start=_ARRAY_CORE_ROW,
        mem_row_start=array.MEM_ROW,
        shim_row_start=array.SHIM_ROW,
        core_dma_channels=array.CORE_S2MM,
        mem_dma_channels=array.MEM_S2MM,
        shim_dma_channels=array.SHIM_S2MM,
        core_locks=array.CORE_LOCKS,
        mem_locks=array.MEM_LOCKS,
        shim_locks=array.SHIM_LOCKS,
        core_events=_EVENTS,
        mem_events=_EVENTS,
        shim_events=_EVENTS,
    )


HANDLERS: Final[Mapping[str, Callable[[Request], bytes]]] = {"AIE_TILE_INFO": tile_info}
