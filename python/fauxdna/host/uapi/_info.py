"""What a device tells and may be told: GET_INFO, GET_ARRAY, SET_STATE."""

from __future__ import annotations

from typing import Final

from fauxdna.abi import uapi
from fauxdna.abi.uapi import Ioctl
from fauxdna.errors import InvalidArgument

from ._request import Request
from ._table import Entry, Permission

_BUFFER_MOST: Final = 16 << 20
"""Bytes that one query may ask for; the longest answer is far shorter."""


def get_info(request: Request) -> None:
    """``amdxdna_drm_get_info_ioctl``: at most ``buffer_size`` bytes."""
    fields = request.fields
    data = request.file.local.get_info(fields.param, min(fields.buffer_size, _BUFFER_MOST))
    request.write(fields.buffer, data, "buffer")


def get_array(request: Request) -> None:
    """``amdxdna_drm_get_array_ioctl``."""
    fields, file = request.fields, request.file
    if file.next and file.is_vf and (fields.pad or not fields.num_element or not fields.element_size):
        raise InvalidArgument(
            f"GET_ARRAY of {fields.num_element} elements of {fields.element_size} bytes (pad {fields.pad})",
            "ask for at least one element and byte, with pad 0",
        )
    size, count, data = file.local.get_array(fields.param, fields.element_size, fields.num_element)
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
