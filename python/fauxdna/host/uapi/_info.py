"""What a device tells and may be told: GET_INFO, GET_ARRAY, SET_STATE."""

from __future__ import annotations

from typing import Final

from fauxdna.abi import uapi
from fauxdna.abi.uapi import InfoParam, Ioctl
from fauxdna.errors import BufferTooSmall, InvalidArgument

from ._request import Request
from ._table import Entry, Permission

_BUFFER_MOST: Final = 16 << 20
"""Bytes that one query may ask for; the longest answer is far shorter."""
_INPUT_MOST: Final = 4096
"""Bytes of a buffer that a query looks at: requests are short."""
_COUNTED: Final = (InfoParam.SENSORS, InfoParam.HW_CONTEXTS)
"""Queries that say how many bytes they gave."""


def get_info(request: Request) -> None:
    """``amdxdna_drm_get_info_ioctl``: at most ``buffer_size`` bytes."""
    fields, file = request.fields, request.file
    size = min(fields.buffer_size, _BUFFER_MOST)
    if not file.next:
        request.write(fields.buffer, file.local.get_info(fields.param, size), "buffer")
        return
    if fields.param == InfoParam.AIE_STATUS:
        _aie_status(request, size)
        return
    held = request.read(fields.buffer, min(size, _INPUT_MOST), "buffer")
    try:
        data = file.local.get_info(fields.param, size, held)
    except BufferTooSmall as error:
        request.set(buffer_size=error.needed)
        raise
    request.write(fields.buffer, data, "buffer")
    if fields.param in _COUNTED:
        request.set(buffer_size=len(data))


def _aie_status(request: Request, size: int) -> None:
    """``aie4_query_status``: the buffer names another one, where the columns' status goes."""
    fields, layout = request.fields, uapi.QUERY_AIE_STATUS
    given = request.read(fields.buffer, min(size, layout.size), "buffer").ljust(layout.size, b"\0")
    query = layout.unpack(given)
    status, columns = request.file.local.aie_status(min(query.buffer_size, _BUFFER_MOST))
    request.write(query.buffer, status, "status buffer")
    answer = layout.pack(buffer=query.buffer, buffer_size=query.buffer_size, cols_filled=columns)
    request.write(fields.buffer, answer[: min(size, layout.size)], "buffer")


def get_array(request: Request) -> None:
    """``amdxdna_drm_get_array_ioctl``."""
    fields, file = request.fields, request.file
    if file.next and file.is_vf and (fields.pad or not fields.num_element or not fields.element_size):
        raise InvalidArgument(
            f"GET_ARRAY of {fields.num_element} elements of {fields.element_size} bytes (pad {fields.pad})",
            "ask for at least one element and byte, with pad 0",
        )
    held = b""
    if file.next:
        held = request.read(fields.buffer, min(fields.element_size * fields.num_element, _INPUT_MOST), "buffer")
    try:
        size, count, data = file.local.get_array(fields.param, fields.element_size, fields.num_element, held)
    except BufferTooSmall as error:
        request.set(**({"num_element": error.needed} if error.unit == "elements" else {"element_size": error.needed}))
        raise
    request.write(fields.buffer, data, "buffer")
    request.set(element_size=size, num_element=count)


def set_state(request: Request) -> None:
    """``amdxdna_drm_set_state_ioctl``."""
    fields, file = request.fields, request.file
    data = b""
    if file.next and file.is_vf:
        data = request.read(fields.buffer, min(fields.buffer_size, _BUFFER_MOST), "buffer")
    file.local.set_state(fields.param, data)


ENTRIES: Final = (
    Entry("GET_INFO", Ioctl.GET_INFO, get_info, uapi.GET_INFO, slow=True),
    Entry("GET_ARRAY", Ioctl.GET_ARRAY, get_array, uapi.GET_ARRAY, slow=True),
    Entry("SET_STATE", Ioctl.SET_STATE, set_state, uapi.SET_STATE, Permission.ROOT_ONLY, slow=True),
)
