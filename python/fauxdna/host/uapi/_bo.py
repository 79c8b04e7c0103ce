"""Buffer objects: CREATE_BO, GET_BO_INFO, SYNC_BO, and the core's GEM ioctls. Mirrors ``amdxdna_gem.c`` and ``drm_gem.c``."""

from __future__ import annotations

from typing import Final

from fauxdna.abi import drm, uapi
from fauxdna.abi.drm import CoreIoctl
from fauxdna.abi.uapi import INVALID_ADDRESS, BoType, Ioctl, SyncDirection
from fauxdna.driver import BufferObject
from fauxdna.driver.memory import PAGE_SIZE
from fauxdna.errors import InvalidArgument, OutOfSpace

from ._processes import areas
from ._request import ADDRESS_MASK, Request
from ._table import Entry, Permission, must_be_zero
from ._user_memory import create_from_table

_OFFSETS_END: Final = 1 << 63
"""``MAX_LFS_FILESIZE`` and one."""


def create_bo(request: Request) -> None:
    """``amdxdna_drm_create_bo_ioctl`` of a function whose device heap has 0 bytes."""
    must_be_zero(request, "flags")
    fields, file = request.fields, request.file
    if fields.type in (BoType.DEV_HEAP, BoType.DEV):
        raise InvalidArgument(f"BO type {BoType(fields.type).name}: an AIE4 function has a device heap of 0 bytes", "use SHARE")
    if fields.type not in (BoType.SHARE, BoType.CMD):
        raise InvalidArgument(f"BO type {fields.type}", "use SHARE or CMD")
    if fields.vaddr:
        request.set(handle=create_from_table(request, fields.vaddr, internal=fields.type == BoType.CMD))
        return
    size = fields.size + PAGE_SIZE - 1 & ADDRESS_MASK & -PAGE_SIZE
    if size >= _OFFSETS_END:
        raise InvalidArgument(f"a BO of {fields.size} bytes is larger than a file can be", "ask for less")
    if not 0 < size <= drm.FILE_OFFSET_SIZE:
        raise OutOfSpace(f"a BO of {fields.size} bytes has no mmap offset", f"give 1 to {drm.FILE_OFFSET_SIZE}")
    request.set(handle=file.local.create_bo(size, BoType(fields.type)))


def get_bo_info(request: Request) -> None:
    """``amdxdna_drm_get_bo_info_ioctl``. ``vaddr`` is where the caller maps the BO, or all ones.

    Linux remembers the address that mmap gave; here mmap is not seen, so the caller's mappings are looked up. Before the program
    knows a BO's mmap offset there is nothing to look up.
    """
    must_be_zero(request, "ext", "ext_flags", "pad")
    file = request.file
    bo = file.local.bo(request.fields.handle)
    vaddr = INVALID_ADDRESS
    if bo not in file.told:
        file.told.add(bo)
    elif file.node.maps(bo):
        vaddr = _mapped_at(request, bo)
    request.set(vaddr=vaddr, xdna_addr=bo.address, map_offset=bo.backing.map_offset)


def _mapped_at(request: Request, bo: BufferObject) -> int:
    device, inode = request.file.node.store.identity
    for area in areas(request.call.pid, inode):
        if area.device == device and area.offset <= bo.backing.offset < area.offset + area.end - area.start:
            return area.start + bo.backing.offset - area.offset
    return INVALID_ADDRESS


def sync_bo(request: Request) -> None:
    """``amdxdna_drm_sync_bo_ioctl``; memory is coherent, so only its refusals are left. Unknown directions pass, as in Linux."""
    fields = request.fields
    direction = SyncDirection.FROM_DEVICE if fields.direction == SyncDirection.FROM_DEVICE else SyncDirection.TO_DEVICE
    request.file.local.sync_bo(fields.handle, direction, fields.offset, fields.size)


def gem_close(request: Request) -> None:
    """``drm_gem_close_ioctl``. What the program still maps lives on."""
    file, handle = request.file, request.fields.handle
    with file.prime:
        bo = file.local.take_bo(handle)
        token = file.exports.pop(handle, None)
    function = file.local.function
    file.hub.names.forget(function)
    known = bo in file.told
    file.told.discard(bo)
    if known and file.node.maps(bo):
        file.node.retire(file, bo)
    else:
        function.memory.put(bo)
    if token is not None:
        file.hub.tokens.unpin(token)


def gem_flink(request: Request) -> None:
    """``drm_gem_flink_ioctl``."""
    file = request.file
    function = file.local.function
    bo = file.local.bo(request.fields.handle)
    request.set(name=file.hub.names.give(function, bo))


def gem_open(request: Request) -> None:
    """``drm_gem_open_ioctl``: a new handle each time."""
    file = request.file
    bo = file.hub.names.find(file.local.function, request.fields.name)
    size = bo.size
    request.set(handle=file.local.add_bo(bo), size=size)


ENTRIES: Final = (
    Entry("CREATE_BO", Ioctl.CREATE_BO, create_bo, uapi.CREATE_BO),
    Entry("GET_BO_INFO", Ioctl.GET_BO_INFO, get_bo_info, uapi.GET_BO_INFO),
    Entry("SYNC_BO", Ioctl.SYNC_BO, sync_bo, uapi.SYNC_BO),
    Entry("GEM_CLOSE", Ioctl.GEM_CLOSE, gem_close, uapi.GEM_CLOSE),
    Entry("GEM_FLINK", CoreIoctl.GEM_FLINK, gem_flink, drm.GEM_FLINK, Permission.AUTH),
    Entry("GEM_OPEN", CoreIoctl.GEM_OPEN, gem_open, drm.GEM_OPEN, Permission.AUTH),
)
