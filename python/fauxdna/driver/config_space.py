"""Configuration space as the host sees it: identity, capability lists, MSI-X and SR-IOV."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from fauxdna.abi import pci
from fauxdna.bus import Bus, Region

from ..errors import DeviceError, DeviceGone

_CAPABILITY_STEPS: Final = 48
_EXTENDED_STEPS: Final = 480
"""More capabilities than fit: a longer chain is a loop (``PCI_FIND_CAP_TTL`` and its extended sister of Linux)."""


@dataclass(frozen=True)
class MsixTable:
    """Where the MSI-X table is, and how many vectors it has."""

    region: Region
    offset: int
    vectors: int


class ConfigSpace:
    """Typed access to the configuration space of the function behind ``bus``."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def read(self, offset: int, size: int) -> int:
        """A little-endian field of ``size`` bytes."""
        return int.from_bytes(self._bus.region_read(Region.CONFIG, offset, size), "little")

    def write(self, offset: int, value: int, size: int) -> None:
        """Writes a little-endian field of ``size`` bytes."""
        self._bus.region_write(Region.CONFIG, offset, value.to_bytes(size, "little"))

    def identity(self) -> tuple[int, int, int]:
        """Vendor, device and revision. ``ENODEV`` if nothing answers."""
        header = pci.HEADER.unpack(self._bus.region_read(Region.CONFIG, 0, pci.HEADER.size))
        if header.vendor_id == 0xFFFF:
            raise DeviceGone("no function answers: its configuration space reads all ones", "enable the VF through its PF first")
        return header.vendor_id, header.device_id, header.revision_id

    def class_code(self) -> int:
        """Base class, subclass and interface in one number, as sysfs' ``class`` shows it."""
        return self.read(pci.HEADER.offsets["interface"], 3)

    def enable(self) -> None:
        """Lets the function answer memory accesses and master the bus."""
        offset = pci.HEADER.offsets["command"]
        self.write(offset, self.read(offset, 2) | pci.COMMAND_MEMORY | pci.COMMAND_MASTER, 2)

    def disable_master(self) -> None:
        """Stops the function's DMA."""
        offset = pci.HEADER.offsets["command"]
        self.write(offset, self.read(offset, 2) & ~pci.COMMAND_MASTER, 2)

    def find_capability(self, identifier: int) -> int:
        """Offset of a capability, or 0."""
        if not self.read(pci.HEADER.offsets["status"], 2) & pci.STATUS_CAPABILITY_LIST:
            return 0
        at = self.read(pci.HEADER.offsets["capability_pointer"], 1) & ~3
        for _ in range(_CAPABILITY_STEPS):
            if at < pci.CAPABILITIES_OFFSET:
                break
            found, following = self._bus.region_read(Region.CONFIG, at, 2)
            if found == identifier:
                return at
            at = following & ~3
        return 0

    def find_extended_capability(self, identifier: int) -> int:
        """Offset of an extended capability, or 0."""
        at = pci.EXTENDED_CAPABILITIES_OFFSET
        for _ in range(_EXTENDED_STEPS):
            header = self.read(at, 4)
            if header in (0, 0xFFFF_FFFF):
                break
            if header & 0xFFFF == identifier:
                return at
            at = header >> 20 & ~3
            if at < pci.EXTENDED_CAPABILITIES_OFFSET:
                break
        return 0

    def msix_table(self) -> MsixTable:
        """The MSI-X table. ``EINVAL`` if the function has no vectors, as ``aie4_irq_init``."""
        at = self.find_capability(pci.CAPABILITY_ID_MSIX)
        if not at:
            raise DeviceError(
                "the function has no MSI-X capability", "an AIE4 function has one: look at the device", errno=errno.EINVAL
            )
        capability = pci.MSIX_CAPABILITY.unpack(self._bus.region_read(Region.CONFIG, at, pci.MSIX_CAPABILITY.size))
        return MsixTable(Region(capability.table & 7), capability.table & ~7, (capability.control & pci.MSIX_SIZE_MASK) + 1)
