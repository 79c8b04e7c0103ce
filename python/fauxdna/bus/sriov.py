"""Where the VFs of a PF are: routing ids, buses and BAR addresses, from the PF's SR-IOV capability alone.

A PCI core does this arithmetic when it enumerates VFs, and so does a VMM that has to program their BARs. Formulas are the SR-IOV
specification's: routing ids in 2.1.2, BARs in 2.1.1.1 and 3.3.14.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fauxdna.abi import bars, pci

FUNCTIONS_WITHOUT_ARI: Final = 8
"""Functions of a device where bits 7:3 of a routing id are a device number. With ARI all 8 bits are a function number."""


@dataclass(frozen=True)
class SriovCapability:
    """What a PF's SR-IOV capability says. ``vf_bars`` are VF 0's addresses, 0 where a VF has no such BAR."""

    enabled: bool
    memory_enabled: bool
    total_vfs: int
    num_vfs: int
    first_vf_offset: int
    vf_stride: int
    vf_device_id: int
    page_size: int
    vf_bars: tuple[int, ...]

    @staticmethod
    def decode(data: bytes) -> SriovCapability:
        """The capability's 64 bytes, read from the PF's configuration space."""
        fields = pci.SRIOV_CAPABILITY.unpack(data)
        registers = fields.elements("vf_bar")
        return SriovCapability(
            enabled=bool(fields.control & pci.SRIOV_VF_ENABLE),
            memory_enabled=bool(fields.control & pci.SRIOV_VF_MEMORY_ENABLE),
            total_vfs=fields.total_vfs,
            num_vfs=fields.num_vfs,
            first_vf_offset=fields.first_vf_offset,
            vf_stride=fields.vf_stride,
            vf_device_id=fields.vf_device_id,
            page_size=bars.PAGE_SIZE << max(fields.system_page_size.bit_length() - 1, 0),
            vf_bars=tuple(_addresses(registers)),
        )

    def routing_id(self, pf: int, vf: int) -> int:
        """Of VF ``vf`` (from 0) of the PF with routing id ``pf``."""
        return pci.vf_routing_id(pf, vf, self.first_vf_offset, self.vf_stride)

    def bus(self, pf: int, vf: int) -> int:
        """The bus that VF ``vf`` is on: beyond the PF's own where its routing id says so."""
        return self.routing_id(pf, vf) >> 8

    def needs_ari(self, pf: int, count: int) -> bool:
        """Whether ``count`` VFs are more than the PF's own slot holds: endpoint and port above it must then have ARI."""
        return any(self.routing_id(pf, vf) >> 3 != pf >> 3 for vf in range(count))

    def limit(self, pf: int, *, ari: bool) -> int:
        """How many VFs can be reached below a port: those of the PF's slot or, with ARI, of its bus.

        A root bus has its own device numbers, where more slots follow the PF's.
        """
        shift = 8 if ari else 3
        reached = (vf for vf in range(self.total_vfs) if self.routing_id(pf, vf) >> shift != pf >> shift)
        return next(reached, self.total_vfs)

    def vf_bar(self, vf: int, bar: int, size: int) -> int:
        """Address of a VF's BAR of ``size`` bytes, 0 if it has none: VFs lie one behind the other, on whole system pages."""
        base = self.vf_bars[bar]
        return base + vf * max(size, self.page_size) if base and size else 0

    def vf_bar_addresses(self, vf: int, sizes: tuple[int, ...] = bars.VF_BAR_SIZES) -> tuple[int, ...]:
        """Addresses of all BARs of a VF."""
        return tuple(self.vf_bar(vf, bar, size) for bar, size in enumerate(sizes))


def ecam_address(base: int, routing: int, offset: int = 0) -> int:
    """Where configuration space is in memory (PCI Express specification 7.2.2): 4 KiB for each routing id."""
    return base + (routing << 12) + offset


def _addresses(registers: tuple[int, ...]) -> Iterator[int]:
    """BARs' addresses; a 64-bit BAR takes two registers, and its upper half counts as a BAR that is not there."""
    upper = False
    for index, register in enumerate(registers):
        if upper:
            upper = False
            yield 0
            continue
        upper = bool(register & pci.BAR_64BIT)
        high = registers[index + 1] if upper and index + 1 < len(registers) else 0
        yield (high << 32) | (register & ~pci.BAR_FLAGS)
