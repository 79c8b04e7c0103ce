"""The operations of level ``next``: queries and settings by their number, and debug buffers."""

from __future__ import annotations

from typing import Final

from fauxdna.abi import uapi_next
from fauxdna.abi.uapi import ArrayParam, ConfigParam

from ...errors import InvalidArgument, Unsupported
from ..client import Client
from ..open_files import HardwareContext
from ..operations import DeviceOperations
from . import contexts, device, streams, tiles
from .debug_buffers import DebugBuffers

_WORD: Final = 0xFFFF_FFFF
_ANY_SIZE: Final = (ArrayParam.LAST_ASYNC_ERROR, ArrayParam.BO_USAGE)
"""Arrays whose element size AMD's driver does not limit."""
_INFO: Final = device.INFO | contexts.INFO
_ARRAYS: Final = contexts.ARRAYS | tiles.ARRAYS | streams.ARRAYS
_STATES: Final = device.STATES | tiles.STATES | streams.STATES
_DEBUG_BUFFERS: Final = (ConfigParam.ASSIGN_DEBUG_BUFFER, ConfigParam.REMOVE_DEBUG_BUFFER)


class NextOperations(DeviceOperations):
    """What ``client`` answers beyond Linux 7.2."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.function)
        self._client = client
        self._buffers = DebugBuffers(client)

    def config_hwctx(self, handle: int, param: int, value: bytes | int) -> None:
        """CONFIG_HWCTX: debug buffers; errors as :meth:`DebugBuffers.configure`."""
        if param not in _DEBUG_BUFFERS:
            return super().config_hwctx(handle, param, value)
        self._client.vf("CONFIG_HWCTX")
        metadata = value if isinstance(value, int) else int.from_bytes(value[:4], "little")
        self._buffers.configure(handle, metadata & _WORD, assign=param == ConfigParam.ASSIGN_DEBUG_BUFFER)
        return None

    def get_info(self, param: int, size: int, data: bytes) -> bytes:
        """GET_INFO: at most ``size`` bytes; ``data`` is what the caller's buffer holds.

        Raises:
            Unsupported: ``EOPNOTSUPP`` for what AMD's driver has not on AIE4, or this function, or its firmware.
            BufferTooSmall: ``EINVAL``, HW_CONTEXTS of more contexts than fit; ``ENOSPC``, TELEMETRY of less than 128 KiB.
        """
        query = _INFO.get(param)
        if query is None:
            raise self._no_such(f"GET_INFO {param}")
        return query(self._client, size, data)[:size]

    def aie_status(self, size: int) -> tuple[bytes, int]:
        """GET_INFO of AIE_STATUS: as :func:`.tiles.aie_status`."""
        return tiles.aie_status(self._client, size)

    def get_array(self, param: int, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
        """GET_ARRAY: element size and number of elements given, and their bytes; ``data`` is what the caller's buffer holds.

        Raises:
            InvalidArgument: ``EINVAL`` for a size or count out of range, and for a process or context that is not there.
            BufferTooSmall: ``ENOSPC``, more contexts than elements, or a core dump that does not fit.
            Busy: ``EPERM``, another process's tiles.
            Unsupported: ``EOPNOTSUPP`` for arrays that AIE4 has not.
        """
        query = _ARRAYS.get(param)
        if query is None:
            raise self._no_such(f"GET_ARRAY {param}")
        check_shape(param, element_size, count)
        return query(self._client, element_size, count, data)

    def set_state(self, param: int, data: bytes) -> None:
        """SET_STATE.

        Raises:
            InvalidArgument: ``EINVAL`` for a mode or state that does not exist, a tile that is not the context's.
            Busy: ``EBUSY``, to or from TURBO while there are contexts; ``EPERM``, another process's tiles.
            Unsupported: ``EOPNOTSUPP`` for states that AIE4 has not.
        """
        setter = _STATES.get(param)
        if setter is None:
            raise self._no_such(f"SET_STATE {param}")
        setter(self._client, data)

    def hwctx_ended(self, context: HardwareContext) -> None:
        """Lets its debug buffers go."""
        self._buffers.drop(context)

    def close(self) -> None:
        """Lets all debug buffers go."""
        self._buffers.drop_all()

    def _no_such(self, what: str) -> Unsupported:
        return Unsupported(f"{what} of {self.function.name}: an AIE4 function has no such thing", "leave it out")


def check_shape(param: int, element_size: int, count: int) -> None:
    """``EINVAL`` for arrays that GET_ARRAY does not give, whatever is asked for."""
    if not 0 < count <= uapi_next.MAX_ELEMENTS or not 0 < element_size <= (
        _WORD if param in _ANY_SIZE else uapi_next.MAX_ELEMENT_SIZE
    ):
        raise InvalidArgument(
            f"GET_ARRAY of {count} elements of {element_size} bytes",
            f"ask for 1 to {uapi_next.MAX_ELEMENTS} of at most {uapi_next.MAX_ELEMENT_SIZE} bytes",
        )
