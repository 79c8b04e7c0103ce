"""DRM core ioctls of Linux 7.2 that an accel node answers beside those of :mod:`fauxdna.abi.uapi`: numbers, structures, flags.

Field names are the header's. Sizes, offsets and numbers are checked against a C compile of the header.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from ._declare import Struct, fields_of

_SOURCE = "Linux 7.2 include/uapi/drm/drm.h"
_NONE, _WRITE, _READ, _READ_WRITE = 0, 1, 2, 3

IOCTL_TYPE: Final = ord("d")
"""``DRM_IOCTL_BASE``."""
COMMAND_BASE: Final = 0x40
"""``DRM_COMMAND_BASE``: numbers from here to below :data:`COMMAND_END` are the driver's."""
COMMAND_END: Final = 0xA0
CLIENT_NAME_MAX: Final = 64
"""``DRM_CLIENT_NAME_MAX_LEN``."""
FILE_OFFSET_SIZE: Final = (0xFFFF_FFFF >> 12) * 256 << 12
"""Bytes of mmap offsets that BOs of a device share (``DRM_FILE_PAGE_OFFSET_SIZE``, ``drm_vma_manager.h``)."""
OVERFLOW_ID: Final = 65534
"""``overflowuid``."""


class Capability(IntEnum):
    """``DRM_CAP_*`` that a driver without modesetting knows."""

    PRIME = 0x5
    TIMESTAMP_MONOTONIC = 0x6
    SYNCOBJ = 0x13
    SYNCOBJ_TIMELINE = 0x14


PRIME_IMPORT_EXPORT: Final = 3
"""``DRM_PRIME_CAP_IMPORT | DRM_PRIME_CAP_EXPORT``."""


class SyncobjCreate(IntFlag):
    """``DRM_SYNCOBJ_CREATE_*``."""

    SIGNALED = 1


class SyncobjFd(IntFlag):
    """``DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_*`` and ``DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_*``, which agree."""

    SYNC_FILE = 1
    TIMELINE = 2


class SyncobjWait(IntFlag):
    """``DRM_SYNCOBJ_WAIT_FLAGS_*``."""

    ALL = 1
    FOR_SUBMIT = 2
    AVAILABLE = 4
    DEADLINE = 8


class SyncobjQuery(IntFlag):
    """``DRM_SYNCOBJ_QUERY_FLAGS_*``."""

    LAST_SUBMITTED = 1


def _struct(name: str, size: int, fields: str) -> Struct:
    return Struct(name, size, fields_of(fields), source=_SOURCE)


AUTH: Final = _struct("drm_auth", 4, "u32 magic")
CLIENT: Final = _struct("drm_client", 40, "i32 idx,i32 auth,u64 pid,u64 uid,u64 magic,u64 iocs")
GET_CAP: Final = _struct("drm_get_cap", 16, "u64 capability,u64 value")
SET_CLIENT_CAP: Final = _struct("drm_set_client_cap", 16, "u64 capability,u64 value")
SET_CLIENT_NAME: Final = _struct("drm_set_client_name", 16, "u64 name_len,u64 name")
GEM_FLINK: Final = _struct("drm_gem_flink", 8, "u32 handle,u32 name")
GEM_OPEN: Final = _struct("drm_gem_open", 16, "u32 name,u32 handle,u64 size")
SYNCOBJ_CREATE: Final = _struct("drm_syncobj_create", 8, "u32 handle,u32 flags")
SYNCOBJ_DESTROY: Final = _struct("drm_syncobj_destroy", 8, "u32 handle,u32 pad")
SYNCOBJ_HANDLE: Final = _struct("drm_syncobj_handle", 24, "u32 handle,u32 flags,i32 fd,u32 pad,u64 point")
SYNCOBJ_TRANSFER: Final = _struct(
    "drm_syncobj_transfer", 32, "u32 src_handle,u32 dst_handle,u64 src_point,u64 dst_point,u32 flags,u32 pad"
)
SYNCOBJ_WAIT: Final = _struct(
    "drm_syncobj_wait",
    40,
    "u64 handles,i64 timeout_nsec,u32 count_handles,u32 flags,u32 first_signaled,u32 pad,u64 deadline_nsec",
)
SYNCOBJ_TIMELINE_WAIT: Final = _struct(
    "drm_syncobj_timeline_wait",
    48,
    "u64 handles,u64 points,i64 timeout_nsec,u32 count_handles,u32 flags,u32 first_signaled,u32 pad,u64 deadline_nsec",
)
SYNCOBJ_EVENTFD: Final = _struct("drm_syncobj_eventfd", 24, "u32 handle,u32 flags,u64 point,i32 fd,u32 pad")
SYNCOBJ_ARRAY: Final = _struct("drm_syncobj_array", 16, "u64 handles,u32 count_handles,u32 pad")
SYNCOBJ_TIMELINE_ARRAY: Final = _struct("drm_syncobj_timeline_array", 24, "u64 handles,u64 points,u32 count_handles,u32 flags")


def _number(direction: int, number: int, size: int) -> int:
    """``_IOC`` of ``asm-generic/ioctl.h``, with DRM's type."""
    return direction << 30 | size << 16 | IOCTL_TYPE << 8 | number


class CoreIoctl(IntEnum):
    """Ioctls of the DRM core's table (``drm_ioctl.c``) that :class:`fauxdna.abi.uapi.Ioctl` has not."""

    GET_UNIQUE = _number(_READ_WRITE, 0x01, 16)
    GET_MAGIC = _number(_READ, 0x02, 4)
    GET_CLIENT = _number(_READ_WRITE, 0x05, 40)
    GET_STATS = _number(_READ, 0x06, 248)
    SET_VERSION = _number(_READ_WRITE, 0x07, 16)
    GEM_FLINK = _number(_READ_WRITE, 0x0A, 8)
    GEM_OPEN = _number(_READ_WRITE, 0x0B, 16)
    GET_CAP = _number(_READ_WRITE, 0x0C, 16)
    SET_CLIENT_CAP = _number(_WRITE, 0x0D, 16)
    SET_UNIQUE = _number(_WRITE, 0x10, 16)
    AUTH_MAGIC = _number(_WRITE, 0x11, 4)
    BLOCK = _number(_READ_WRITE, 0x12, 4)
    UNBLOCK = _number(_READ_WRITE, 0x13, 4)
    SET_MASTER = _number(_NONE, 0x1E, 0)
    DROP_MASTER = _number(_NONE, 0x1F, 0)
    ADD_DRAW = _number(_READ_WRITE, 0x27, 4)
    RM_DRAW = _number(_READ_WRITE, 0x28, 4)
    FINISH = _number(_WRITE, 0x2C, 8)
    WAIT_VBLANK = _number(_READ_WRITE, 0x3A, 24)
    CRTC_GET_SEQUENCE = _number(_READ_WRITE, 0x3B, 24)
    CRTC_QUEUE_SEQUENCE = _number(_READ_WRITE, 0x3C, 24)
    UPDATE_DRAW = _number(_WRITE, 0x3F, 24)
    MODE_GETRESOURCES = _number(_READ_WRITE, 0xA0, 64)
    MODE_GETCRTC = _number(_READ_WRITE, 0xA1, 104)
    MODE_SETCRTC = _number(_READ_WRITE, 0xA2, 104)
    MODE_CURSOR = _number(_READ_WRITE, 0xA3, 28)
    MODE_GETGAMMA = _number(_READ_WRITE, 0xA4, 32)
    MODE_SETGAMMA = _number(_READ_WRITE, 0xA5, 32)
    MODE_GETENCODER = _number(_READ_WRITE, 0xA6, 20)
    MODE_GETCONNECTOR = _number(_READ_WRITE, 0xA7, 80)
    MODE_ATTACHMODE = _number(_READ_WRITE, 0xA8, 72)
    MODE_DETACHMODE = _number(_READ_WRITE, 0xA9, 72)
    MODE_GETPROPERTY = _number(_READ_WRITE, 0xAA, 64)
    MODE_SETPROPERTY = _number(_READ_WRITE, 0xAB, 16)
    MODE_GETPROPBLOB = _number(_READ_WRITE, 0xAC, 16)
    MODE_GETFB = _number(_READ_WRITE, 0xAD, 28)
    MODE_ADDFB = _number(_READ_WRITE, 0xAE, 28)
    MODE_RMFB = _number(_READ_WRITE, 0xAF, 4)
    MODE_PAGE_FLIP = _number(_READ_WRITE, 0xB0, 24)
    MODE_DIRTYFB = _number(_READ_WRITE, 0xB1, 24)
    MODE_CREATE_DUMB = _number(_READ_WRITE, 0xB2, 32)
    MODE_MAP_DUMB = _number(_READ_WRITE, 0xB3, 16)
    MODE_DESTROY_DUMB = _number(_READ_WRITE, 0xB4, 4)
    MODE_GETPLANERESOURCES = _number(_READ_WRITE, 0xB5, 16)
    MODE_GETPLANE = _number(_READ_WRITE, 0xB6, 32)
    MODE_SETPLANE = _number(_READ_WRITE, 0xB7, 48)
    MODE_ADDFB2 = _number(_READ_WRITE, 0xB8, 104)
    MODE_OBJ_GETPROPERTIES = _number(_READ_WRITE, 0xB9, 32)
    MODE_OBJ_SETPROPERTY = _number(_READ_WRITE, 0xBA, 24)
    MODE_CURSOR2 = _number(_READ_WRITE, 0xBB, 36)
    MODE_ATOMIC = _number(_READ_WRITE, 0xBC, 56)
    MODE_CREATEPROPBLOB = _number(_READ_WRITE, 0xBD, 16)
    MODE_DESTROYPROPBLOB = _number(_READ_WRITE, 0xBE, 4)
    SYNCOBJ_CREATE = _number(_READ_WRITE, 0xBF, 8)
    SYNCOBJ_DESTROY = _number(_READ_WRITE, 0xC0, 8)
    SYNCOBJ_HANDLE_TO_FD = _number(_READ_WRITE, 0xC1, 24)
    SYNCOBJ_FD_TO_HANDLE = _number(_READ_WRITE, 0xC2, 24)
    SYNCOBJ_WAIT = _number(_READ_WRITE, 0xC3, 40)
    SYNCOBJ_RESET = _number(_READ_WRITE, 0xC4, 16)
    SYNCOBJ_SIGNAL = _number(_READ_WRITE, 0xC5, 16)
    MODE_CREATE_LEASE = _number(_READ_WRITE, 0xC6, 24)
    MODE_LIST_LESSEES = _number(_READ_WRITE, 0xC7, 16)
    MODE_GET_LEASE = _number(_READ_WRITE, 0xC8, 16)
    MODE_REVOKE_LEASE = _number(_READ_WRITE, 0xC9, 4)
    SYNCOBJ_TIMELINE_WAIT = _number(_READ_WRITE, 0xCA, 48)
    SYNCOBJ_QUERY = _number(_READ_WRITE, 0xCB, 24)
    SYNCOBJ_TRANSFER = _number(_READ_WRITE, 0xCC, 32)
    SYNCOBJ_TIMELINE_SIGNAL = _number(_READ_WRITE, 0xCD, 24)
    MODE_GETFB2 = _number(_READ_WRITE, 0xCE, 104)
    SYNCOBJ_EVENTFD = _number(_READ_WRITE, 0xCF, 24)
    MODE_CLOSEFB = _number(_READ_WRITE, 0xD0, 8)
    SET_CLIENT_NAME = _number(_READ_WRITE, 0xD1, 16)
    GEM_CHANGE_HANDLE = _number(_READ_WRITE, 0xD2, 8)


ARGUMENTS: Final = {
    CoreIoctl.GET_CLIENT: CLIENT,
    CoreIoctl.GET_CAP: GET_CAP,
    CoreIoctl.GEM_FLINK: GEM_FLINK,
    CoreIoctl.GEM_OPEN: GEM_OPEN,
    CoreIoctl.SET_CLIENT_NAME: SET_CLIENT_NAME,
    CoreIoctl.SYNCOBJ_CREATE: SYNCOBJ_CREATE,
    CoreIoctl.SYNCOBJ_DESTROY: SYNCOBJ_DESTROY,
    CoreIoctl.SYNCOBJ_HANDLE_TO_FD: SYNCOBJ_HANDLE,
    CoreIoctl.SYNCOBJ_FD_TO_HANDLE: SYNCOBJ_HANDLE,
    CoreIoctl.SYNCOBJ_WAIT: SYNCOBJ_WAIT,
    CoreIoctl.SYNCOBJ_RESET: SYNCOBJ_ARRAY,
    CoreIoctl.SYNCOBJ_SIGNAL: SYNCOBJ_ARRAY,
    CoreIoctl.SYNCOBJ_TIMELINE_WAIT: SYNCOBJ_TIMELINE_WAIT,
    CoreIoctl.SYNCOBJ_QUERY: SYNCOBJ_TIMELINE_ARRAY,
    CoreIoctl.SYNCOBJ_TRANSFER: SYNCOBJ_TRANSFER,
    CoreIoctl.SYNCOBJ_TIMELINE_SIGNAL: SYNCOBJ_TIMELINE_ARRAY,
    CoreIoctl.SYNCOBJ_EVENTFD: SYNCOBJ_EVENTFD,
}
"""The structure behind each request's argument, where the node looks into it."""
