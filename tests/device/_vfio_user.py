"""A vfio-user client that knows the protocol only: numbers and layouts of QEMU's docs/interop/vfio-user.rst and linux/vfio.h."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

from _patience import PATIENCE

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_REGION_IO_FDS, GET_IRQ_INFO, SET_IRQS = range(1, 9)
REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE, DEVICE_RESET = range(9, 14)
WRITE_MULTI, DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE = range(15, 19)

HEADER = struct.Struct("<HHIII")
REPLY, NO_REPLY, ERROR = 0x1, 0x10, 0x20
CONFIG = 7
MSIX, ERR = 2, 3
NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = 1, 2, 4, 8, 16, 32


@dataclass
class Answer:
    """A reply: errno (0 without the error flag), payload, descriptors."""

    id: int
    command: int
    error: int
    payload: bytes
    fds: list[int] = field(default_factory=list)


class RawClient:
    """A connection. ``ask`` sends a command and gives its answer; ``expect`` asks and checks the errno."""

    def __init__(self, path: Path, *, negotiate: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.socket.settimeout(PATIENCE)
        self._id = 0x4000
        if negotiate:
            self.expect(0, VERSION, struct.pack("<HH", 0, 1))

    def post(
        self, command: int, payload: bytes = b"", *, fds: list[int] | None = None, flags: int = 0, size: int | None = None
    ) -> int:
        self._id = (self._id + 1) & 0xFFFF
        length = HEADER.size + len(payload) if size is None else size
        data = HEADER.pack(self._id, command, length, flags, 0) + payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([data], rights)
        if sent < len(data):
            self.socket.sendall(data[sent:])
        return self._id

    def answer(self) -> Answer | None:
        """The next reply; None when the server has closed the connection."""
        fds: list[int] = []
        head = self._exactly(HEADER.size, fds)
        if head is None:
            return None
        identifier, command, size, flags, error = HEADER.unpack(head)
        assert flags & 0xF == REPLY
        body = self._exactly(size - HEADER.size, fds)
        assert body is not None
        if flags & ERROR:
            assert error
            assert body == b"", "an error has no payload"
        else:
            assert error == 0
        return Answer(identifier, command, error, body, fds)

    def ask(self, command: int, payload: bytes = b"", *, fds: list[int] | None = None) -> Answer:
        identifier = self.post(command, payload, fds=fds)
        reply = self.answer()
        assert reply is not None, "the server closed the connection"
        assert (reply.id, reply.command) == (identifier, command)
        return reply

    def expect(self, error: int, command: int, payload: bytes = b"", *, fds: list[int] | None = None) -> bytes:
        reply = self.ask(command, payload, fds=fds)
        assert reply.error == error, (errno.errorcode.get(reply.error), errno.errorcode.get(error))
        for fd in reply.fds:
            os.close(fd)
        return reply.payload

    def read(self, region: int, offset: int, count: int, error: int = 0) -> bytes:
        request = struct.pack("<QII", offset, region, count)
        reply = self.expect(error, REGION_READ, request)
        if error:
            return b""
        assert reply[:16] == request
        assert len(reply) == 16 + count
        return reply[16:]

    def write(self, region: int, offset: int, data: bytes, error: int = 0) -> None:
        request = struct.pack("<QII", offset, region, len(data))
        reply = self.expect(error, REGION_WRITE, request + data)
        assert error or reply == request

    def map(self, address: int, fd: int | None, offset: int, size: int, flags: int = 3, error: int = 0) -> None:
        request = struct.pack("<IIQQQ", 32, flags, offset, address, size)
        self.expect(error, DMA_MAP, request, fds=None if fd is None else [fd])

    def unmap(self, address: int, size: int, flags: int = 0, error: int = 0) -> None:
        request = struct.pack("<IIQQ", 24, flags, address, size)
        reply = self.expect(error, DMA_UNMAP, request)
        assert error or reply == request

    def set_irqs(
        self,
        flags: int,
        start: int,
        count: int,
        *,
        data: bytes = b"",
        fds: list[int] | None = None,
        index: int = MSIX,
        argsz: int | None = None,
        error: int = 0,
    ) -> None:
        size = 20 + len(data) if argsz is None else argsz
        self.expect(error, SET_IRQS, struct.pack("<IIIII", size, flags, index, start, count) + data, fds=fds)

    def reset(self) -> None:
        self.expect(0, DEVICE_RESET)

    def close(self) -> None:
        """Closes, and returns when the server has given the function back."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while self.socket.recv(65536):
                pass
        except OSError:
            pass
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exactly(self, length: int, fds: list[int]) -> bytes | None:
        data = b""
        while len(data) < length:
            part, ancillary, _, _ = self.socket.recvmsg(length - len(data), socket.CMSG_SPACE(64))
            for _, kind, content in ancillary:
                assert kind == socket.SCM_RIGHTS
                fds.extend(array.array("i", content))
            if not part:
                return None
            data += part
        return data


def memfd(size: int) -> int:
    """Memory of a client."""
    fd = os.memfd_create("client", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd
