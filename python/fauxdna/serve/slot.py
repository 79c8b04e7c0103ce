"""A place on a die's bus that one host holds, whether or not a function is there now."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from fauxdna._core import AddressSpace, Interrupts
from fauxdna.abi import bars, pci
from fauxdna.bus import BusError, IrqIndex, MappedArea, Region, RegionInfo
from fauxdna.device.config import SRIOV, ConfigSpace
from fauxdna.device.function import Function
from fauxdna.device.pf import PhysicalFunction
from fauxdna.device.sram import allocate
from fauxdna.log import Logger

from .dma import PhysicalMemory, check_shared_memory

_LAST_PAGE: Final = (1 << 64) - bars.PAGE_SIZE
_ONES: Final = bytes([pci.DEVICE_ABSENT])


class Slot:
    """What a VMM holds of one function: the bus's verbs, and memory and interrupts that outlive the function itself.

    A VMM looks at a VF, maps its SRAM and gives it memory before the guest enables it. So DMA maps, eventfds and SRAM are the
    slot's, and a VF that appears takes them over. Until the first reset, which ends a VMM's setting up, configuration space is
    shown as QEMU needs it: an absent VF has all but its ids, and the PF's SR-IOV capability, which QEMU would hide for ever, is
    one of its vendor. Later an absent function reads all ones (and has no interrupt pin).

    Made by :meth:`fauxdna.serve.LocalDie.hold`. One thread at a time uses it; :meth:`close` may come from another.
    """

    def __init__(
        self,
        bdf: str,
        bar_sizes: tuple[int, ...],
        lock: threading.RLock,
        log: Logger,
        find: Callable[[], Function | None],
        on_close: Callable[[Slot], None],
    ) -> None:
        self.bdf = bdf
        self.lock = lock
        """The die's: who holds it sees no function change."""
        self.log = log
        self._bar_sizes = bar_sizes
        self._find = find
        self._on_close = on_close
        self._plugged = False
        self._function: Function | None = None
        self._space = AddressSpace(shared=True)
        self._sram = allocate(bar_sizes[bars.SRAM_BAR])
        self._physical = PhysicalMemory() if bar_sizes == bars.PF_BAR_SIZES else None
        self._dma_lock = threading.Lock()
        self._eventfds: dict[int, int] = {}
        self._error = Interrupts(1)
        self._error_connected = False
        self._template = ConfigSpace(pci.DEVICE_VF, bars.VF_BAR_SIZES)
        self._set_up = False
        self._closed = False

    @property
    def present(self) -> bool:
        """Whether a function is there."""
        return self._function is not None

    @property
    def dma_maps(self) -> int:
        """DMA maps that exist, with or without memory behind them."""
        return self._space.counts()[0]

    def appear(self, function: Function) -> None:
        """A function is there from now on. The die's lock is held, and the function has no contexts."""
        if not self._plugged:
            return
        function.lend(self._space, self._sram)
        if isinstance(function, PhysicalFunction) and self._physical is not None:
            function.physical = self._physical.read
        self._function = function
        function.enable_memory()
        for vector, fd in self._eventfds.items():
            try:
                function.set_irqs(IrqIndex.MSIX, vector, [fd])
            except BusError as error:
                self.log.error(f"vector {vector} is not connected: {error.strerror}")

    def plug(self) -> None:
        """The function, if it is enabled, and each that takes its place, is there."""
        with self.lock:
            function = self._find()
            if not self._plugged and not self._closed:
                self._plugged = True
                if function is not None:
                    self.appear(function)

    def unplug(self) -> None:
        """Surprise removal: from now on everything reads ones, until :meth:`plug`. What the host had on the function ends."""
        with self.lock:
            self._plugged = False
            function = self._function
            self.vanish()
            if function is not None:
                self._release(function)

    def vanish(self) -> None:
        """The function is gone: mapped SRAM reads all ones, as everything else. The die's lock is held."""
        if self._function is not None:
            self._function = None
            size = self._bar_sizes[bars.SRAM_BAR]
            try:
                os.pwrite(self._sram, _ONES * size, 0)
            except OSError as error:  # No memory for its pages: what is there stays, and the other functions go all the same.
                self.log.error(f"SRAM does not read ones: {error.strerror}")

    def region_info(self, region: Region) -> RegionInfo:
        """See :class:`fauxdna.bus.Bus`; the same whether or not a function is there."""
        size = self._size(region)
        return RegionInfo(size, size > 0, size > 0, self.region_map(region))

    def region_map(self, region: Region) -> tuple[MappedArea, ...]:
        """See :class:`fauxdna.bus.Bus`."""
        return (MappedArea(0, self._bar_sizes[region], self._sram, 0),) if region == bars.SRAM_BAR else ()

    def check(self, region: Region, offset: int, length: int) -> None:
        """Whether an access can be made at all; ``EINVAL`` if not."""
        size = self._size(region)
        if offset < 0 or length <= 0 or offset + length > size:
            raise BusError(errno.EINVAL, f"{self.bdf} {region.name}: {length} bytes at {offset:#x} leave its {size} bytes")
        with self.lock:
            if self._function is not None:
                self._function.check(region, offset, length)

    def region_read(self, region: Region, offset: int, length: int) -> bytes:
        """See :class:`fauxdna.bus.Bus`."""
        with self.lock:
            self.check(region, offset, length)
            if self._function is not None:
                data = self._function.region_read(region, offset, length)
                return self._disguise(offset, data) if region == Region.CONFIG and not self._set_up else data
            if region == Region.CONFIG:
                return self._absent_config()[offset : offset + length]
            return _ONES * length

    def region_write(self, region: Region, offset: int, data: bytes) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        with self.lock:
            self.check(region, offset, len(data))
            if self._function is not None:
                self._function.region_write(region, offset, data)

    def dma_map(self, iova: int, fd: int | None, offset: int, length: int, prot: int) -> None:
        """See :class:`fauxdna.bus.Bus`. Without ``fd`` the range is taken note of and not reachable.

        ``ENOSPC`` for more than ``_core.AddressSpace`` takes; ``EINVAL`` for a file whose pages are not memory.
        """
        with self._dma_lock, _bus_errors():
            if fd is None:
                self._space.reserve(iova, length)
                return
            check_shared_memory(fd)
            alone = not self._space.counts()[1]
            self._space.map(iova, fd, offset, length, prot)
            if self._physical is not None:
                self._physical.map(iova, fd, offset, length, alone=alone)

    def dma_unmap(self, iova: int, length: int) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        if length <= 0 or iova % bars.PAGE_SIZE or length % bars.PAGE_SIZE:
            raise BusError(errno.EINVAL, f"{length:#x} bytes at {iova:#x}: both must be multiples of 4096, and not 0")
        if iova + length > 1 << 64:
            raise BusError(errno.EOVERFLOW, f"{length:#x} bytes at {iova:#x} pass the last 64-bit address")
        # The last page of all can't be mapped: its end is no 64-bit number.
        end = min(iova + length, _LAST_PAGE)
        with self._dma_lock, _bus_errors():
            if iova < end:
                self._space.unmap(iova, end - iova)

    def dma_unmap_all(self) -> None:
        """Takes every mapping away."""
        self.dma_unmap(0, 1 << 64)

    def set_irqs(self, start: int, fds: Sequence[int | None]) -> None:
        """Connects MSI-X vectors ``start`` and following to eventfds, or disconnects those for which there is ``None``.

        All or, with a ``BusError``, none.
        """
        self._check_vectors(start, len(fds))
        copies: dict[int, int | None] = {}
        try:
            for vector, fd in enumerate(fds, start):
                copies[vector] = None if fd is None else _eventfd(vector, fd)
            with self.lock:
                if self._function is not None:
                    self._function.set_irqs(IrqIndex.MSIX, start, fds)
                for vector, copy in copies.items():
                    self._drop_eventfd(vector)
                    if copy is not None:
                        self._eventfds[vector] = copy
                copies.clear()
        finally:
            for copy in copies.values():
                if copy is not None:
                    os.close(copy)

    def set_error_irq(self, fd: int | None) -> None:
        """Connects the eventfd by which VFIO tells of a device that can't go on, or disconnects it. It never comes."""
        try:
            self._error.set(0, fd)
        except OSError as error:
            raise BusError(error.errno, error.strerror) from error
        self._error_connected = fd is not None

    def trigger_error_irq(self) -> None:
        """Raises it, as VFIO's loopback test does; ``EINVAL`` while it is not connected."""
        if not self._error_connected:
            raise BusError(errno.EINVAL, "no eventfd is connected; connect one first")
        self._error.trigger(0)

    def disconnect_irqs(self) -> None:
        """Disconnects every vector and disables MSI-X."""
        with self.lock:
            if self._function is not None:
                self._function.set_irqs(IrqIndex.MSIX, 0, [])
            for vector in list(self._eventfds):
                self._drop_eventfd(vector)

    def mask_irqs(self, start: int, chosen: Iterable[bool], masked: bool) -> None:
        """Masks or unmasks, of the vectors from ``start`` on, those that are chosen."""
        vectors = [vector for vector, choose in enumerate(chosen, start) if choose]
        with self.lock:
            if self._function is not None:
                self._function.mask_irqs(vectors, masked)

    def trigger_irqs(self, start: int, chosen: Iterable[bool]) -> None:
        """Raises, of the vectors from ``start`` on, those that are chosen. ``EINVAL`` while none is connected, as in VFIO."""
        vectors = [vector for vector, choose in enumerate(chosen, start) if choose]
        with self.lock:
            if not self._eventfds:
                raise BusError(errno.EINVAL, "no vector is connected; connect one first")
            if self._function is not None:
                self._function.trigger_irqs(vectors)

    def reset(self) -> None:
        """See :class:`fauxdna.bus.Bus`. The first one ends setting up."""
        with self.lock:
            self._set_up = True
            if self._function is not None:
                self._function.reset()

    def close(self) -> None:
        """Gives the place back; its function is as if nobody had touched it. May be called twice.

        What fails on the way keeps nothing else from being done, and is raised at the end.
        """
        with ExitStack() as last, self.lock, ExitStack() as first:
            if self._closed:
                return
            self._closed = True
            self._plugged = False
            function, self._function = self._function, None
            last.callback(self._on_close, self)
            if self._physical is not None:
                last.callback(self._physical.close)
            last.callback(self.dma_unmap_all)
            first.callback(os.close, self._sram)
            for vector in self._eventfds:
                first.callback(self._drop_eventfd, vector)
            if function is not None:
                first.callback(self._release, function)

    @staticmethod
    def _release(function: Function) -> None:
        function.release()
        if isinstance(function, PhysicalFunction):
            function.physical = None

    def _absent_config(self) -> bytes:
        """All ones; but while a VMM sets up only the ids are, and later QEMU asks for the interrupt pin after each reset."""
        if not self._set_up:
            ids = pci.HEADER.offsets["command"]
            return _ONES * ids + self._template.read(ids, pci.CONFIG_SIZE - ids)
        pin = pci.HEADER.offsets["interrupt_pin"]
        return _ONES * pin + b"\0" + _ONES * (pci.CONFIG_SIZE - pin - 1)

    def _size(self, region: Region) -> int:
        if region == Region.CONFIG:
            return pci.CONFIG_SIZE
        return self._bar_sizes[region] if region < pci.BARS else 0

    def _check_vectors(self, start: int, count: int) -> None:
        if start < 0 or start + count > bars.MSIX_VECTORS:
            raise BusError(errno.EINVAL, f"vectors {start} to {start + count - 1}: there are 0 to {bars.MSIX_VECTORS - 1}")

    def _drop_eventfd(self, vector: int) -> None:
        fd = self._eventfds.pop(vector, None)
        if fd is not None:
            os.close(fd)

    def _disguise(self, offset: int, data: bytes) -> bytes:
        """The SR-IOV capability under the id of a vendor's own."""
        at = SRIOV - offset
        if self._bar_sizes == bars.PF_BAR_SIZES and 0 <= at < len(data) and data[at] == pci.EXTENDED_CAPABILITY_ID_SRIOV:
            return data[:at] + bytes([pci.EXTENDED_CAPABILITY_ID_VENDOR]) + data[at + 1 :]
        return data


@contextmanager
def _bus_errors() -> Iterator[None]:
    """Errors of the core, and numbers of more than 64 bits, as the bus's."""
    try:
        yield
    except BusError:
        raise
    except OverflowError:
        raise BusError(errno.EOVERFLOW, "addresses, lengths and offsets are 64-bit numbers") from None
    except OSError as error:
        raise BusError(error.errno, error.strerror) from error


def _eventfd(vector: int, fd: int) -> int:
    """A copy of ``fd``; ``EINVAL`` unless it is an eventfd."""
    try:
        Interrupts(1).set(0, fd)
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    except OSError as error:
        raise BusError(error.errno, f"vector {vector}: {error.strerror}") from error
