"""What a device tells and may be told: GET_INFO, GET_ARRAY, SET_STATE. Level ``next`` mirrors xdna-driver's ``aie4_pci.c``."""

from __future__ import annotations

import errno
import time
from typing import Final

from fauxdna.abi import uapi, uapi_next
from fauxdna.abi.uapi import ArrayParam, InfoParam, Ioctl, StateParam
from fauxdna.abi.uapi_next import FW_DATA, NextArray, NextInfo, NextState
from fauxdna.driver.next_level import check_shape, firmware_data, watches
from fauxdna.errors import BufferTooSmall, InvalidArgument, OutOfSpace

from ._request import ADDRESS_MASK, Request, must_be_accessible
from ._table import Entry, Permission

_COUNTED: Final = frozenset({InfoParam.SENSORS, InfoParam.HW_CONTEXTS})
"""Answers of varying length, which ``buffer_size`` tells."""
_ASKED_IN_ARRAY: Final = frozenset({ArrayParam.BO_USAGE, *NextArray})
"""Arrays whose first element says what is asked for."""
_SERVED: Final = frozenset({*InfoParam, *NextInfo}) - {InfoParam.AIE_STATUS}
_CHECKED_ARRAYS: Final = frozenset({ArrayParam.HW_CONTEXT_ALL, *NextArray})
"""Arrays whose whole buffer the driver looks at before it does anything."""
_QUESTION_MOST: Final = 4096
_POLL_S: Final = 0.01
"""``AMDXDNA_DPT_POLL_INTERVAL_MS``."""
_TYPE_SIZE: Final = 4
_STATE_SIZES: Final[dict[int, int]] = {
    StateParam.POWER_MODE: uapi.SET_POWER_MODE.size,
    StateParam.FORCE_PREEMPT: uapi.ATTRIBUTE_STATE.size,
    NextState.FW_LOG: uapi_next.SET_FW_STATE.size,
    NextState.FW_TRACE: uapi_next.SET_FW_STATE.size,
}
"""Bytes that are looked at, however many are given."""
_EXACT: Final = (NextState.FW_LOG, NextState.FW_TRACE)
_STATE_MOST: Final = 4 << 20
"""``kmalloc``'s limit."""


def get_info(request: Request) -> None:
    """``amdxdna_drm_get_info_ioctl``: at most ``buffer_size`` bytes."""
    fields, file = request.fields, request.file
    param, size = fields.param, fields.buffer_size
    if file.next and param == InfoParam.AIE_STATUS:
        _aie_status(request)
        return
    held = b""
    if file.next and param in _SERVED and param != InfoParam.SENSORS:
        must_be_accessible(request, fields.buffer, size)
    if file.next and param == InfoParam.TELEMETRY:
        # The type, whatever the size says of the buffer.
        held = request.read(fields.buffer, _TYPE_SIZE, "buffer")
    try:
        data = file.local.get_info(param, size, held)
    except BufferTooSmall as error:
        if param in _COUNTED:
            request.set(buffer_size=error.needed)
        raise
    request.write(fields.buffer, data, "buffer")
    if file.next and param in _COUNTED:
        request.set(buffer_size=len(data))


def _aie_status(request: Request) -> None:
    """The buffer names another one, for the columns' status."""
    fields, layout = request.fields, uapi.QUERY_AIE_STATUS
    must_be_accessible(request, fields.buffer, fields.buffer_size)
    held = request.read(fields.buffer, min(fields.buffer_size, layout.size), "buffer")
    query = layout.unpack(held.ljust(layout.size, b"\0"))
    data, columns = request.file.local.aie_status(query.buffer_size)
    request.write(query.buffer, data, "status buffer")
    request.write(fields.buffer, layout.pack(**(dict(query) | {"cols_filled": columns}))[: len(held)], "buffer")


def get_array(request: Request) -> bool | None:
    """``amdxdna_drm_get_array_ioctl``."""
    fields, file = request.fields, request.file
    param, held = fields.param, b""
    if file.next:
        if fields.pad or not fields.num_element or not fields.element_size:
            raise InvalidArgument(
                f"GET_ARRAY of {fields.num_element} elements of {fields.element_size} bytes (pad {fields.pad})",
                "ask for at least one element and byte, with pad 0",
            )
        if param in _CHECKED_ARRAYS:
            check_shape(param, fields.element_size, fields.num_element)
            must_be_accessible(request, fields.buffer, fields.element_size * fields.num_element)
        if param in (NextArray.FW_LOG, NextArray.FW_TRACE):
            return _firmware_data(request, NextArray(param))
        if param in _ASKED_IN_ARRAY:
            held = request.read(fields.buffer, min(fields.element_size * fields.num_element, _QUESTION_MOST), "buffer")
    try:
        size, count, data = file.local.get_array(param, fields.element_size, fields.num_element, held)
    except BufferTooSmall as error:
        request.set(**{"element_size" if error.unit == "bytes" else "num_element": error.needed})
        raise
    request.write(fields.buffer, data, "buffer")
    request.set(element_size=size, num_element=count)
    return None


def _firmware_data(request: Request, param: NextArray) -> bool | None:
    """``amdxdna_dpt_get_data``: the question is at the buffer's end, the data goes to its start."""
    fields = request.fields
    size, layout = fields.element_size * fields.num_element, FW_DATA
    question = request.read(fields.buffer + max(0, size - layout.size) & ADDRESS_MASK, min(size, layout.size), "buffer")
    if _deliver(request, param, size, question) or not watches(question):
        return None
    request.file.node.run(lambda: _watch(request, param, size, question))
    request.call.interruptible()
    return True


def _deliver(request: Request, param: NextArray, size: int, question: bytes) -> bool:
    """Whether there was data."""
    address = request.fields.buffer
    data, answer = firmware_data(request.file.local, param, size, question)
    request.write(address, data, "buffer")
    request.write(address + size - len(answer) & ADDRESS_MASK, answer, "buffer")
    return bool(data)


def _watch(request: Request, param: NextArray, size: int, question: bytes) -> None:
    error = 0
    try:
        while request.call.alive and not request.file.closing and not _deliver(request, param, size, question):
            time.sleep(_POLL_S)
    except OSError as refused:
        error = refused.errno or errno.EIO
    request.finish(error)


def set_state(request: Request) -> None:
    """``amdxdna_drm_set_state_ioctl``."""
    fields, file = request.fields, request.file
    data = b""
    if file.next:
        must_be_accessible(request, fields.buffer, fields.buffer_size)
        size = min(fields.buffer_size, _STATE_SIZES.get(fields.param, fields.buffer_size))
        if size > _STATE_MOST:
            raise OutOfSpace(f"a state of {size} bytes", f"give at most {_STATE_MOST}", errno=errno.ENOMEM)
        # Of a state whose size has to be right, a wrong one is not read.
        if fields.param not in _EXACT or size == uapi_next.SET_FW_STATE.size == fields.buffer_size:
            data = request.read(fields.buffer, size, "buffer")
    file.local.set_state(fields.param, data)


ENTRIES: Final = (
    Entry("GET_INFO", Ioctl.GET_INFO, get_info, uapi.GET_INFO),
    Entry("GET_ARRAY", Ioctl.GET_ARRAY, get_array, uapi.GET_ARRAY),
    Entry("SET_STATE", Ioctl.SET_STATE, set_state, uapi.SET_STATE, Permission.ROOT_ONLY),
)
