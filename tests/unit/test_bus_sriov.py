"""The arithmetic of a PF's SR-IOV capability, for one VF and for 64."""

from __future__ import annotations

import struct

import pytest

from fauxdna.bus.sriov import SriovCapability, ecam_address

PF = 0x0028
"""0000:00:05.0: bus 0, device 5, function 0."""


def capability(
    *,
    total: int = 64,
    count: int = 64,
    offset: int = 1,
    stride: int = 1,
    control: int = 0x9,
    pages: int = 1,
    bars: tuple[int, ...] = (0x4400_0000, 0x4404_0000, 0x4000_0000, 0, 0, 0),
) -> SriovCapability:
    """Laid out by linux/pci_regs.h: PCI_SRIOV_CTRL 0x08, INITIAL_VF 0x0c, TOTAL_VF 0x0e, NUM_VF 0x10, VF_OFFSET 0x14, VF_STRIDE
    0x16, VF_DID 0x1a, SUP_PGSIZE 0x1c, SYS_PGSIZE 0x20, BAR 0x24."""
    data = bytearray(64)
    struct.pack_into("<H", data, 0x08, control)
    struct.pack_into("<HHH", data, 0x0C, total, total, count)
    struct.pack_into("<HHxxH", data, 0x14, offset, stride, 0x17F3)
    struct.pack_into("<II6I", data, 0x1C, 0x553, pages, *bars)
    return SriovCapability.decode(bytes(data))


def test_decoding() -> None:
    found = capability()
    assert (found.enabled, found.memory_enabled) == (True, True)
    assert (found.total_vfs, found.num_vfs, found.vf_device_id, found.page_size) == (64, 64, 0x17F3, 4096)
    off = capability(control=0x8)
    assert (off.enabled, off.memory_enabled) == (False, True)


def test_64_vfs_of_function_5() -> None:
    """00:05.0, offset and stride 1: VF 0 is 00:05.1, VF 6 00:05.7, VF 7 00:06.0, VF 63 00:0d.0 (0x28 + 64 = 0x68)."""
    found = capability()
    routing = [found.routing_id(PF, vf) for vf in range(64)]
    assert routing == list(range(0x29, 0x69))
    assert [found.bus(PF, vf) for vf in (0, 63)] == [0, 0]
    assert not found.needs_ari(PF, 7)
    assert found.needs_ari(PF, 8)
    assert found.limit(PF, ari=False) == 7
    assert found.limit(PF, ari=True) == 64


def test_vfs_that_reach_the_next_bus() -> None:
    """A PF at 05:1f.0 = 0x5f8 has seven VFs on bus 5, and the others on bus 6, which the port above must cover."""
    found = capability()
    assert [found.routing_id(0x05F8, vf) for vf in (6, 7, 63)] == [0x05FF, 0x0600, 0x0638]
    assert [found.bus(0x05F8, vf) for vf in (6, 7, 63)] == [5, 6, 6]
    assert found.limit(0x05F8, ari=True) == 7


@pytest.mark.parametrize(("bus", "devfn"), [(0, 0x28), (5, 0xF8), (0x10, 0x00), (0xFD, 0xFF)])
@pytest.mark.parametrize(("offset", "stride"), [(1, 1), (0x80, 2), (7, 4)])
def test_all_64_are_where_linux_looks(bus: int, devfn: int, offset: int, stride: int) -> None:
    """SR-IOV specification 2.1.2: a VF's routing id is the PF's + offset + index * stride; its upper 8 bits are the bus.

    Linux 7.2 drivers/pci/iov.c adds on the devfn, and carries into the bus (pci_iov_virtfn_bus, pci_iov_virtfn_devfn).
    """
    found = capability(offset=offset, stride=stride)
    for vf in range(64):
        far = devfn + offset + stride * vf
        linux_bus, linux_devfn = bus + (far >> 8), far & 0xFF
        routing = found.routing_id(bus << 8 | devfn, vf)
        assert (routing >> 8, routing & 0xFF) == (linux_bus, linux_devfn)
        assert found.bus(bus << 8 | devfn, vf) == linux_bus
        assert ecam_address(0, routing, 4) == linux_bus << 20 | linux_devfn << 12 | 4


def test_offset_and_stride_of_other_devices() -> None:
    """Offset 0x80 and stride 2, as Intel's 82576 has: 01:00.0 to 01:10.0, 01:10.2, ..."""
    found = capability(offset=0x80, stride=2, total=8)
    assert [found.routing_id(0x0100, vf) for vf in range(3)] == [0x0180, 0x0182, 0x0184]
    assert found.limit(0x0100, ari=False) == 0
    assert found.limit(0x0100, ari=True) == 8


def test_routing_ids_wrap() -> None:
    assert capability(offset=0xFFFF).routing_id(PF, 0) == PF - 1


def test_bars_of_64_vfs() -> None:
    """BARs of 4 KiB, 4 KiB and 1 MiB, one VF behind the other: VF 63 has them at base + 63 * size."""
    found = capability()
    assert found.vf_bar_addresses(0) == (0x4400_0000, 0x4404_0000, 0x4000_0000, 0, 0, 0)
    assert found.vf_bar_addresses(63) == (0x4403_F000, 0x4407_F000, 0x43F0_0000, 0, 0, 0)


def test_bars_take_whole_system_pages() -> None:
    """With pages of 64 KiB (bit 4), a BAR of 4 KiB takes 64 KiB."""
    found = capability(pages=0x10)
    assert found.page_size == 65536
    assert found.vf_bar(2, 0, 4096) == 0x4402_0000
    assert found.vf_bar(2, 2, 1 << 20) == 0x4020_0000


def test_64_bit_bars() -> None:
    """Bit 2 of a BAR (PCI_BASE_ADDRESS_MEM_TYPE_64): the next register is its upper half."""
    found = capability(bars=(0x8000_000C, 0x12, 0, 0, 0, 0))
    assert found.vf_bars == (0x12_8000_0000, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(("routing", "offset", "address"), [(0x29, 0x10, 0xB002_9010), (0x0105, 4, 0xB010_5004)])
def test_ecam(routing: int, offset: int, address: int) -> None:
    """Base + bus << 20 | device << 15 | function << 12 | offset."""
    assert ecam_address(0xB000_0000, routing, offset) == address
