"""What a device tells and may be told: GET_INFO, GET_ARRAY, SET_STATE. Level ``next`` mirrors xdna-driver's ``aie4_pci.c``."""

from __future__ import annotations

import errno
from typing import Final

from fauxdna.abi import uapi
from fauxdna.abi.uapi import ArrayParam, InfoParam, Ioctl
from fauxdna.abi.uapi_next import NextArray
from fauxdna.errors import BufferTooSmall, InvalidArgument, OutOfSpace

from ._request import Request
from ._table import Entry, Permission

_COUNTED: Final = frozenset({InfoParam.SENSORS, InfoParam.HW_CONTEXTS})
"""Answers of varying length, which ``buffer_size`` tells."""
_ASKED_IN_ARRAY: Final = frozenset({ArrayParam.BO_USAGE, *NextArray})
"""Arrays whose first element says what is asked for."""
_QUESTION_MOST: Final = 4096
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
    if file.next and param == InfoParam.TELEMETRY:
        held = request.read(fields.buffer, min(size, uapi.QUERY_TELEMETRY_HEADER.size), "buffer")
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
    held = request.read(fields.buffer, min(fields.buffer_size, layout.size), "buffer")
    query = layout.unpack(held.ljust(layout.size, b"\0"))
    data, columns = request.file.local.aie_status(query.buffer_size)
    request.write(query.buffer, data, "status buffer")
    request.write(fields.buffer, layout.pack(**(dict(query) | {"cols_filled": columns}))[: len(held)], "buffer")


def get_array(request: Request) -> None:
    """``amdxdna_drm_get_array_ioctl``."""
    fields, file = request.fields, request.file
    param, held = fields.param, b""
    if file.next and file.is_vf:
        if fields.pad or not fields.num_element or not fields.element_size:
            raise InvalidArgument(
                f"GET_ARRAY of {fields.num_element} elements of {fields.element_size} bytes (pad {fields.pad})",
                "ask for at least one element and byte, with pad 0",
            )
        if param in _ASKED_IN_ARRAY:
            held = request.read(fields.buffer, min(fields.element_size * fields.num_element, _QUESTION_MOST), "buffer")
    try:
        size, count, data = file.local.get_array(param, fields.element_size, fields.num_element, held)
    except BufferTooSmall as error:
        request.set(**{"element_size" if error.unit == "bytes" else "num_element": error.needed})
        raise
    request.write(fields.buffer, data, "buffer")
    request.set(element_size=size, num_element=count)


def set_state(request: Request) -> None:
    """``amdxdna_drm_set_state_ioctl``."""
    fields, file = request.fields, request.file
    data = b""
    if file.next and file.is_vf:
        if fields.buffer_size > _STATE_MOST:
            raise OutOfSpace(f"a state of {fields.buffer_size} bytes", f"give at most {_STATE_MOST}", errno=errno.ENOMEM)
        data = request.read(fields.buffer, fields.buffer_size, "buffer")
    file.local.set_state(fields.param, data)


ENTRIES: Final = (
    Entry("GET_INFO", Ioctl.GET_INFO, get_info, uapi.GET_INFO),
    Entry("GET_ARRAY", Ioctl.GET_ARRAY, get_array, uapi.GET_ARRAY),
    Entry("SET_STATE", Ioctl.SET_STATE, set_state, uapi.SET_STATE, Permission.ROOT_ONLY),
)
