"""Firmware's log and its trace of events: state and data, as AMD's newer driver hands them out (``amdxdna_dpt.c``)."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Final

from fauxdna.abi import uapi_next
from fauxdna.abi.uapi_next import NextArray, NextState

from ...errors import BufferTooSmall, InvalidArgument
from ..client import Client
from ..firmware_stream import FirmwareStream

_POLL_S: Final = 0.01
"""``AMDXDNA_DPT_POLL_INTERVAL_MS``: firmware raises no interrupt for what it writes."""


def firmware_data(client: Client, param: NextArray, size: int, question: bytes) -> tuple[bytes, bytes]:
    """FW_LOG or FW_TRACE into a buffer of ``size`` bytes whose last 16 are ``question``: data, and the 16 bytes of the answer.

    A question that watches gets an answer without data, too: ask again.

    Raises:
        BufferTooSmall: ``EINVAL``, the buffer holds no question.
        DeviceGone, InvalidArgument: as :meth:`FirmwareStream.read`.
    """
    if size < uapi_next.FW_DATA.size or len(question) < uapi_next.FW_DATA.size:
        raise BufferTooSmall(f"a question in {size} bytes", needed=uapi_next.FW_DATA.size, errno=errno.EINVAL)
    wanted = uapi_next.FW_DATA.unpack(question)
    room = min(wanted.size, size - uapi_next.FW_DATA.size)
    offset, data = _stream(client, param).read(wanted.offset, room)
    return data, uapi_next.FW_DATA.pack(**(dict(wanted) | {"offset": offset, "size": len(data)}))


def watches(question: bytes) -> bool:
    """Whether a question asks to wait for data."""
    return bool(uapi_next.FW_DATA.unpack(question).watch)


def _stream(client: Client, param: NextArray | NextState) -> FirmwareStream:
    logs = param in (NextArray.FW_LOG, NextArray.FW_LOG_CONFIG) if isinstance(param, NextArray) else param is NextState.FW_LOG
    return client.function.firmware_log if logs else client.function.firmware_trace


def _data(param: NextArray) -> Callable[[Client, int, int, bytes], tuple[int, int, bytes]]:
    def query(client: Client, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
        size = element_size * count
        question = data[-uapi_next.FW_DATA.size :] if len(data) == size else b""
        found, answer = firmware_data(client, param, size, question)
        while not found and watches(question):
            time.sleep(_POLL_S)
            found, answer = firmware_data(client, param, size, question)
        return element_size, count, found.ljust(size - len(answer), b"\0") + answer

    return query


def _config(param: NextArray) -> Callable[[Client, int, int, bytes], tuple[int, int, bytes]]:
    def query(client: Client, element_size: int, count: int, _data: bytes) -> tuple[int, int, bytes]:
        layout = uapi_next.GET_FW_STATE
        if element_size * count < layout.size:
            raise BufferTooSmall(f"a state into {element_size * count} bytes", needed=layout.size)
        return element_size, count, layout.pack(**_stream(client, param).state())

    return query


def _set(param: NextState) -> Callable[[Client, bytes], None]:
    def setter(client: Client, data: bytes) -> None:
        layout = uapi_next.SET_FW_STATE
        if len(data) != layout.size:
            raise InvalidArgument(f"a state of {len(data)} bytes", f"give {layout.size}")
        wanted = layout.unpack(data)
        _stream(client, param).set(wanted.action, wanted.config)

    return setter


ARRAYS: Final = {
    NextArray.FW_LOG: _data(NextArray.FW_LOG),
    NextArray.FW_TRACE: _data(NextArray.FW_TRACE),
    NextArray.FW_LOG_CONFIG: _config(NextArray.FW_LOG_CONFIG),
    NextArray.FW_TRACE_CONFIG: _config(NextArray.FW_TRACE_CONFIG),
}
STATES: Final = {NextState.FW_LOG: _set(NextState.FW_LOG), NextState.FW_TRACE: _set(NextState.FW_TRACE)}
