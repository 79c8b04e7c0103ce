"""What a file of level ``next`` answers beyond Linux 7.2: GET_INFO, GET_ARRAY and SET_STATE as AMD's newer driver serves them on
AIE4 (amd/xdna-driver ``aie4_pci.c``), each value asked of firmware when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fauxdna.abi import uapi_next
from fauxdna.abi.uapi import ArrayParam

from ...errors import InvalidArgument, Unsupported
from . import contexts, device, streams, tiles
from .streams import firmware_data, watches
from .tiles import aie_status

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["aie_status", "check_shape", "firmware_data", "get_array", "get_info", "set_state", "watches"]

_WORD: Final = 0xFFFF_FFFF
_ANY_SIZE: Final = (ArrayParam.LAST_ASYNC_ERROR, ArrayParam.BO_USAGE)
"""Arrays whose element size AMD's driver does not limit."""
_INFO: Final = device.INFO | contexts.INFO
_ARRAYS: Final = contexts.ARRAYS | tiles.ARRAYS | streams.ARRAYS
_STATES: Final = device.STATES | tiles.STATES | streams.STATES


def get_info(client: Client, param: int, size: int, data: bytes) -> bytes:
    """GET_INFO: at most ``size`` bytes; ``data`` is what the caller's buffer holds.

    Raises:
        Unsupported: ``EOPNOTSUPP`` for what AMD's driver has not on AIE4, or this function, or its firmware.
        BufferTooSmall: ``EINVAL``, HW_CONTEXTS of more contexts than fit; ``ENOSPC``, TELEMETRY of less than 128 KiB.
    """
    query = _INFO.get(param)
    if query is None:
        raise Unsupported(f"GET_INFO {param} of {client.function.name}: an AIE4 function has no such thing", "leave it out")
    return query(client, size, data)[:size]


def get_array(client: Client, param: int, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
    """GET_ARRAY: element size and number of elements given, and their bytes; ``data`` is what the caller's buffer holds.

    Raises:
        InvalidArgument: ``EINVAL`` for a size or count out of range, and for a process or context that is not there.
        BufferTooSmall: ``ENOSPC``, more contexts than elements, or a core dump that does not fit.
        Busy: ``EPERM``, another process's tiles.
        Unsupported: ``EOPNOTSUPP`` for arrays that AIE4 has not.
    """
    query = _ARRAYS.get(param)
    if query is None:
        raise Unsupported(f"GET_ARRAY {param} of {client.function.name}: an AIE4 function has no such thing", "leave it out")
    check_shape(param, element_size, count)
    return query(client, element_size, count, data)


def check_shape(param: int, element_size: int, count: int) -> None:
    """``EINVAL`` for arrays that GET_ARRAY does not give, whatever is asked for."""
    if not 0 < count <= uapi_next.MAX_ELEMENTS or not 0 < element_size <= (
        _WORD if param in _ANY_SIZE else uapi_next.MAX_ELEMENT_SIZE
    ):
        raise InvalidArgument(
            f"GET_ARRAY of {count} elements of {element_size} bytes",
            f"ask for 1 to {uapi_next.MAX_ELEMENTS} of at most {uapi_next.MAX_ELEMENT_SIZE} bytes",
        )


def set_state(client: Client, param: int, data: bytes) -> None:
    """SET_STATE.

    Raises:
        InvalidArgument: ``EINVAL`` for a mode or state that does not exist, a tile that is not the context's.
        Busy: ``EBUSY``, to or from TURBO while there are contexts; ``EPERM``, another process's tiles.
        Unsupported: ``EOPNOTSUPP`` for states that AIE4 has not.
    """
    setter = _STATES.get(param)
    if setter is None:
        raise Unsupported(f"SET_STATE {param} of {client.function.name}: an AIE4 function has no such thing", "leave it out")
    setter(client, data)
