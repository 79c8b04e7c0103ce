"""Ioctls of the DRM core that ask about driver and client, and all those that an accel node refuses. Mirrors ``drm_ioctl.c``."""

from __future__ import annotations

import errno
from typing import Final

from fauxdna.abi import drm, uapi
from fauxdna.abi.drm import Capability, CoreIoctl
from fauxdna.abi.uapi import Ioctl
from fauxdna.errors import InvalidArgument, Misuse, Unsupported

from ._processes import LinuxCapability, capable
from ._request import Request
from ._table import Entry, Permission, invalid, unsupported

_CAPABILITIES: Final = {int(capability): 1 for capability in Capability} | {int(Capability.PRIME): drm.PRIME_IMPORT_EXPORT}
_DATE: Final = b"0"
_DESCRIPTION: Final = b"AMD XDNA DRM implementation"
"""``amdxdna_drm_drv.desc``."""


def version(request: Request) -> None:
    """``drm_version``: each string up to the room that is given, and its whole length."""
    fields, known = request.fields, request.file.local.version()
    request.set(version_major=known.major, version_minor=known.minor, version_patchlevel=known.patch)
    for name, text in (("name", known.name.encode()), ("date", _DATE), ("desc", _DESCRIPTION)):
        room, address = fields[f"{name}_len"], fields[name]
        request.set(**{f"{name}_len": len(text)})
        if address:
            request.write(address, text[:room], name)


def get_cap(request: Request) -> None:
    """``drm_getcap`` of a driver with GEM, syncobjs and timelines, and without modesetting."""
    capability = request.get("capability")
    value = _CAPABILITIES.get(capability, 0)
    request.set(value=value)
    if not value:
        raise Unsupported(f"capability {capability:#x} is one of display drivers", "ask for PRIME or SYNCOBJ")


def set_client_name(request: Request) -> None:
    """``drm_set_client_name``: printable, and no spaces."""
    length = request.fields.name_len
    if length > drm.CLIENT_NAME_MAX:
        raise InvalidArgument(f"client name of {length} bytes", f"give at most {drm.CLIENT_NAME_MAX}")
    name = request.read(request.fields.name, length, "name")
    if not all(0x20 < byte < 0x7F for byte in name):
        raise InvalidArgument("client name with blanks or unprintable characters", "use visible ASCII")
    request.file.client_name = name.decode("ascii")


def get_client(request: Request) -> None:
    """``drm_getclient``, which tells the caller about itself."""
    if request.fields.idx:
        raise InvalidArgument("GET_CLIENT lists no clients", "ask for index 0")
    request.set(auth=int(request.file.authenticated), pid=request.call.tid, uid=drm.OVERFLOW_ID, magic=0, iocs=0)


def get_stats(request: Request) -> None:
    """``drm_getstats``: zeros."""
    request.data[:] = bytes(len(request.data))


def noop(request: Request) -> None:
    """``drm_noop``."""


def set_master(request: Request) -> None:
    """``drm_setmaster_ioctl``: no file of an accel node has a master (``drm_master_open`` is for primary nodes)."""
    if not capable(request.call.tid, LinuxCapability.SYS_ADMIN):
        raise Misuse(f"{request.name} takes CAP_SYS_ADMIN", "leave it out", errno=errno.EACCES)
    raise InvalidArgument(f"{request.name}: an accel node has no master", "leave it out")


def no_master(request: Request) -> None:
    """``drm_getunique`` and ``drm_getmagic`` follow the file's master, which is null on an accel node: Linux 7.2 oopses there."""
    raise InvalidArgument(f"{request.name}: an accel node has no master, and Linux 7.2 crashes looking for it", "leave it out")


def get_fb2(request: Request) -> None:
    """``drm_mode_getfb2_ioctl``, which says ``EINVAL`` where its neighbours say ``EOPNOTSUPP``."""
    raise InvalidArgument(f"{request.name}: an accel node has no display", "leave it out")


def no_dumb_buffers(request: Request) -> None:
    """``drm_mode_create_dumb`` and its like: ``ENOSYS``."""
    raise Unsupported(f"{request.name}: amdxdna has no dumb buffers", "use CREATE_BO", errno=errno.ENOSYS)


_MASTER: Final = Permission.MASTER
_LEGACY: Final = Permission.AUTH | Permission.MASTER | Permission.ROOT_ONLY

ENTRIES: Final = (
    Entry("VERSION", Ioctl.VERSION, version, uapi.DRM_VERSION),
    Entry("GET_CAP", CoreIoctl.GET_CAP, get_cap, drm.GET_CAP),
    Entry("SET_CLIENT_CAP", CoreIoctl.SET_CLIENT_CAP, unsupported, drm.SET_CLIENT_CAP),
    Entry("SET_CLIENT_NAME", CoreIoctl.SET_CLIENT_NAME, set_client_name, drm.SET_CLIENT_NAME),
    Entry("GET_CLIENT", CoreIoctl.GET_CLIENT, get_client, drm.CLIENT),
    Entry("GET_STATS", CoreIoctl.GET_STATS, get_stats),
    Entry("GET_UNIQUE", CoreIoctl.GET_UNIQUE, no_master),
    Entry("GET_MAGIC", CoreIoctl.GET_MAGIC, no_master),
    Entry("SET_VERSION", CoreIoctl.SET_VERSION, invalid, permission=_MASTER),
    Entry("SET_UNIQUE", CoreIoctl.SET_UNIQUE, invalid, permission=_LEGACY),
    Entry("BLOCK", CoreIoctl.BLOCK, noop, permission=_LEGACY),
    Entry("UNBLOCK", CoreIoctl.UNBLOCK, noop, permission=_LEGACY),
    Entry("AUTH_MAGIC", CoreIoctl.AUTH_MAGIC, no_master, drm.AUTH, permission=_MASTER),
    Entry("SET_MASTER", CoreIoctl.SET_MASTER, set_master),
    Entry("DROP_MASTER", CoreIoctl.DROP_MASTER, set_master),
    Entry("ADD_DRAW", CoreIoctl.ADD_DRAW, noop, permission=_LEGACY),
    Entry("RM_DRAW", CoreIoctl.RM_DRAW, noop, permission=_LEGACY),
    Entry("UPDATE_DRAW", CoreIoctl.UPDATE_DRAW, noop, permission=_LEGACY),
    Entry("FINISH", CoreIoctl.FINISH, noop, permission=Permission.AUTH),
    Entry("GEM_CHANGE_HANDLE", CoreIoctl.GEM_CHANGE_HANDLE, invalid),
    Entry("WAIT_VBLANK", CoreIoctl.WAIT_VBLANK, unsupported),
    Entry("CRTC_GET_SEQUENCE", CoreIoctl.CRTC_GET_SEQUENCE, unsupported),
    Entry("CRTC_QUEUE_SEQUENCE", CoreIoctl.CRTC_QUEUE_SEQUENCE, unsupported),
    *(
        Entry(number.name, number, handler, permission=permission)
        for handler, permission, numbers in (
            (
                unsupported,
                Permission.NONE,
                (
                    CoreIoctl.MODE_GETRESOURCES,
                    CoreIoctl.MODE_GETPLANERESOURCES,
                    CoreIoctl.MODE_GETCRTC,
                    CoreIoctl.MODE_GETPLANE,
                    CoreIoctl.MODE_GETGAMMA,
                    CoreIoctl.MODE_GETENCODER,
                    CoreIoctl.MODE_GETCONNECTOR,
                    CoreIoctl.MODE_GETPROPERTY,
                    CoreIoctl.MODE_GETPROPBLOB,
                    CoreIoctl.MODE_GETFB,
                    CoreIoctl.MODE_ADDFB,
                    CoreIoctl.MODE_ADDFB2,
                    CoreIoctl.MODE_RMFB,
                    CoreIoctl.MODE_CLOSEFB,
                    CoreIoctl.MODE_OBJ_GETPROPERTIES,
                    CoreIoctl.MODE_CREATEPROPBLOB,
                    CoreIoctl.MODE_DESTROYPROPBLOB,
                ),
            ),
            (get_fb2, Permission.NONE, (CoreIoctl.MODE_GETFB2,)),
            (
                no_dumb_buffers,
                Permission.NONE,
                (CoreIoctl.MODE_CREATE_DUMB, CoreIoctl.MODE_MAP_DUMB, CoreIoctl.MODE_DESTROY_DUMB),
            ),
            (
                unsupported,
                _MASTER,
                (
                    CoreIoctl.MODE_SETCRTC,
                    CoreIoctl.MODE_SETPLANE,
                    CoreIoctl.MODE_CURSOR,
                    CoreIoctl.MODE_CURSOR2,
                    CoreIoctl.MODE_SETGAMMA,
                    CoreIoctl.MODE_ATTACHMODE,
                    CoreIoctl.MODE_DETACHMODE,
                    CoreIoctl.MODE_SETPROPERTY,
                    CoreIoctl.MODE_PAGE_FLIP,
                    CoreIoctl.MODE_DIRTYFB,
                    CoreIoctl.MODE_OBJ_SETPROPERTY,
                    CoreIoctl.MODE_ATOMIC,
                    CoreIoctl.MODE_CREATE_LEASE,
                    CoreIoctl.MODE_LIST_LESSEES,
                    CoreIoctl.MODE_GET_LEASE,
                    CoreIoctl.MODE_REVOKE_LEASE,
                ),
            ),
        )
        for number in numbers
    ),
)
