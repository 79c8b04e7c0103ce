"""The ``SYNCOBJ_*`` ioctls, in the order of checks of ``drm_syncobj.c``."""

from __future__ import annotations

import errno
import os
import struct
import time
from typing import Final, cast

from fauxdna.abi import drm
from fauxdna.abi.drm import CoreIoctl, SyncobjCreate, SyncobjFd, SyncobjQuery, SyncobjWait
from fauxdna.errors import DeviceTimeout, InvalidArgument, OutOfSpace

from ._prime import install
from ._request import ADDRESS_MASK, Request
from ._syncobj import SIGNALLED, Eventfd, Fence, Syncobj
from ._table import Entry, must_be_zero, no_handle
from ._tokens import Token
from ._waits import Wait

_SYNCOBJ: Final = "syncobj"
_SYNC_FILE: Final = "sync_file"
_ARRAY_MOST: Final = 4 << 20
"""Bytes that ``kmalloc`` gives at most (``KMALLOC_MAX_SIZE`` of x86-64)."""
_NO_INDEX: Final = 0xFFFF_FFFF
_SUBMIT_TIMEOUT_NS: Final = 5_000_000_000
"""``DRM_SYNCOBJ_WAIT_FOR_SUBMIT_TIMEOUT``."""


def create(request: Request) -> None:
    """``drm_syncobj_create_ioctl``."""
    _check_flags(request, SyncobjCreate.SIGNALED)
    fence = SIGNALLED if request.fields.flags else None
    request.set(handle=request.file.syncobjs.add(Syncobj(fence)))


def destroy(request: Request) -> None:
    """``drm_syncobj_destroy_ioctl``."""
    must_be_zero(request, "pad")
    request.file.syncobjs.remove(request.fields.handle)


def handle_to_fd(request: Request) -> None:
    """``drm_syncobj_handle_to_fd_ioctl``: the syncobj itself, or a snapshot of its fence as a sync file."""
    must_be_zero(request, "pad")
    _check_flags(request, SyncobjFd.SYNC_FILE | SyncobjFd.TIMELINE)
    fields, tokens = request.fields, request.file.hub.tokens
    syncobj = request.file.syncobjs.find(fields.handle)
    if fields.flags & SyncobjFd.SYNC_FILE:
        point = fields.point if fields.flags & SyncobjFd.TIMELINE else 0
        if syncobj is None:
            raise no_handle(_SYNCOBJ, fields.handle)
        _install(request, tokens.make(_SYNC_FILE, 0, _fence_at(syncobj, point)))
        return
    must_be_zero(request, "point")
    if syncobj is None:
        raise InvalidArgument(f"syncobj handle {fields.handle} is not open", "create it first")
    _install(request, tokens.make(_SYNCOBJ, 0, syncobj, of=syncobj))


def _install(request: Request, token: Token) -> None:
    tokens = request.file.hub.tokens
    try:
        ours = tokens.descriptor(token)
        try:
            request.set(fd=install(request, ours, cloexec=True))
        finally:
            os.close(ours)
    finally:
        tokens.unpin(token)


def fd_to_handle(request: Request) -> None:
    """``drm_syncobj_fd_to_handle_ioctl``: a new handle of the syncobj, or a sync file's fence put into one."""
    must_be_zero(request, "pad")
    _check_flags(request, SyncobjFd.SYNC_FILE | SyncobjFd.TIMELINE)
    fields, file = request.fields, request.file
    if fields.flags & SyncobjFd.SYNC_FILE:
        fence = cast("Fence", _item(request, fields.fd, _SYNC_FILE))
        syncobj = _find(request, fields.handle)
        if fields.flags & SyncobjFd.TIMELINE and fields.point:
            syncobj.add_point(fields.point)
        else:
            syncobj.replace(fence)
        return
    must_be_zero(request, "point")
    request.set(handle=file.syncobjs.add(cast("Syncobj", _item(request, fields.fd, _SYNCOBJ))))


def _item(request: Request, fd: int, kind: str) -> object:
    """What a descriptor stands for; ``EINVAL`` even where it is not open."""
    try:
        ours = request.call.get_fd(fd)
    except OSError as error:
        raise InvalidArgument(f"descriptor {fd} is not open", f"pass one of a {kind}") from error
    tokens = request.file.hub.tokens
    try:
        token = tokens.find(ours, kind)
    finally:
        os.close(ours)
    item = token.item
    tokens.unpin(token)
    return item


def transfer(request: Request) -> bool | None:
    """``drm_syncobj_transfer_ioctl``: a point's fence from one syncobj to another, waited for 5 s if asked."""
    must_be_zero(request, "pad")
    fields = request.fields
    destination, source = _find(request, fields.dst_handle), _find(request, fields.src_handle)
    _check_flags(request, SyncobjWait.FOR_SUBMIT)

    def move(_: int) -> None:
        if fields.dst_point:
            destination.add_point(fields.dst_point)
        else:
            fence = source.fence or SIGNALLED
            destination.replace(fence.at(fields.src_point))

    if source.reaches(fields.src_point):
        move(0)
        return None
    if not fields.flags:
        raise _not_submitted(fields.src_handle, fields.src_point)
    deadline = time.monotonic_ns() + _SUBMIT_TIMEOUT_NS
    missing = [(0, source, fields.src_point)]
    request.file.hub.waits.add(Wait(request, missing, everything=True, deadline=deadline, done=move))
    return True


def wait(request: Request) -> bool | None:
    """``drm_syncobj_wait_ioctl``."""
    _check_flags(request, SyncobjWait.ALL | SyncobjWait.FOR_SUBMIT | SyncobjWait.DEADLINE)
    return _wait(request, 0)


def timeline_wait(request: Request) -> bool | None:
    """``drm_syncobj_timeline_wait_ioctl``."""
    _check_flags(request, SyncobjWait.ALL | SyncobjWait.FOR_SUBMIT | SyncobjWait.AVAILABLE | SyncobjWait.DEADLINE)
    return _wait(request, request.fields.points)


def _wait(request: Request, points_address: int) -> bool | None:
    """``drm_syncobj_array_wait_timeout``. What has a fence is signalled; what has none may be waited for."""
    fields = request.fields
    if not fields.count_handles:
        return None
    syncobjs = _array(request)
    points = _points(request, points_address, len(syncobjs))
    everything = bool(fields.flags & SyncobjWait.ALL)
    missing, first = [], _NO_INDEX
    for index, (syncobj, point) in enumerate(zip(syncobjs, points, strict=True)):
        if syncobj.reaches(point):
            first = min(first, index)
        elif fields.flags & (SyncobjWait.FOR_SUBMIT | SyncobjWait.AVAILABLE):
            missing.append((index, syncobj, point))
        else:
            raise _not_submitted(index, point)

    def done(index: int) -> None:
        request.set(first_signaled=first if everything else index)

    if not missing or (first != _NO_INDEX and not everything):
        done(first)
        return None
    if fields.timeout_nsec <= time.monotonic_ns():
        raise DeviceTimeout(f"{len(missing)} of {len(syncobjs)} syncobjs have no fence", "wait longer, or signal them")
    request.file.hub.waits.add(Wait(request, missing, everything=everything, deadline=fields.timeout_nsec, done=done))
    return True


def reset(request: Request) -> None:
    """``drm_syncobj_reset_ioctl``."""
    must_be_zero(request, "pad")
    for syncobj in _some(request):
        syncobj.replace(None)


def signal(request: Request) -> None:
    """``drm_syncobj_signal_ioctl``."""
    must_be_zero(request, "pad")
    for syncobj in _some(request):
        syncobj.replace(SIGNALLED)


def timeline_signal(request: Request) -> None:
    """``drm_syncobj_timeline_signal_ioctl``."""
    must_be_zero(request, "flags")
    syncobjs = _some(request)
    for syncobj, point in zip(syncobjs, _points(request, request.fields.points, len(syncobjs)), strict=True):
        syncobj.add_point(point)


def query(request: Request) -> None:
    """``drm_syncobj_query_ioctl``: each timeline's point, 0 for plain fences and none."""
    _check_flags(request, SyncobjQuery.LAST_SUBMITTED)
    address = request.fields.points
    for index, syncobj in enumerate(_some(request)):
        fence = syncobj.fence
        point = 0 if fence is None or fence.point is None else fence.point
        request.write(address + 8 * index & ADDRESS_MASK, struct.pack("<Q", point), "points")


def eventfd(request: Request) -> None:
    """``drm_syncobj_eventfd_ioctl``."""
    _check_flags(request, SyncobjWait.AVAILABLE)
    must_be_zero(request, "pad")
    fields = request.fields
    syncobj = _find(request, fields.handle)
    try:
        ours = request.call.get_fd(fields.fd)
    except OSError as error:
        raise InvalidArgument(f"descriptor {fields.fd} is not open", "pass an eventfd", errno=errno.EBADF) from error
    if not Eventfd.is_one(ours):
        os.close(ours)
        raise InvalidArgument(f"descriptor {fields.fd} is no eventfd", "pass one")
    syncobj.listen(fields.point, Eventfd(ours).signal)


def _check_flags(request: Request, valid: int) -> None:
    # An IntFlag's complement has its own bits only.
    if request.fields.flags & ~int(valid):
        raise InvalidArgument(f"{request.name} flags {request.fields.flags:#x}", f"give {int(valid):#x} at most")


def _find(request: Request, handle: int) -> Syncobj:
    syncobj = request.file.syncobjs.find(handle)
    if syncobj is None:
        raise no_handle(_SYNCOBJ, handle)
    return syncobj


def _fence_at(syncobj: Syncobj, point: int) -> Fence:
    fence = syncobj.fence
    if fence is None or not fence.reaches(point):
        raise _not_submitted(0, point)
    return fence.at(point)


def _not_submitted(index: int, point: int) -> InvalidArgument:
    return InvalidArgument(f"syncobj {index} has no fence for point {point}", "signal it first, or wait for submission")


def _some(request: Request) -> list[Syncobj]:
    """The syncobjs of an array that may not be empty."""
    if not request.fields.count_handles:
        raise InvalidArgument(f"{request.name} of no syncobjs", "name at least one")
    return _array(request)


def _array(request: Request) -> list[Syncobj]:
    """``drm_syncobj_array_find``."""
    count = request.fields.count_handles
    if count * 4 > _ARRAY_MOST:
        raise _too_many(count)
    raw = request.read(request.fields.handles, count * 4, "handles")
    if count * 8 > _ARRAY_MOST:
        raise _too_many(count)
    return [_find(request, handle) for handle in struct.unpack(f"<{count}I", raw)]


def _points(request: Request, address: int, count: int) -> tuple[int, ...]:
    if not address:
        return (0,) * count
    return struct.unpack(f"<{count}Q", request.read(address, count * 8, "points"))


def _too_many(count: int) -> OutOfSpace:
    return OutOfSpace(f"an array of {count} syncobjs", f"give at most {_ARRAY_MOST // 8}", errno=errno.ENOMEM)


ENTRIES: Final = (
    Entry("SYNCOBJ_CREATE", CoreIoctl.SYNCOBJ_CREATE, create, drm.SYNCOBJ_CREATE),
    Entry("SYNCOBJ_DESTROY", CoreIoctl.SYNCOBJ_DESTROY, destroy, drm.SYNCOBJ_DESTROY),
    Entry("SYNCOBJ_HANDLE_TO_FD", CoreIoctl.SYNCOBJ_HANDLE_TO_FD, handle_to_fd, drm.SYNCOBJ_HANDLE),
    Entry("SYNCOBJ_FD_TO_HANDLE", CoreIoctl.SYNCOBJ_FD_TO_HANDLE, fd_to_handle, drm.SYNCOBJ_HANDLE),
    Entry("SYNCOBJ_TRANSFER", CoreIoctl.SYNCOBJ_TRANSFER, transfer, drm.SYNCOBJ_TRANSFER),
    Entry("SYNCOBJ_WAIT", CoreIoctl.SYNCOBJ_WAIT, wait, drm.SYNCOBJ_WAIT),
    Entry("SYNCOBJ_TIMELINE_WAIT", CoreIoctl.SYNCOBJ_TIMELINE_WAIT, timeline_wait, drm.SYNCOBJ_TIMELINE_WAIT),
    Entry("SYNCOBJ_RESET", CoreIoctl.SYNCOBJ_RESET, reset, drm.SYNCOBJ_ARRAY),
    Entry("SYNCOBJ_SIGNAL", CoreIoctl.SYNCOBJ_SIGNAL, signal, drm.SYNCOBJ_ARRAY),
    Entry("SYNCOBJ_TIMELINE_SIGNAL", CoreIoctl.SYNCOBJ_TIMELINE_SIGNAL, timeline_signal, drm.SYNCOBJ_TIMELINE_ARRAY),
    Entry("SYNCOBJ_QUERY", CoreIoctl.SYNCOBJ_QUERY, query, drm.SYNCOBJ_TIMELINE_ARRAY),
    Entry("SYNCOBJ_EVENTFD", CoreIoctl.SYNCOBJ_EVENTFD, eventfd, drm.SYNCOBJ_EVENTFD),
)
