"""One PCI function: configuration space, BARs, DMA, interrupts and a mailbox; what PF and VF have in common."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from threading import RLock
from typing import Protocol

from fauxdna._core import AddressSpace, Interrupts
from fauxdna.abi import bars, pci
from fauxdna.bus import BusError, IrqIndex, MappedArea, Region, RegionInfo
from fauxdna.log import Log

from .config import COMMAND, MSIX_CONTROL, ConfigSpace
from .mailbox import Mailbox
from .msix import MsixTable
from .sram import Sram

_LAST_BAR = Region.BAR5
_SRAM = Region(bars.SRAM_BAR)


class RegisterBlock(Protocol):
    """Registers behind one BAR."""

    def read(self, offset: int) -> int:
        """The 32-bit word at ``offset``."""
        ...

    def write(self, offset: int, value: int) -> None:
        """Writes the 32-bit word at ``offset``."""
        ...


class Function(ABC):
    """A function as the bus sees it. Every verb takes the die's lock; all errors are :class:`BusError`."""

    def __init__(self, bdf: str, index: int, config: ConfigSpace, bar_sizes: tuple[int, ...], log: Log, lock: RLock) -> None:
        self.bdf = bdf
        self.index = index
        self.lock = lock
        self.config = config
        self._own_space = AddressSpace()
        self.space = self._own_space
        """What DMA reaches."""
        self.interrupts = Interrupts(bars.MSIX_VECTORS)
        self.sram = Sram(bar_sizes[bars.SRAM_BAR])
        self.msix = MsixTable(self.interrupts)
        self.mailbox = Mailbox(self.sram, self.interrupts, log.logger(bdf, "mailbox"))
        self.log = log.logger(bdf, "pci")
        self._bar_sizes = bar_sizes
        self._blocks: dict[int, RegisterBlock] = {bars.MAILBOX_BAR: self.mailbox, bars.MSIX_BAR: self.msix}
        self._removed = False
        self._absent = False

    @abstractmethod
    def before_reset(self) -> None:
        """Ends what runs behind the registers."""

    @abstractmethod
    def after_reset(self) -> None:
        """Starts again what runs by itself after power-up."""

    @abstractmethod
    def on_config(self) -> None:
        """Looks at configuration space after a write."""

    @abstractmethod
    def on_doorbell(self) -> None:
        """A doorbell page was written through the bus and not through a mapping."""

    @property
    def memory_enabled(self) -> bool:
        """Whether the BARs answer."""
        return self.config.memory_enabled

    @property
    def removed(self) -> bool:
        """A removed function reads all ones."""
        return self._removed

    @property
    def unplugged(self) -> bool:
        """An unplugged function reads all ones, until it is plugged in again."""
        return self._absent

    def region_info(self, region: Region) -> RegionInfo:
        """See :class:`fauxdna.bus.Bus`."""
        size = self._size(region)
        return RegionInfo(size, size > 0, size > 0, self.region_map(region))

    def region_map(self, region: Region) -> tuple[MappedArea, ...]:
        """See :class:`fauxdna.bus.Bus`."""
        with self.lock:
            return self.sram.areas() if region == _SRAM and not self._removed else ()

    def region_read(self, region: Region, offset: int, length: int) -> bytes:
        """See :class:`fauxdna.bus.Bus`."""
        with self.lock:
            self.check(region, offset, length)
            if self._removed or self._absent:
                return bytes([pci.DEVICE_ABSENT]) * length
            if region == Region.CONFIG:
                return self.config.read(offset, length)
            if not self.memory_enabled:
                return bytes([pci.DEVICE_ABSENT]) * length
            if region == _SRAM:
                return self.sram.read(offset, length)
            block = self._blocks[region]
            return b"".join(block.read(at).to_bytes(4, "little") for at in range(offset, offset + length, 4))

    def region_write(self, region: Region, offset: int, data: bytes) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        with self.lock:
            self.check(region, offset, len(data))
            if self._removed or self._absent:
                return
            if region == Region.CONFIG:
                self._write_config(offset, data)
            elif not self.memory_enabled:
                self.log.warning(f"write to {region.name} dropped: memory space is off; set COMMAND bit 1 (and VF MSE for a VF)")
            elif region == _SRAM:
                self.sram.write(offset, data)
                if offset + len(data) > bars.DOORBELLS:
                    self.on_doorbell()
            else:
                for at in range(0, len(data), 4):
                    self._blocks[region].write(offset + at, int.from_bytes(data[at : at + 4], "little"))

    def dma_map(self, iova: int, fd: int, offset: int, length: int, prot: int) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        with self.lock:
            self._check_present()
            try:
                self.space.map(iova, fd, offset, length, prot)
            except OverflowError:
                raise BusError(errno.EOVERFLOW, f"{length} bytes at IOVA {iova:#x} are not a range of 64-bit addresses") from None
            except OSError as error:
                raise BusError(error.errno, error.strerror) from error

    def dma_unmap(self, iova: int, length: int) -> None:
        """See :class:`fauxdna.bus.Bus`. Waits without the lock, so that other functions go on."""
        if self._removed:
            return
        try:
            self.space.unmap(iova, length)
        except OverflowError:
            raise BusError(errno.EOVERFLOW, f"{length} bytes at IOVA {iova:#x} are not a range of 64-bit addresses") from None
        except OSError as error:
            raise BusError(error.errno, error.strerror) from error

    def set_irqs(self, index: int, start: int, fds: Sequence[int | None]) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        with self.lock:
            if index != IrqIndex.MSIX:
                raise BusError(
                    errno.EINVAL, f"interrupt index {index}: the function has MSI-X (index {IrqIndex.MSIX.value}) only"
                )
            if start < 0 or start + len(fds) > bars.MSIX_VECTORS:
                raise BusError(
                    errno.EINVAL, f"vectors {start} to {start + len(fds) - 1}: the function has 0 to {bars.MSIX_VECTORS - 1}"
                )
            if self._removed:
                return
            if not fds:
                for vector in range(bars.MSIX_VECTORS):
                    self.msix.connect(vector, None)
                self._set_msix_enable(False)
                return
            for vector, fd in enumerate(fds, start):
                try:
                    self.msix.connect(vector, fd)
                except OSError as error:
                    raise BusError(error.errno, f"vector {vector}: {error.strerror}") from error
            if any(fd is not None for fd in fds):
                self._set_msix_enable(True)

    def mask_irqs(self, vectors: Iterable[int], masked: bool) -> None:
        """Sets the mask bits of MSI-X table entries."""
        with self.lock:
            if not self._removed:
                for vector in vectors:
                    self.msix.set_masked(vector, masked)

    def trigger_irqs(self, vectors: Iterable[int]) -> None:
        """Raises vectors, as VFIO's loopback test does."""
        with self.lock:
            if not self._removed:
                for vector in vectors:
                    self.interrupts.trigger(vector)

    def lend(self, space: AddressSpace, sram: int) -> None:
        """Uses a host's DMA space and SRAM memory until :meth:`release`, while no context exists.

        Both outlive a VF: a VMM maps memory before the guest enables the VF, and keeps it mapped when the VF is gone.
        """
        with self.lock:
            self.sram.borrow(sram)
            self.space = space

    def unplug(self) -> None:
        """Surprise removal: what it had ends, reads give all ones and writes are dropped, in mapped memory too."""
        with self.lock:
            if self._removed or self._absent:
                return
            self._reset()
            self.sram.write(0, bytes([pci.DEVICE_ABSENT]) * self.sram.size)
            self._absent = True
            self.log.warning("unplugged")

    def plug(self) -> None:
        """Is there again after :meth:`unplug`, as after power-up. The host's DMA mappings and eventfds are kept."""
        with self.lock:
            if self._removed or not self._absent:
                return
            self._absent = False
            self._reset()
            self.enable_memory()
            self.log.info("plugged in")

    def enable_memory(self) -> None:
        """The BARs answer, as VFIO has it when a function is opened. Bus mastering is the driver's to switch on."""
        with self.lock:
            self.config.set_bits(COMMAND, 2, pci.COMMAND_MEMORY)

    def reset(self) -> None:
        """See :class:`fauxdna.bus.Bus`. As in VFIO, the host's settings in configuration space and masks outlive the reset."""
        with self.lock:
            if self._removed or self._absent:
                return
            saved = self.config.snapshot()
            masked = [self.msix.masked(vector) for vector in range(bars.MSIX_VECTORS)]
            self._reset()
            self.config.restore(saved)
            for vector, mask in enumerate(masked):
                self.msix.set_masked(vector, mask)
            self._config_changed()

    def release(self) -> None:
        """The host let go of the function: no interrupts, no DMA, no state."""
        with self.lock:
            if self._removed:
                return
            for vector in range(bars.MSIX_VECTORS):
                self.msix.connect(vector, None)
            if self.space is not self._own_space:
                self.space = self._own_space
                self.sram.give_back()
            self._reset()
        self._unmap()

    def remove(self) -> None:
        """The function is gone: whoever holds it reads all ones. Its contexts have ended already."""
        with self.lock:
            if self._removed:
                return
            for vector in range(bars.MSIX_VECTORS):
                self.interrupts.set(vector, None)
            self._removed = True
            self.sram.close()
        self._unmap()

    def read_memory(self, address: int, length: int) -> bytes:
        """DMA from the host; ``OSError`` if bus mastering is off or the memory is not mapped."""
        if not self.config.master_enabled:
            raise OSError(errno.EACCES, "bus mastering is off; set COMMAND bit 2")
        return self.space.read(address, length)

    def write_memory(self, address: int, data: bytes) -> None:
        """DMA to the host; ``OSError`` if bus mastering is off or the memory is not mapped."""
        if not self.config.master_enabled:
            raise OSError(errno.EACCES, "bus mastering is off; set COMMAND bit 2")
        self.space.write(address, data)

    def _unmap(self) -> None:
        for address, length, _ in self._own_space.mappings():
            self._own_space.unmap(address, length)

    def _write_config(self, offset: int, data: bytes) -> None:
        if self.config.write(offset, data):
            self.log.info("function-level reset")
            self._reset()
        self._config_changed()

    def _config_changed(self) -> None:
        self.msix.set_control(self.config.get(MSIX_CONTROL, 2))
        self.on_config()

    def _set_msix_enable(self, enabled: bool) -> None:
        change = self.config.set_bits if enabled else self.config.clear_bits
        change(MSIX_CONTROL, 2, pci.MSIX_ENABLE)
        self.msix.set_control(self.config.get(MSIX_CONTROL, 2))

    def _reset(self) -> None:
        self.before_reset()
        self.mailbox.stop()
        self.config.reset()
        self.msix.reset()
        self.on_config()
        self.sram.clear()
        self.after_reset()

    def _size(self, region: Region) -> int:
        if region == Region.CONFIG:
            return pci.CONFIG_SIZE
        return self._bar_sizes[region] if region <= _LAST_BAR else 0

    def check(self, region: Region, offset: int, length: int) -> None:
        """Whether an access of ``length`` bytes can be made at all; ``EINVAL`` if not."""
        size = self._size(region)
        if offset < 0 or length <= 0 or offset + length > size:
            raise BusError(errno.EINVAL, f"{self.bdf} {region.name}: {length} bytes at {offset:#x} leave its {size} bytes")
        if region not in (Region.CONFIG, _SRAM) and (offset % 4 or length % 4):
            raise BusError(
                errno.EINVAL, f"{self.bdf} {region.name}: {length} bytes at {offset:#x}; registers are aligned 32-bit words"
            )

    def _check_present(self) -> None:
        if self._removed:
            raise BusError(errno.ENODEV, f"{self.bdf} was removed; enable VFs again through its PF")
