"""A function behind a vfio-user socket, as a :class:`fauxdna.bus.Bus`; and a host made of several sockets."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

from fauxdna.abi import vfio_user as abi
from fauxdna.abi.vfio_user import Command, DmaFlag, IrqSet, RegionFlag

from .. import BusError, IrqIndex, MappedArea, Region, RegionInfo
from .wire import Channel, Message, WireError

_TIMEOUT_S: Final = 30.0
_INFO_MAX: Final = 4096
"""Bytes of a region's information, capabilities included, that this client takes."""


class VfioUserBus:
    """The function served at the socket ``path``. A context manager, and safe to close twice.

    It is reset when it is opened: a server may show some capabilities only from then on.

    Args:
        path: The server's socket.
        timeout_s: Host seconds to wait for an answer; after that the connection is given up (``ETIMEDOUT``).

    Raises:
        BusError: ``ENOENT`` or ``ECONNREFUSED`` if nobody serves there; ``EBUSY`` if the function has a client; ``EPROTO`` for a
            server that breaks the protocol.
    """

    def __init__(self, path: str | os.PathLike[str], timeout_s: float = _TIMEOUT_S) -> None:
        self.path = os.fspath(path)
        self._lock = threading.RLock()
        self._next_id = 0
        self._regions: dict[Region, RegionInfo] = {}
        self._closed = False
        self._max_fds, self._max_transfer = 1, abi.MAX_DATA_XFER_SIZE
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = Channel(self._socket)
        try:
            try:
                self._socket.connect(self.path)
                self._socket.settimeout(timeout_s)
            except OSError as error:
                raise BusError(error.errno, f"{self.path}: {error.strerror}; start a server there") from None
            self._negotiate()
            self.reset()
        except BaseException:
            self._socket.close()
            raise

    def region_info(self, region: Region) -> RegionInfo:
        """See :class:`fauxdna.bus.Bus`."""
        with self._lock:
            if region not in self._regions:
                self._regions[region] = self._ask_region(region)
            return self._regions[region]

    def region_read(self, region: Region, offset: int, length: int) -> bytes:
        """See :class:`fauxdna.bus.Bus`."""
        data = bytearray()
        with self._lock:
            while not data or len(data) < length:
                count = min(length - len(data), self._max_transfer)
                request = _access(region, offset + len(data), count)
                reply = self._ask(Command.REGION_READ, request).payload
                if len(reply) != abi.REGION_ACCESS.size + count:
                    raise self._broken(f"{len(reply)} bytes in answer to a read of {count}")
                data += reply[abi.REGION_ACCESS.size :]
        return bytes(data)

    def region_write(self, region: Region, offset: int, data: bytes) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        with self._lock:
            for at in range(0, max(len(data), 1), self._max_transfer):
                part = data[at : at + self._max_transfer]
                self._ask(Command.REGION_WRITE, _access(region, offset + at, len(part)) + part)

    def region_map(self, region: Region) -> tuple[MappedArea, ...]:
        """See :class:`fauxdna.bus.Bus`."""
        return self.region_info(region).areas

    def dma_map(self, iova: int, fd: int, offset: int, length: int, prot: int) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        for value in (iova, offset, length):
            if not 0 <= value < 1 << 64:
                raise BusError(errno.EOVERFLOW, f"{value:#x} is no 64-bit number")
        request = abi.DMA_MAP.pack(
            argsz=abi.DMA_MAP.size, flags=prot & (DmaFlag.READ | DmaFlag.WRITE), offset=offset, address=iova, size=length
        )
        self._ask(Command.DMA_MAP, request, [fd])

    def dma_unmap(self, iova: int, length: int) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        if not (0 <= iova < 1 << 64 and 0 <= length < 1 << 64):
            raise BusError(errno.EOVERFLOW, f"{length:#x} bytes at {iova:#x} are no range of 64-bit addresses")
        self._ask(Command.DMA_UNMAP, abi.DMA_UNMAP.pack(argsz=abi.DMA_UNMAP.size, address=iova, size=length))

    def set_irqs(self, index: int, start: int, fds: Sequence[int | None]) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        with self._lock:
            if not fds:
                self._set_irqs(index, 0, 0, IrqSet.DATA_NONE, [])
            at = 0
            while at < len(fds):
                # One message connects vectors or disconnects them, and carries only so many descriptors.
                run = 1
                while at + run < len(fds) and run < self._max_fds and (fds[at + run] is None) == (fds[at] is None):
                    run += 1
                chosen = [fd for fd in fds[at : at + run] if fd is not None]
                self._set_irqs(index, start + at, run, IrqSet.DATA_EVENTFD, chosen)
                at += run

    def reset(self) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        self._ask(Command.DEVICE_RESET)

    def close(self) -> None:
        """See :class:`fauxdna.bus.Bus`. Returns when the server has given the function back."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
                while (message := self._channel.receive()) is not None:
                    message.close()
            self._socket.close()
            for info in self._regions.values():
                for area in info.areas[:1]:  # All areas of a region share one descriptor.
                    os.close(area.fd)
            self._regions.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _negotiate(self) -> None:
        capabilities = {
            "max_msg_fds": abi.MAX_MSG_FDS,
            "max_data_xfer_size": abi.MAX_DATA_XFER_SIZE,
            "max_dma_maps": abi.MAX_DMA_MAPS,
            "pgsizes": abi.PAGE_SIZES,
        }
        data = json.dumps({"capabilities": capabilities}).encode() + b"\0"
        payload = self._ask(Command.VERSION, abi.VERSION.pack(major=abi.MAJOR, minor=abi.MINOR) + data).payload
        if len(payload) < abi.VERSION.size or abi.VERSION.unpack(payload).major != abi.MAJOR:
            raise self._broken("no version in answer to ours")
        try:
            document = json.loads(payload[abi.VERSION.size :].rstrip(b"\0") or b"{}")
            answered = document.get("capabilities", {})
            self._max_fds = max(1, min(_number(answered, "max_msg_fds", 1), abi.MAX_MSG_FDS))
            self._max_transfer = max(
                4, min(_number(answered, "max_data_xfer_size", abi.MAX_DATA_XFER_SIZE), abi.MAX_DATA_XFER_SIZE)
            )
        except (ValueError, AttributeError, RecursionError):
            raise self._broken("capabilities that are not JSON") from None

    def _ask_region(self, region: Region) -> RegionInfo:
        request = abi.REGION_INFO.pack(argsz=_INFO_MAX, index=region)
        message = self._ask(Command.DEVICE_GET_REGION_INFO, request, takes_fds=True)
        try:
            if len(message.payload) < abi.REGION_INFO.size:
                raise self._broken(f"{len(message.payload)} bytes of information on a region")
            info = abi.REGION_INFO.unpack(message.payload)
            areas: tuple[MappedArea, ...] = ()
            if info.flags & RegionFlag.MMAP and message.fds:
                pairs = self._sparse_areas(message.payload) if info.flags & RegionFlag.CAPS else [(0, info.size)]
                fd = message.fds[0]
                areas = tuple(MappedArea(offset, size, fd, info.offset + offset) for offset, size in pairs)
                del message.fds[: bool(areas)]
            return RegionInfo(info.size, bool(info.flags & RegionFlag.READ), bool(info.flags & RegionFlag.WRITE), areas)
        finally:
            message.close()

    def _sparse_areas(self, payload: bytes) -> list[tuple[int, int]]:
        """(offset, size) of the areas that a region's information lists; all of the region if it has no such list."""
        info = abi.REGION_INFO.unpack(payload)
        at = info.cap_offset
        try:
            while at:
                header = abi.CAP_HEADER.unpack(payload, at)
                if header.id == abi.REGION_INFO_CAP_SPARSE_MMAP:
                    sparse = abi.SPARSE_MMAP.unpack(payload, at)
                    first = at + abi.SPARSE_MMAP.size
                    places = [first + index * abi.SPARSE_MMAP_AREA.size for index in range(min(sparse.nr_areas, _INFO_MAX))]
                    areas = [abi.SPARSE_MMAP_AREA.unpack(payload, place) for place in places]
                    return [(area.offset, area.size) for area in areas if area.size]
                if header.next <= at:
                    break
                at = header.next
        except struct.error:
            raise self._broken("a region's capabilities reach beyond the message") from None
        return [(0, info.size)]

    def _set_irqs(self, index: int, start: int, count: int, data: IrqSet, fds: Sequence[int]) -> None:
        if index != IrqIndex.MSIX or start < 0:
            raise BusError(errno.EINVAL, f"interrupt index {index}: the function has MSI-X (index {IrqIndex.MSIX.value}) only")
        request = abi.IRQ_SET.pack(
            argsz=abi.IRQ_SET.size, flags=data | IrqSet.ACTION_TRIGGER, index=index, start=start, count=count
        )
        self._ask(Command.DEVICE_SET_IRQS, request, fds)

    def _ask(self, command: Command, payload: bytes = b"", fds: Sequence[int] = (), *, takes_fds: bool = False) -> Message:
        """Sends a command and gives its answer; raises the errno of one that was refused."""
        with self._lock:
            if self._closed:
                raise BusError(errno.EBADF, f"the bus to {self.path} is closed; open the function again")
            self._next_id = (self._next_id + 1) & 0xFFFF
            try:
                self._channel.send(self._next_id, command, payload, fds=fds)
                message = self._channel.receive()
            except TimeoutError:
                self._hang_up()
                raise BusError(errno.ETIMEDOUT, f"{self.path} does not answer {command.name}; restart its server") from None
            except WireError as error:
                self._hang_up()
                raise BusError(error.errno, f"{self.path}: {error.strerror}; open the function again") from None
            if message is None:
                self._hang_up()
                raise BusError(errno.ENODEV, f"{self.path}: the server ended; start it and open the function again")
            if not takes_fds:
                message.close()
            if not message.is_reply or message.id != self._next_id or message.command != command:
                message.close()
                raise self._broken(f"an answer to something else than {command.name}")
            if message.flags & abi.ERROR:
                message.close()
                number = message.error or errno.EIO
                raise BusError(number, f"{self.path} refuses {command.name}: {os.strerror(number)}; its log says why")
            return message

    def _broken(self, what: str) -> BusError:
        self._hang_up()
        return BusError(errno.EPROTO, f"{self.path} sent {what}; use a vfio-user server")

    def _hang_up(self) -> None:
        """After this nothing can be asked any more: the connection is out of step, or gone."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class VfioUserHost:
    """A :class:`fauxdna.bus.Host` over sockets: the PF's first, then those of its VFs.

    Args:
        sockets: Path of each function's socket by the name (BDF) that it gets here, the PF's first.
    """

    def __init__(self, sockets: Mapping[str, str | os.PathLike[str]]) -> None:
        self._sockets = {bdf: os.fspath(path) for bdf, path in sockets.items()}

    def functions(self) -> tuple[str, ...]:
        """See :class:`fauxdna.bus.Host`. A function that has a client is present, or was when the client came."""
        return tuple(bdf for bdf, path in self._sockets.items() if self._present(path))

    def open(self, bdf: str) -> VfioUserBus:
        """See :class:`fauxdna.bus.Host`."""
        if bdf not in self._sockets:
            raise BusError(errno.ENODEV, f"no function {bdf}; there are {', '.join(self._sockets)}")
        bus = VfioUserBus(self._sockets[bdf])
        if not _answers(bus):
            bus.close()
            raise BusError(errno.ENODEV, f"{bdf} is not enabled; enable VFs through its PF")
        return bus

    @staticmethod
    def _present(path: str) -> bool:
        try:
            with VfioUserBus(path) as bus:
                return _answers(bus)
        except BusError as error:
            return error.errno == errno.EBUSY


def _answers(bus: VfioUserBus) -> bool:
    return bus.region_read(Region.CONFIG, 0, 2) != b"\xff\xff"


def _access(region: Region, offset: int, count: int) -> bytes:
    if not 0 <= offset < 1 << 64 or not 0 <= count < 1 << 32:
        raise BusError(errno.EINVAL, f"{count} bytes at {offset:#x} are no part of a region")
    return abi.REGION_ACCESS.pack(offset=offset, region=region, count=count)


def _number(values: dict[str, Any], name: str, default: int) -> int:
    value = values.get(name, default)
    return value if isinstance(value, int) else default
