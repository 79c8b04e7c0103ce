"""A real node, ``/dev/accel/accelN``, by ioctl and mmap."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Mapping as Values
from pathlib import Path
from typing import Final, Protocol, Self

from fauxdna.abi import uapi
from fauxdna.abi._declare import Record
from fauxdna.abi.uapi import BoType, CommandType, InfoParam, Ioctl, SyncDirection
from fauxdna.driver import BoInfo, ContextInfo, Qos
from fauxdna.errors import (
    Busy,
    DeviceError,
    DeviceGone,
    DeviceTimeout,
    FauxdnaError,
    InvalidArgument,
    NotFound,
    OutOfSpace,
    Unsupported,
)

from . import Mapping, Version

_KINDS: Final[dict[int, type[FauxdnaError]]] = {
    errno.EINVAL: InvalidArgument,
    errno.EFAULT: InvalidArgument,
    errno.EBADF: InvalidArgument,
    errno.E2BIG: InvalidArgument,
    errno.ENOENT: NotFound,
    errno.EBUSY: Busy,
    errno.EPERM: Busy,
    errno.ENOMEM: OutOfSpace,
    errno.ENOSPC: OutOfSpace,
    errno.EOPNOTSUPP: Unsupported,
    errno.ENOTTY: Unsupported,
    errno.ETIME: DeviceTimeout,
    errno.ETIMEDOUT: DeviceTimeout,
    errno.ENODEV: DeviceGone,
}
_NAME_LIMIT: Final = 64


class Kernel(Protocol):
    """The system calls that a node is reached by: the lowest seam, for tests."""

    def ioctl(self, fd: int, request: int, argument: bytearray) -> None:
        """``ioctl(2)`` with ``argument`` read and written in place."""
        ...

    def mmap(self, fd: int, length: int, offset: int) -> Mapping:
        """``mmap(2)``, shared, for reading and writing."""
        ...


class Linux:
    """This machine's kernel."""

    def ioctl(self, fd: int, request: int, argument: bytearray) -> None:
        """See :class:`Kernel`."""
        while True:
            try:
                fcntl.ioctl(fd, request, argument, True)
                return
            except InterruptedError:
                # A signal handler ran and did not raise: wait on, as other blocking calls of Python do (PEP 475).
                continue

    def mmap(self, fd: int, length: int, offset: int) -> Mapping:
        """See :class:`Kernel`."""
        return Mapping(mmap.mmap(fd, length, offset=offset), fd, offset)


class RealFile:
    """An open file of the node at ``path``: an :class:`~fauxdna.accel.AccelFile`.

    A failed call raises the class of :mod:`fauxdna.errors` that fits its errno; the kernel log says more.
    """

    kick_fd = None

    def __init__(self, path: str | os.PathLike[str], kernel: Kernel | None = None) -> None:
        self.name = os.fspath(path)
        self._kernel = kernel or Linux()
        try:
            self._fd = os.open(self.name, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _KINDS.get(error.errno or 0, DeviceError)(
                f"{self.name} can't be opened: {error.strerror}",
                "load amdxdna and give yourself access to the node (group render)",
                errno=error.errno,
            ) from error

    def version(self) -> Version:
        """See :class:`~fauxdna.accel.AccelFile`."""
        name = ctypes.create_string_buffer(_NAME_LIMIT)
        reply = self._call(Ioctl.VERSION, name_len=_NAME_LIMIT, name=ctypes.addressof(name))
        text = name.raw[: reply.name_len].decode("latin-1")
        return Version(reply.version_major, reply.version_minor, reply.version_patchlevel, text)

    def attributes(self) -> dict[str, str]:
        """See :class:`~fauxdna.accel.AccelFile`; those that sysfs has. A sandbox's node has no number, but its name."""
        number = os.fstat(self._fd).st_rdev
        entry = f"dev/char/{os.major(number)}:{os.minor(number)}" if number else f"class/accel/{Path(self.name).name}"
        device = Path("/sys", entry, "device")
        names = ("device_type", "vbnv", "fw_version", "vendor", "device", "revision", "class", "sriov_totalvfs", "sriov_numvfs")
        return {name: (device / name).read_text().strip() for name in names if (device / name).is_file()}

    def create_bo(self, size: int, type_: BoType = BoType.SHARE, *, flags: int = 0) -> int:
        """See :class:`~fauxdna.accel.AccelFile`."""
        return self._call(Ioctl.CREATE_BO, flags=flags, size=size, type=type_).handle

    def create_bo_from_fd(self, fd: int) -> int:
        """See :class:`~fauxdna.accel.AccelFile`."""
        table = ctypes.create_string_buffer(uapi.VA_TABLE.pack(dmabuf_fd=fd), uapi.VA_TABLE.size)
        return self._call(Ioctl.CREATE_BO, vaddr=ctypes.addressof(table), type=BoType.SHARE, _keep=table).handle

    def get_bo_info(self, handle: int) -> BoInfo:
        """See :class:`~fauxdna.accel.AccelFile`."""
        reply = self._call(Ioctl.GET_BO_INFO, handle=handle)
        return BoInfo(reply.map_offset, reply.vaddr, reply.xdna_addr)

    def sync_bo(self, handle: int, direction: SyncDirection, offset: int, size: int) -> None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        self._call(Ioctl.SYNC_BO, handle=handle, direction=direction, offset=offset, size=size)

    def gem_close(self, handle: int) -> None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        self._call(Ioctl.GEM_CLOSE, handle=handle)

    def prime_handle_to_fd(self, handle: int) -> int:
        """See :class:`~fauxdna.accel.AccelFile`."""
        return self._call(Ioctl.PRIME_HANDLE_TO_FD, handle=handle, flags=os.O_RDWR | os.O_CLOEXEC).fd

    def prime_fd_to_handle(self, fd: int) -> int:
        """See :class:`~fauxdna.accel.AccelFile`."""
        return self._call(Ioctl.PRIME_FD_TO_HANDLE, fd=fd).handle

    def create_hwctx(self, umq_bo: int, num_tiles: int, qos: Qos | None = None) -> ContextInfo:
        """See :class:`~fauxdna.accel.AccelFile`."""
        info = ctypes.create_string_buffer(uapi.QOS_INFO.pack(**vars(qos or Qos())), uapi.QOS_INFO.size)
        reply = self._call(Ioctl.CREATE_HWCTX, qos_p=ctypes.addressof(info), umq_bo=umq_bo, num_tiles=num_tiles, _keep=info)
        return ContextInfo(reply.handle, reply.umq_doorbell, reply.syncobj_handle)

    def destroy_hwctx(self, handle: int) -> None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        self._call(Ioctl.DESTROY_HWCTX, handle=handle)

    def config_hwctx(self, handle: int, param: int, value: bytes | int) -> None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        if isinstance(value, int):
            self._call(Ioctl.CONFIG_HWCTX, handle=handle, param_type=param, param_val=value)
            return
        data = ctypes.create_string_buffer(value, len(value))
        address = ctypes.addressof(data)
        self._call(Ioctl.CONFIG_HWCTX, handle=handle, param_type=param, param_val=address, param_val_size=len(value), _keep=data)

    def exec_cmd(self, hwctx: int, command: int, arguments: tuple[int, ...] = (), type_: int = CommandType.EXEC_BUF) -> int:
        """See :class:`~fauxdna.accel.AccelFile`."""
        handles = (ctypes.c_uint32 * max(1, len(arguments)))(*arguments)
        return self._call(
            Ioctl.EXEC_CMD,
            hwctx=hwctx,
            type=type_,
            cmd_handles=command,
            args=ctypes.addressof(handles),
            cmd_count=1,
            arg_count=len(arguments),
            _keep=handles,
        ).seq

    def wait_cmd(self, hwctx: int, sequence: int, timeout_ms: int = 0) -> None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        self._call(Ioctl.WAIT_CMD, hwctx=hwctx, timeout=timeout_ms, seq=sequence)

    def get_info(self, param: int, size: int, data: bytes = b"") -> bytes:
        """See :class:`~fauxdna.accel.AccelFile`."""
        buffer = ctypes.create_string_buffer(data[:size], max(1, size))
        reply = self._call(Ioctl.GET_INFO, param=param, buffer_size=size, buffer=ctypes.addressof(buffer))
        return buffer.raw[: min(size, reply.buffer_size)]

    def aie_status(self, size: int) -> tuple[bytes, int]:
        """See :class:`~fauxdna.accel.AccelFile`."""
        buffer = ctypes.create_string_buffer(max(1, size))
        layout = uapi.QUERY_AIE_STATUS
        request = layout.pack(buffer=ctypes.addressof(buffer), buffer_size=size)
        answer = layout.unpack(self.get_info(InfoParam.AIE_STATUS, layout.size, request))
        return buffer.raw[:size], answer.cols_filled

    def get_array(self, param: int, element_size: int, count: int, data: bytes = b"") -> tuple[int, int, bytes]:
        """See :class:`~fauxdna.accel.AccelFile`."""
        size = max(1, element_size * count)
        buffer = ctypes.create_string_buffer(data[:size], size)
        reply = self._call(
            Ioctl.GET_ARRAY, param=param, element_size=element_size, num_element=count, buffer=ctypes.addressof(buffer)
        )
        return reply.element_size, reply.num_element, buffer.raw[: reply.element_size * reply.num_element]

    def set_state(self, param: int, data: bytes) -> None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        buffer = ctypes.create_string_buffer(data, max(1, len(data)))
        self._call(Ioctl.SET_STATE, param=param, buffer_size=len(data), buffer=ctypes.addressof(buffer), _keep=buffer)

    def mmap(self, length: int, offset: int) -> Mapping:
        """See :class:`~fauxdna.accel.AccelFile`."""
        try:
            return self._kernel.mmap(self._require(), length, offset)
        except OSError as error:
            if isinstance(error, FauxdnaError):
                raise
            raise self._refused("mmap", f"length={length}, offset={offset:#x}", error) from error

    def cost(self, hwctx: int, sequence: int) -> Values[str, int]:
        """See :class:`~fauxdna.accel.AccelFile`: nothing."""
        return {}

    def failure(self, hwctx: int) -> str:
        """See :class:`~fauxdna.accel.AccelFile`: nothing."""
        return ""

    def trace(self, hwctx: int, enabled: bool) -> None:
        """See :class:`~fauxdna.accel.AccelFile`: nothing."""

    def take_trace(self, hwctx: int) -> list[tuple[int, str, str]]:
        """See :class:`~fauxdna.accel.AccelFile`: nothing."""
        return []

    def close(self) -> None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _call(self, request: Ioctl, *, _keep: object = None, **values: int) -> Record:
        """One ioctl: packs ``values``, and unpacks what comes back. ``_keep`` is alive until then."""
        struct = uapi.ARGUMENTS[request]
        argument = bytearray(struct.pack(**values))
        fd = self._require()
        try:
            self._kernel.ioctl(fd, int(request), argument)
        except OSError as error:
            raise self._refused(request.name, ", ".join(f"{name}={value}" for name, value in values.items()), error) from error
        return struct.unpack(argument)

    def _require(self) -> int:
        if self._fd < 0:
            raise DeviceGone(f"{self.name} is closed", "open it again", errno=errno.EBADF)
        return self._fd

    def _refused(self, call: str, detail: str, error: OSError) -> FauxdnaError:
        number = error.errno or errno.EIO
        return _KINDS.get(number, DeviceError)(
            f"{call} of {self.name} failed ({os.strerror(number)}) with {detail}",
            "the kernel's log says why: dmesg",
            errno=number,
        )
