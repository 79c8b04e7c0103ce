"""Hardware contexts and commands. Mirrors the ioctls of ``amdxdna_ctx.c`` and their AIE4 half in ``aie4_ctx.c``."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from fauxdna.abi import uapi
from fauxdna.abi.uapi import CommandType, ConfigParam, Ioctl
from fauxdna.accel import Qos
from fauxdna.driver import HardwareContext
from fauxdna.driver.memory import PAGE_SIZE
from fauxdna.errors import DeviceTimeout, FauxdnaError, InvalidArgument, OutOfSpace, Unsupported

from ._request import Request
from ._table import Entry, must_be_zero
from ._user_memory import UserMemory

_ARGUMENTS_MOST: Final = 4095
"""``MAX_ARG_COUNT``."""
_LOOK_S: Final = 0.2
"""How often a waiting thread looks whether its caller still waits."""


def create_hwctx(request: Request) -> None:
    """``amdxdna_drm_create_hwctx_ioctl`` and ``aie4_hwctx_init``."""
    must_be_zero(request, "ext", "ext_flags")
    file, fields = request.file, request.fields
    if not file.is_vf:
        raise Unsupported(f"CREATE_HWCTX on {file.local.name}: a PF has no queues", "use the node of a VF")
    qos = Qos(**uapi.QOS_INFO.unpack(request.read(fields.qos_p, uapi.QOS_INFO.size, "QoS information")))
    if isinstance(file.local.bo(fields.umq_bo).store, UserMemory):
        # Its dma-buf has no vmap (amdxdna_ubuf_dmabuf_ops).
        raise OutOfSpace("a queue in a user-pointer BO can't be mapped by the kernel", "use a plain BO", errno=errno.ENOMEM)
    info = file.local.create_hwctx(fields.umq_bo, fields.num_tiles, qos)
    try:
        # The program maps its node's file, which can't show BAR 2: the page lies there, at the same offset.
        file.node.store.reach(info.umq_doorbell + PAGE_SIZE)
        file.local.show_doorbell(info.handle, file.node.store.fd, info.umq_doorbell)
    except OSError:
        file.local.destroy_hwctx(info.handle)
        raise
    if file.watcher is not None:
        file.watcher.begin(info.handle, file.local.completion(info.handle))
    request.set(handle=info.handle, umq_doorbell=info.umq_doorbell, syncobj_handle=info.syncobj_handle)


def destroy_hwctx(request: Request) -> bool | None:
    """``amdxdna_drm_destroy_hwctx_ioctl``: WAIT_CMD finds the context no more; who waits in this file already is waited for."""
    must_be_zero(request, "pad")
    file, handle = request.file, request.fields.handle
    context = file.local.take_hwctx(handle)
    if file.watcher is not None:
        file.watcher.end(handle)
    if file.local.waited_for(context):
        file.node.run(lambda: _destroy(request, handle, context))
        return True
    file.local.end_hwctx(handle, context)
    return None


def _destroy(request: Request, handle: int, context: HardwareContext) -> None:
    local, error = request.file.local, 0
    try:
        local.drain_waits(context)
        local.end_hwctx(handle, context)
    except OSError as refused:
        # The function went away meanwhile.
        error = refused.errno or errno.EIO
    request.finish(error)


def config_hwctx(request: Request) -> None:
    """``amdxdna_drm_config_hwctx_ioctl``; a VF of Linux 7.2 has no ``hwctx_config``."""
    must_be_zero(request, "pad")
    fields, local = request.fields, request.file.local
    value: bytes | int = fields.param_val
    if request.file.next and request.file.is_vf and fields.param_type == ConfigParam.CONFIG_CU:
        if fields.param_val_size > PAGE_SIZE:
            raise InvalidArgument(
                f"configuration of {fields.param_val_size} bytes", f"give at most {PAGE_SIZE}", errno=errno.E2BIG
            )
        value = request.read(fields.param_val, fields.param_val_size, "configuration")
    local.config_hwctx(fields.handle, fields.param_type, value)


def exec_cmd(request: Request) -> None:
    """``amdxdna_drm_submit_cmd_ioctl``, as far as a function without ``cmd_submit`` goes."""
    must_be_zero(request, "ext", "ext_flags")
    fields = request.fields
    if fields.type != CommandType.EXEC_BUF:
        raise InvalidArgument(f"command type {fields.type}", "use EXEC_BUF")
    if fields.arg_count > _ARGUMENTS_MOST:
        raise InvalidArgument(f"{fields.arg_count} argument BOs", f"give at most {_ARGUMENTS_MOST}")
    if fields.cmd_count != 1:
        raise InvalidArgument(f"{fields.cmd_count} command BOs", "give 1")
    raw = request.read(fields.args, fields.arg_count * 4, "argument BOs")
    arguments = struct.unpack(f"<{fields.arg_count}I", raw)
    request.set(seq=request.file.local.exec_cmd(fields.hwctx, fields.cmd_handles & 0xFFFF_FFFF, arguments))


def wait_cmd(request: Request) -> bool | None:
    """``amdxdna_drm_wait_cmd_ioctl`` and ``aie4_cmd_wait``, for contexts whose waits the door does not serve itself."""
    file, fields = request.file, request.fields
    if not file.is_vf:
        raise Unsupported(f"WAIT_CMD on {file.local.name}: a PF has no queues", "use the node of a VF")
    with ExitStack() as waiting:
        wait = waiting.enter_context(file.local.waiting(fields.hwctx))
        try:
            wait(fields.seq, 1)
        except DeviceTimeout:
            if fields.timeout == 1:
                raise
        else:
            return None
        kept = waiting.pop_all()
    file.node.run(lambda: _wait(request, wait, kept))
    request.call.interruptible()
    return True


def _wait(request: Request, wait: Callable[[int, int], None], waiting: ExitStack) -> None:
    fields = request.fields
    deadline = time.monotonic() + fields.timeout / 1000 if fields.timeout else float("inf")
    error = 0
    with waiting:
        while request.call.alive and not request.file.closing:
            left = min(_LOOK_S, deadline - time.monotonic())
            if left <= 0:
                error = errno.ETIME
                break
            try:
                wait(fields.seq, max(1, int(left * 1000)))
                break
            except DeviceTimeout:
                continue
            except FauxdnaError as refused:
                error = refused.errno or errno.EIO
                break
            except OSError:
                # The function went away under the wait.
                error = errno.ENODEV
                break
    request.finish(error)


ENTRIES: Final = (
    Entry("CREATE_HWCTX", Ioctl.CREATE_HWCTX, create_hwctx, uapi.CREATE_HWCTX),
    Entry("DESTROY_HWCTX", Ioctl.DESTROY_HWCTX, destroy_hwctx, uapi.DESTROY_HWCTX),
    Entry("CONFIG_HWCTX", Ioctl.CONFIG_HWCTX, config_hwctx, uapi.CONFIG_HWCTX),
    Entry("EXEC_CMD", Ioctl.EXEC_CMD, exec_cmd, uapi.EXEC_CMD),
    Entry("WAIT_CMD", Ioctl.WAIT_CMD, wait_cmd, uapi.WAIT_CMD),
)
