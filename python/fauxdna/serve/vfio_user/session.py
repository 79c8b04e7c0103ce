"""One client of one function: its messages, checked and turned into the bus's verbs."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fauxdna.abi import bars
from fauxdna.abi import vfio_user as abi
from fauxdna.abi._declare import Record, Struct
from fauxdna.abi.vfio_user import Command, DmaFlag, IrqSet, RegionFlag, UnmapFlag
from fauxdna.bus import BusError, IrqIndex, Region
from fauxdna.bus.vfio_user.wire import Channel, Message, WireError
from fauxdna.log import Logger

from ..slot import Slot
from .negotiation import Agreement, negotiate

_REGIONS: Final[Mapping[int, Region]] = {int(region): region for region in Region}
_DMA_FLAGS: Final = int(DmaFlag.READ | DmaFlag.WRITE | DmaFlag.MMAP)
_UNMAP_FLAGS: Final = int(UnmapFlag.ALL)
"""Numbers: ~ of an IntFlag leaves out the bits that it does not declare."""
_VECTORS: Final = {int(IrqIndex.MSIX): bars.MSIX_VECTORS, int(IrqIndex.ERROR): 1}
"""Interrupts of each index; those not named have none."""


@dataclass
class Statistics:
    """What a server did. ``busy_ns`` is time in which a client waited for it, at most."""

    messages: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    busy_ns: int = 0

    def add(self, other: Statistics) -> None:
        """Adds another's figures."""
        self.messages.update(other.messages)
        self.errors += other.errors
        self.busy_ns += other.busy_ns


@dataclass(frozen=True)
class _Reply:
    payload: bytes = b""
    fds: Sequence[int] = ()


class Session:
    """Serves ``slot`` on a connection until the client goes or breaks the framing. The caller closes the slot afterwards."""

    def __init__(self, channel: Channel, slot: Slot, log: Logger) -> None:
        self.statistics = Statistics()
        self._channel = channel
        self._slot = slot
        self._log = log
        self._agreement: Agreement | None = None
        self._acted_ns = 0

    def run(self) -> None:
        """Answers messages in the order in which they come."""
        try:
            while (message := self._channel.receive()) is not None:
                started = time.perf_counter_ns()
                # What was done behind the last reply held up this message, if it was there already.
                waited, self._acted_ns = self._acted_ns, 0
                try:
                    going_on = self._answer(message)
                finally:
                    message.close()
                self.statistics.busy_ns += time.perf_counter_ns() - started - self._acted_ns + waited
                if self._acted_ns and not self._channel.pending():
                    self._acted_ns = 0
                if not going_on:
                    return
        except WireError as error:
            self._log.warning(f"connection ended: {error.strerror}")

    def _answer(self, message: Message) -> bool:
        """Handles one message; false if the connection is to end."""
        name, handler = _HANDLERS.get(message.command, ("unknown", None))
        self.statistics.messages[name] += 1
        try:
            if message.flags & abi.TYPE_MASK != abi.TYPE_COMMAND:
                raise BusError(errno.EINVAL, "a client sends commands, and was not asked anything")
            if (self._agreement is None) != (message.command == Command.VERSION):
                raise BusError(errno.EINVAL, "VERSION comes first, and once")
            if handler is None:
                raise BusError(errno.EINVAL, f"the protocol has no command {message.command} for a client")
            if len(message.fds) > (abi.MAX_MSG_FDS if message.command in _TAKE_FDS else 0):
                raise BusError(errno.EINVAL, f"{len(message.fds)} file descriptors")
            reply = handler(self, message)
        except WireError:
            raise
        except OSError as error:
            # A refusal (BusError), or something that the device needed and the system had not: the client gets that errno, and
            # the connection goes on.
            self.statistics.errors += 1
            text = f"{name} refused ({errno.errorcode.get(error.errno or 0, error.errno)}): {error.strerror or error}"
            (self._log.warning if isinstance(error, BusError) else self._log.error)(text)
            message.close()
            self._channel.refuse(message, error.errno or errno.EIO)
            return self._agreement is not None
        if reply is not None:
            self._channel.reply(message, reply.payload, fds=reply.fds)
        return True

    def _version(self, message: Message) -> _Reply:
        self._agreement = negotiate(message.payload)
        return _Reply(self._agreement.reply)

    def _get_info(self, message: Message) -> _Reply:
        _fixed(message, abi.DEVICE_INFO)
        return _Reply(
            abi.DEVICE_INFO.pack(
                argsz=abi.DEVICE_INFO.size,
                flags=abi.DEVICE_FLAGS_PCI | abi.DEVICE_FLAGS_RESET,
                num_regions=abi.NUM_REGIONS,
                num_irqs=abi.NUM_IRQS,
            )
        )

    def _get_region_info(self, message: Message) -> _Reply:
        request = _fixed(message, abi.REGION_INFO)
        if request.index >= abi.NUM_REGIONS:
            raise BusError(errno.EINVAL, f"region {request.index}; there are 0 to {abi.NUM_REGIONS - 1}")
        fields = {"argsz": abi.REGION_INFO.size, "index": request.index}
        region = _REGIONS.get(request.index)
        if region is None:
            return _Reply(abi.REGION_INFO.pack(**fields))
        info = self._slot.region_info(region)
        fields["size"] = info.size
        fields["flags"] = (RegionFlag.READ if info.readable else 0) | (RegionFlag.WRITE if info.writable else 0)
        if not info.areas or self._agreed.max_msg_fds == 0:
            return _Reply(abi.REGION_INFO.pack(**fields))
        # All areas of a region lie in one file, at one distance from their places in the region.
        fields["offset"] = info.areas[0].fd_offset - info.areas[0].offset
        fields["flags"] |= RegionFlag.MMAP
        capability = abi.SPARSE_MMAP.pack(
            id=abi.REGION_INFO_CAP_SPARSE_MMAP, version=abi.SPARSE_MMAP_VERSION, nr_areas=len(info.areas)
        )
        capability += b"".join(abi.SPARSE_MMAP_AREA.pack(offset=area.offset, size=area.length) for area in info.areas)
        fields["argsz"] += len(capability)
        if request.argsz < fields["argsz"]:
            return _Reply(abi.REGION_INFO.pack(**fields))
        fields["flags"] |= RegionFlag.CAPS
        fields["cap_offset"] = abi.REGION_INFO.size
        return _Reply(abi.REGION_INFO.pack(**fields) + capability, [info.areas[0].fd])

    def _get_region_io_fds(self, message: Message) -> _Reply:
        request = _fixed(message, abi.REGION_IO_FDS)
        if request.flags or request.count:
            raise BusError(errno.EINVAL, f"flags {request.flags:#x} and count {request.count} are to be 0")
        if not self._slot.region_info(_region(request.index)).size:
            raise BusError(errno.EINVAL, f"region {request.index} has no bytes")
        return _Reply(abi.REGION_IO_FDS.pack(argsz=abi.REGION_IO_FDS.size, index=request.index))

    def _get_irq_info(self, message: Message) -> _Reply:
        request = _fixed(message, abi.IRQ_INFO)
        if request.index >= abi.NUM_IRQS:
            raise BusError(errno.EINVAL, f"interrupt index {request.index}; there are 0 to {abi.NUM_IRQS - 1}")
        count = _VECTORS.get(request.index, 0)
        # Not NORESIZE: with it QEMU disables and enables all vectors for each one it adds, and loses interrupts.
        flags = (abi.IRQ_INFO_EVENTFD if count else 0) | (abi.IRQ_INFO_MASKABLE if request.index == IrqIndex.MSIX else 0)
        return _Reply(abi.IRQ_INFO.pack(argsz=abi.IRQ_INFO.size, flags=flags, index=request.index, count=count))

    def _set_irqs(self, message: Message) -> _Reply:
        request = _fixed(message, abi.IRQ_SET, data=True)
        data, action = request.flags & abi.IRQ_SET_DATA_MASK, request.flags & abi.IRQ_SET_ACTION_MASK
        start, count = request.start, request.count
        if request.flags != data | action or data.bit_count() != 1 or action.bit_count() != 1:
            raise BusError(errno.EINVAL, f"flags {request.flags:#x}: one kind of data and one action")
        vectors = _VECTORS.get(request.index, 0)
        if start >= vectors or start + count > vectors:
            raise BusError(errno.EINVAL, f"interrupts {start} to {start + count - 1} of index {request.index}; it has {vectors}")
        extra = message.payload[abi.IRQ_SET.size :]
        if len(extra) != (count if data == IrqSet.DATA_BOOL else 0):
            raise BusError(errno.EINVAL, f"{len(extra)} bytes of data for {count} interrupts")
        if message.fds and (data != IrqSet.DATA_EVENTFD or len(message.fds) != count):
            raise BusError(errno.EINVAL, f"{len(message.fds)} file descriptors for {count} interrupts")
        if not count and (start or request.flags != IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER):
            raise BusError(errno.EINVAL, "count 0 disables interrupts: start 0, no data, action trigger")
        if action != IrqSet.ACTION_TRIGGER and (data == IrqSet.DATA_EVENTFD or request.index != IrqIndex.MSIX):
            raise BusError(errno.EINVAL, "only MSI-X vectors can be masked, and without eventfds")
        chosen = [byte != 0 for byte in extra] if data == IrqSet.DATA_BOOL else [True] * count
        if request.index == IrqIndex.ERROR:
            self._set_error_irq(data, chosen, message.fds)
        elif not count:
            self._slot.disconnect_irqs()
        elif data == IrqSet.DATA_EVENTFD:
            self._slot.set_irqs(start, message.fds or [None] * count)
        elif action == IrqSet.ACTION_TRIGGER:
            self._slot.trigger_irqs(start, chosen)
        else:
            self._slot.mask_irqs(start, chosen, action == IrqSet.ACTION_MASK)
        return _Reply()

    def _set_error_irq(self, data: int, chosen: Sequence[bool], fds: Sequence[int]) -> None:
        if data == IrqSet.DATA_EVENTFD:
            self._slot.set_error_irq(fds[0] if fds else None)
        elif not chosen:
            self._slot.set_error_irq(None)
        elif chosen[0]:
            self._slot.trigger_error_irq()

    def _dma_map(self, message: Message) -> _Reply:
        request = _fixed(message, abi.DMA_MAP)
        access = request.flags & (DmaFlag.READ | DmaFlag.WRITE)
        if request.flags & ~_DMA_FLAGS or not access:
            raise BusError(errno.EINVAL, f"flags {request.flags:#x}: readable, writable or both, in memory that can be mapped")
        if len(message.fds) > 1 or (request.flags & DmaFlag.MMAP and not message.fds):
            raise BusError(errno.EINVAL, f"{len(message.fds)} file descriptors for one map")
        fd = message.fds[0] if message.fds else None
        self._slot.dma_map(request.address, fd, request.offset, request.size, access)
        return _Reply()

    def _dma_unmap(self, message: Message) -> _Reply:
        request = _fixed(message, abi.DMA_UNMAP)
        if request.flags & ~_UNMAP_FLAGS:
            raise BusError(errno.EINVAL, f"flags {request.flags:#x}: dirty pages are not tracked")
        if not request.flags:
            self._slot.dma_unmap(request.address, request.size)
        elif request.address or request.size:
            raise BusError(errno.EINVAL, "a range together with the flag for all")
        else:
            self._slot.dma_unmap_all()
        return _Reply(message.payload)

    def _region_read(self, message: Message) -> _Reply:
        request = _fixed(message, abi.REGION_ACCESS, argsz=False)
        if request.count > self._agreed.max_data_xfer_size:
            raise BusError(errno.EINVAL, f"{request.count} bytes; one message has up to {self._agreed.max_data_xfer_size}")
        data = self._slot.region_read(_region(request.region), request.offset, request.count)
        return _Reply(message.payload + data)

    def _region_write(self, message: Message) -> None:
        request = _fixed(message, abi.REGION_ACCESS, argsz=False, data=True)
        data = message.payload[abi.REGION_ACCESS.size :]
        if len(data) != request.count:
            raise BusError(errno.EINVAL, f"{len(data)} bytes of data for a write of {request.count}")
        self._write(message, message.payload[: abi.REGION_ACCESS.size], [(_region(request.region), request.offset, data)])

    def _region_write_multi(self, message: Message) -> None:
        request = _fixed(message, abi.WRITE_MULTI, argsz=False, data=True)
        entries = message.payload[abi.WRITE_MULTI.size :]
        if request.count > abi.WRITE_MULTI_MAX or len(entries) != request.count * abi.WRITE_MULTI_ENTRY.size:
            raise BusError(errno.EINVAL, f"{len(entries)} bytes for {request.count} writes of {abi.WRITE_MULTI_ENTRY.size} each")
        writes = []
        for at in range(0, len(entries), abi.WRITE_MULTI_ENTRY.size):
            entry = abi.WRITE_MULTI_ENTRY.unpack(entries, at)
            if entry.count > abi.WRITE_MULTI_DATA:
                raise BusError(errno.EINVAL, f"a write of {entry.count} bytes; it has up to {abi.WRITE_MULTI_DATA}")
            data = entries[at + abi.WRITE_MULTI_ENTRY.offsets["data"] :][: entry.count]
            writes.append((_region(entry.region), entry.offset, data))
        self._write(message, abi.WRITE_MULTI.pack(count=request.count), writes)

    def _write(self, message: Message, reply: bytes, writes: Sequence[tuple[Region, int, bytes]]) -> None:
        """Checks all writes, then does them. Writes to BARs are answered before they are done: no vCPU waits for firmware.

        Nobody sees the difference: the die is locked meanwhile, so whatever is read next, of any function, is read afterwards.
        """
        with self._slot.lock:
            for region, offset, data in writes:
                self._slot.check(region, offset, len(data))
            early = all(region != Region.CONFIG for region, _, _ in writes)
            replied = early and self._channel.reply(message, reply, wait=False)
            started = time.perf_counter_ns()
            try:
                for write in writes:
                    self._slot.region_write(*write)
            except OSError as error:
                if not replied:
                    raise
                # The client has its answer; a second one would put it out of step.
                self._log.error(f"a write that was answered failed: {error.strerror or error}")
            if replied:
                self._acted_ns = time.perf_counter_ns() - started
        if not replied:
            self._channel.reply(message, reply)

    def _reset(self, message: Message) -> _Reply:
        if message.payload:
            raise BusError(errno.EINVAL, f"{len(message.payload)} bytes; DEVICE_RESET has none")
        self._slot.reset()
        return _Reply()

    def _feature(self, message: Message) -> _Reply:
        request = _fixed(message, abi.DEVICE_FEATURE, data=True)
        flags = request.flags
        if flags & ~(abi.FEATURE_MASK | abi.FEATURE_GET | abi.FEATURE_SET | abi.FEATURE_PROBE):
            raise BusError(errno.EINVAL, f"flags {flags:#x}")
        if flags & abi.FEATURE_GET and flags & abi.FEATURE_SET and not flags & abi.FEATURE_PROBE:
            raise BusError(errno.EINVAL, "get and set at one time")
        # What vfio_ioctl_device_feature answers for a device without migration, dirty tracking or other features.
        raise BusError(errno.ENOTTY, f"feature {flags & abi.FEATURE_MASK}: the function has none, nor can it migrate")

    @property
    def _agreed(self) -> Agreement:
        assert self._agreement is not None
        return self._agreement


_Handler = Callable[[Session, Message], _Reply | None]
_HANDLERS: Final[Mapping[int, tuple[str, _Handler]]] = {
    int(command): (command.name, handler)
    for command, handler in (
        (Command.VERSION, Session._version),
        (Command.DMA_MAP, Session._dma_map),
        (Command.DMA_UNMAP, Session._dma_unmap),
        (Command.DEVICE_GET_INFO, Session._get_info),
        (Command.DEVICE_GET_REGION_INFO, Session._get_region_info),
        (Command.DEVICE_GET_REGION_IO_FDS, Session._get_region_io_fds),
        (Command.DEVICE_GET_IRQ_INFO, Session._get_irq_info),
        (Command.DEVICE_SET_IRQS, Session._set_irqs),
        (Command.REGION_READ, Session._region_read),
        (Command.REGION_WRITE, Session._region_write),
        (Command.DEVICE_RESET, Session._reset),
        (Command.REGION_WRITE_MULTI, Session._region_write_multi),
        (Command.DEVICE_FEATURE, Session._feature),
    )
}
"""Name and handler of each command."""
_TAKE_FDS: Final = frozenset({int(Command.DMA_MAP), int(Command.DEVICE_SET_IRQS)})


def _fixed(message: Message, layout: Struct, *, argsz: bool = True, data: bool = False) -> Record:
    """The structure that a payload consists of, or with ``data`` starts with; ``EINVAL`` for another length."""
    length = len(message.payload)
    if length < layout.size or (length > layout.size and not data):
        raise BusError(errno.EINVAL, f"payload of {length} bytes; it has {layout.size}{' at least' if data else ''}")
    record = layout.unpack(message.payload)
    if argsz and record.argsz < layout.size:
        raise BusError(errno.EINVAL, f"argsz {record.argsz}; it is {layout.size} at least")
    return record


def _region(index: int) -> Region:
    region = _REGIONS.get(index)
    if region is None:
        raise BusError(errno.EINVAL, f"region {index} has no bytes")
    return region
