"""A program on the ioctl door: calls as a door hands them over, of this process, with its own memory and descriptors."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import cast

from _patience import PATIENCE

from fauxdna._core import Call
from fauxdna.abi import drm, uapi
from fauxdna.abi._declare import Record
from fauxdna.abi.uapi_next import Level
from fauxdna.accel import Mapping
from fauxdna.accel.machine import Machine
from fauxdna.host.uapi import Hub, Service

STRUCTURES = {int(number): structure for number, structure in (uapi.ARGUMENTS | drm.ARGUMENTS).items()}
_clients = count(1)


@dataclass
class FakeCall:
    """What ``_core.Call`` is, made by hand. The caller's memory is this process's."""

    node: int
    client: int
    request: int
    argument: int
    argument_memory: object = None
    """What :attr:`argument` points to, where the call has to keep it."""
    pid: int = field(default_factory=os.getpid)
    tid: int = field(default_factory=threading.get_native_id)
    alive: bool = True
    error: int | None = None
    reads: int = 0
    waits: bool = False
    interrupted: Callable[[], object] | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def data(self) -> bytes:
        return self.read(self.argument, self.request >> 16 & 0x3FFF)

    def read(self, address: int, length: int) -> bytes:
        self.reads += 1
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            try:
                data = os.pread(memory.fileno(), length, address)
            except (OSError, OverflowError):
                data = b""
        if len(data) != length:
            raise OSError(errno.EFAULT, "Bad address")
        return data

    def write(self, address: int, data: bytes) -> None:
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            try:
                written = os.pwrite(memory.fileno(), data, address)
            except (OSError, OverflowError):
                written = 0
        if written != len(data):
            raise OSError(errno.EFAULT, "Bad address")

    def get_fd(self, fd: int) -> int:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0) if fd >= 0 else os.dup(-1)

    def add_fd(self, fd: int, cloexec: bool) -> int:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC if cloexec else fcntl.F_DUPFD, 0)

    def memory_fd(self) -> int:
        return os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)

    def interruptible(self, ended: Callable[[], object] | None = None) -> None:
        self.waits = True
        self.interrupted = ended

    def reply(self, error: int = 0) -> None:
        assert self.error is None, "answered twice"
        self.error = error
        self.ended.set()


class Sandbox:
    """Programs with their own node files, and the service behind them; nodes are BDFs."""

    def __init__(
        self,
        machine: Machine,
        *nodes: str,
        level: Level = Level.LINUX_7_2,
        hub: Hub | None = None,
        door: type[FakeCall] = FakeCall,
    ) -> None:
        self.machine = machine
        self.door = door
        self.nodes = nodes or (next(bdf for bdf in machine.nodes if bdf.endswith(".1")),)
        self.files = [os.memfd_create("node", os.MFD_CLOEXEC) for _ in self.nodes]
        self.service = Service(
            self.files,
            lambda index, store, pid: machine.open(bdf=self.nodes[index], store=store, pid=pid, level=level),
            hub=hub,
        )

    def open(self, node: int = 0) -> Program:
        """A new open file description."""
        return Program(self, node)

    def close(self) -> None:
        self.service.close()
        for fd in self.files:
            os.close(fd)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Program:
    """One open file."""

    def __init__(self, sandbox: Sandbox, node: int) -> None:
        self.sandbox = sandbox
        self.node = node
        self.client = next(_clients)

    def start(self, request: int, address: int) -> FakeCall:
        """Begins an ioctl on an argument at ``address``."""
        call = self.sandbox.door(self.node, self.client, request, address)
        self.sandbox.service.call(cast("Call", call))
        return call

    def raw(self, request: int, argument: bytes) -> tuple[int, bytes]:
        """(errno, argument afterwards) of an ioctl."""
        buffer = ctypes.create_string_buffer(argument, max(1, len(argument)))
        call = self.start(request, ctypes.addressof(buffer))
        assert call.ended.wait(PATIENCE), "no answer"
        assert call.error is not None
        return call.error, buffer.raw[: len(argument)]

    def ioctl(self, request: int, **values: int) -> Record:
        """The argument afterwards; ``OSError`` if it failed."""
        structure = STRUCTURES[int(request)]
        error, data = self.raw(request, structure.pack(**values))
        if error:
            raise OSError(error, f"{request!r} of {values}")
        return structure.unpack(data)

    def errno(self, request: int, **values: int) -> int:
        """0, or why it failed."""
        return self.raw(request, STRUCTURES[int(request)].pack(**values))[0]

    def bo(self, size: int = 4096, type_: int = uapi.BoType.SHARE) -> int:
        """A handle."""
        return self.ioctl(uapi.Ioctl.CREATE_BO, size=size, type=type_).handle

    def info(self, handle: int) -> Record:
        """GET_BO_INFO."""
        return self.ioctl(uapi.Ioctl.GET_BO_INFO, handle=handle)

    def mmap(self, offset: int, length: int) -> mmap.mmap:
        """The program's own mmap: nobody but the kernel has a say in it."""
        return mmap.mmap(self.sandbox.files[self.node], length, offset=offset)

    def map_bo(self, handle: int, length: int = 4096) -> mmap.mmap:
        return self.mmap(self.info(handle).map_offset, length)

    def export(self, handle: int) -> int:
        flags = os.O_CLOEXEC | os.O_RDWR
        return self.ioctl(uapi.Ioctl.PRIME_HANDLE_TO_FD, handle=handle, flags=flags).fd

    def import_(self, fd: int) -> int:
        return self.ioctl(uapi.Ioctl.PRIME_FD_TO_HANDLE, fd=fd).handle

    def context(self, queue: int, tiles: int = 4) -> Record:
        qos = ctypes.create_string_buffer(uapi.QOS_INFO.pack(priority=uapi.Priority.NORMAL), uapi.QOS_INFO.size)
        return self.ioctl(uapi.Ioctl.CREATE_HWCTX, qos_p=ctypes.addressof(qos), umq_bo=queue, num_tiles=tiles)

    def close(self) -> None:
        """The last descriptor and mapping are gone."""
        self.sandbox.service.closed(self.client)


def at(data: bytes | ctypes.Array[ctypes.c_char]) -> tuple[int, object]:
    """An address in this process's memory, and what keeps it."""
    buffer = ctypes.create_string_buffer(data, len(data)) if isinstance(data, bytes) else data
    return ctypes.addressof(buffer), buffer


class ServiceKernel:
    """The system calls of :class:`fauxdna.accel.real.RealFile`, as a program in a sandbox has them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.program = sandbox.open()

    def ioctl(self, fd: int, request: int, argument: bytearray) -> None:
        error, argument[:] = self.program.raw(request, bytes(argument))
        if error:
            raise OSError(error, os.strerror(error))

    def mmap(self, fd: int, length: int, offset: int) -> Mapping:
        return Mapping(self.program.mmap(offset, length), self.program.sandbox.files[self.program.node], offset)
