"""Configuration space: capability lists, write masks, memory enable, MSI-X, function-level reset."""

from __future__ import annotations

import mmap
import os
import select
import struct

import pytest
from _host import Mailbox, enable, read32, smu, start_pf, write32
from _machine import Machine

from fauxdna.bus import BusError, IrqIndex, Region
from fauxdna.bus.local import LocalBus

PCIE, MSIX, ARI, SRIOV = 0x40, 0x80, 0x100, 0x140
TABLE_CONTROL = 0xC
PENDING = 0x800


def config(bus: LocalBus, offset: int, size: int) -> int:
    return int.from_bytes(bus.region_read(Region.CONFIG, offset, size), "little")


def put(bus: LocalBus, offset: int, value: int, size: int) -> None:
    bus.region_write(Region.CONFIG, offset, value.to_bytes(size, "little"))


def capabilities(bus: LocalBus) -> dict[int, int]:
    """pci_find_capability's walk: id to offset."""
    assert config(bus, 0x06, 2) & 0x10
    found = {}
    at = config(bus, 0x34, 1)
    while at:
        found[config(bus, at, 1)] = at
        at = config(bus, at + 1, 1)
    return found


def extended_capabilities(bus: LocalBus) -> dict[int, int]:
    found = {}
    at = 0x100
    while at:
        header = config(bus, at, 4)
        found[header & 0xFFFF] = at
        at = header >> 20
    return found


def test_capability_lists(machine: Machine) -> None:
    """PCI Express (0x10) version 2 with FLR, MSI-X (0x11) of 8 vectors in BAR1; ARI (0x0e), and SR-IOV (0x10) on the PF only."""
    pf, _, vf = machine.started_vf()
    for bus in (pf, vf):
        found = capabilities(bus)
        assert sorted(found) == [0x10, 0x11]
        assert config(bus, found[0x10] + 2, 2) & 0xF == 2
        assert config(bus, found[0x10] + 4, 4) & 0x10000000
        assert config(bus, found[0x11] + 2, 2) & 0x7FF == 7
        assert config(bus, found[0x11] + 4, 4) == 0x000 | 1
        assert config(bus, found[0x11] + 8, 4) == 0x800 | 1
    assert sorted(extended_capabilities(pf)) == [0x0E, 0x10]
    assert sorted(extended_capabilities(vf)) == [0x0E]


def test_writable_bits_are_these_and_no_others(machine: Machine) -> None:
    """Everything is written with ones, byte by byte; what then differs is what may be written."""
    bus = machine.pf()
    before = bus.region_read(Region.CONFIG, 0, 4096)
    for offset in range(4096):
        if offset not in (PCIE + 9, SRIOV + 8):  # FLR and VF Enable have tests of their own.
            bus.region_write(Region.CONFIG, offset, b"\xff")
    after = bus.region_read(Region.CONFIG, 0, 4096)
    changed = {offset: after[offset] & ~before[offset] for offset in range(4096) if after[offset] != before[offset]}
    expected = {0x04: 0x04, 0x05: 0x04, 0x0C: 0xFF, 0x3C: 0xFF}
    for base, sizes in ((0x10, (4096, 4096, 1 << 20, 0, 4096, 4096)), (SRIOV + 0x24, None)):
        # VF BARs: the system page size became 4 MiB, the largest that was written, so each is that large.
        for index, size in enumerate(sizes or (4 << 20, 4 << 20, 4 << 20, 0, 0, 0)):
            mask = -size & 0xFFFFFFF0 if size else 0
            for byte in range(4):
                if mask >> 8 * byte & 0xFF:
                    expected[base + 4 * index + byte] = mask >> 8 * byte & 0xFF
    expected |= {PCIE + 8: 0xFF, MSIX + 3: 0xC0, SRIOV + 0x10: 0xFF, SRIOV + 0x11: 0xFF, SRIOV + 0x20: 0x52, SRIOV + 0x21: 0x05}
    assert changed == expected


def test_memory_space_must_be_on(machine: Machine) -> None:
    bus = machine.pf()
    put(bus, 4, 0, 2)
    assert read32(bus, Region.BAR4, 0xAEC) == 0xFFFFFFFF
    write32(bus, Region.BAR5, 0x9EC, 3)
    put(bus, 4, 2, 2)
    assert read32(bus, Region.BAR5, 0x9EC) == 0
    assert "COMMAND bit 1" in machine.errors()


def test_flr_of_the_pf_clears_everything(machine: Machine) -> None:
    """Device Control bit 15: firmware stops, VFs vanish, configuration is as after power-up; the function can be probed again."""
    pf, channel, vf = machine.started_vf()
    assert channel.call("AIE_TILE_INFO").status == 2
    put(pf, PCIE + 8, config(pf, PCIE + 8, 2) | 0x8000, 2)
    assert config(pf, PCIE + 8, 2) & 0x8000 == 0
    assert config(pf, 4, 2) == 0
    assert config(pf, SRIOV + 8, 2) == 0
    assert list(machine.die.functions()) == ["0000:05:00.0"]
    assert vf.region_read(Region.CONFIG, 0, 4) == b"\xff\xff\xff\xff"
    put(pf, 4, 2, 2)
    assert read32(pf, Region.BAR2, 0) == 0
    assert read32(pf, Region.BAR4, 0xAEC) == 0x80000000
    pf.dma_unmap(0, 1 << 40)
    assert start_pf(pf, machine.images).info.valid == 1


def test_flr_of_a_vf_touches_no_other(machine: Machine) -> None:
    _, channel, first = machine.started_vf(2)
    second = machine.open("0000:05:00.2")
    mailboxes = []
    for bus in (first, second):
        enable(bus)
        mailboxes.append(Mailbox(bus))
        identifier = mailboxes[-1].call("CREATE_PARTITION", column_count=3).partition_id
        assert mailboxes[-1].call("CREATE_HW_CONTEXT", partition_id=identifier, request_num_tiles=4).status == 0
    put(first, PCIE + 8, 0x8000, 2)
    assert len(machine.engine.contexts) == 1
    assert mailboxes[1].call("CREATE_PARTITION", column_count=3).status == 1  # It still has its own.
    enable(first)
    assert Mailbox(first).call("CREATE_PARTITION", column_count=3).status == 0
    assert channel.call("DESTROY_VFS").status == 0


def test_a_reset_zeroes_the_sram_that_the_host_has_mapped(machine: Machine) -> None:
    bus = machine.pf()
    (area,) = bus.region_map(Region.BAR2)
    with mmap.mmap(area.fd, area.length) as view:
        view[:] = b"\xaa" * area.length
        bus.reset()
        assert view[:] == bytes(area.length)
        view[100:104] = b"live"
        assert bus.region_read(Region.BAR2, 100, 4) == b"live"


def test_bus_reset_keeps_the_hosts_settings(machine: Machine) -> None:
    """As VFIO: COMMAND, BARs and MSI-X survive; firmware does not, and SR-IOV is off."""
    pf, _, _ = machine.started_vf()
    put(pf, 0x10, 0xFEB00000, 4)
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    pf.set_irqs(IrqIndex.MSIX, 3, [eventfd])
    pf.reset()
    assert config(pf, 4, 2) == 6
    assert config(pf, 0x10, 4) == 0xFEB00000
    assert config(pf, MSIX + 2, 2) & 0x8000
    assert read32(pf, Region.BAR1, 3 * 16 + TABLE_CONTROL) == 0
    assert config(pf, SRIOV + 8, 2) == 0
    assert read32(pf, Region.BAR2, 0) == 0
    os.close(eventfd)


def delivered(eventfd: int) -> bool:
    ready, _, _ = select.select([eventfd], [], [], 0)
    return bool(ready) and bool(os.eventfd_read(eventfd))


def test_the_mailbox_interrupts(machine: Machine) -> None:
    _, _, bus = machine.started_vf()
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    bus.set_irqs(IrqIndex.MSIX, 0, [eventfd])
    channel = Mailbox(bus)
    assert channel.call("AIE_TILE_INFO").status == 0
    assert delivered(eventfd)
    # Masked by its table entry: pending, and delivered on unmasking.
    write32(bus, Region.BAR1, TABLE_CONTROL, 1)
    channel.call("AIE_TILE_INFO")
    assert not delivered(eventfd)
    assert read32(bus, Region.BAR1, PENDING) == 1
    write32(bus, Region.BAR1, TABLE_CONTROL, 0)
    assert delivered(eventfd)
    assert read32(bus, Region.BAR1, PENDING) == 0
    # Masked by the function.
    put(bus, MSIX + 2, 0xC000, 2)
    channel.call("AIE_TILE_INFO")
    assert not delivered(eventfd)
    put(bus, MSIX + 2, 0x8000, 2)
    assert delivered(eventfd)
    # Disconnected.
    bus.set_irqs(IrqIndex.MSIX, 0, [None])
    channel.call("AIE_TILE_INFO")
    assert not delivered(eventfd)
    bus.set_irqs(IrqIndex.MSIX, 0, [])
    assert config(bus, MSIX + 2, 2) & 0x8000 == 0
    os.close(eventfd)


def test_a_reset_forgets_pending_interrupts(machine: Machine) -> None:
    _, _, bus = machine.started_vf()
    Mailbox(bus).call("AIE_TILE_INFO")
    assert read32(bus, Region.BAR1, PENDING) == 1
    bus.reset()
    assert read32(bus, Region.BAR1, PENDING) == 0


def test_msix_table_is_memory_except_for_the_mask(machine: Machine) -> None:
    bus = machine.pf()
    for vector in range(8):
        assert read32(bus, Region.BAR1, vector * 16 + TABLE_CONTROL) == 1, "vectors are masked after reset"
        bus.region_write(Region.BAR1, vector * 16, struct.pack("<4I", 0xFEE00000, 0, 0x4021 + vector, 0xFFFFFFFE))
        assert bus.region_read(Region.BAR1, vector * 16, 16) == struct.pack("<4I", 0xFEE00000, 0, 0x4021 + vector, 0)
    write32(bus, Region.BAR1, PENDING, 0xFFFFFFFF)
    assert read32(bus, Region.BAR1, PENDING) == 0
    assert read32(bus, Region.BAR1, 8 * 16) == 0


@pytest.mark.parametrize(("start", "count"), [(8, 1), (7, 2), (-1, 1), (0, 9)])
def test_vectors_that_do_not_exist(machine: Machine, start: int, count: int) -> None:
    with pytest.raises(BusError, match="the function has 0 to 7"):
        machine.pf().set_irqs(IrqIndex.MSIX, start, [None] * count)


def test_irq_misuse(machine: Machine) -> None:
    bus = machine.pf()
    with pytest.raises(BusError, match="MSI-X"):
        bus.set_irqs(IrqIndex.MSI, 0, [None])
    read, write = os.pipe()
    with pytest.raises(BusError, match="not an eventfd"):
        bus.set_irqs(IrqIndex.MSIX, 0, [write])
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("region", "offset", "length"),
    [
        (Region.BAR0, 4096, 4),
        (Region.BAR0, 4094, 4),
        (Region.BAR0, 2, 4),
        (Region.BAR4, 0xAEC, 2),
        (Region.BAR3, 0, 4),
        (Region.ROM, 0, 4),
        (Region.BAR2, 1 << 20, 1),
        (Region.CONFIG, 4095, 2),
        (Region.CONFIG, -1, 1),
        (Region.BAR0, 0, 0),
    ],
)
def test_accesses_that_are_refused(machine: Machine, region: Region, offset: int, length: int) -> None:
    bus = machine.pf()
    with pytest.raises(BusError):
        bus.region_read(region, offset, length)
    with pytest.raises(BusError):
        bus.region_write(region, offset, bytes(length))


def test_dma_misuse(machine: Machine) -> None:
    bus = machine.pf()
    fd = os.memfd_create("test")
    os.ftruncate(fd, 8192)
    bus.dma_map(0x10000, fd, 0, 8192, 3)
    for arguments in [
        (0x10000, fd, 0, 4096, 3),
        (0x20001, fd, 0, 4096, 3),
        (0x20000, fd, 0, 4095, 3),
        (0x20000, fd, 0, 16384, 3),
        (0x20000, fd, 4096, 8192, 3),
        (0x20000, 9999, 0, 4096, 3),
        (0xFFFF_FFFF_FFFF_F000, fd, 0, 8192, 3),
        (1 << 64, fd, 0, 4096, 3),
        (-4096, fd, 0, 4096, 3),
    ]:
        with pytest.raises(BusError):
            bus.dma_map(*arguments)
    bus.dma_unmap(0x40000, 4096)
    bus.dma_unmap(0x10000, 8192)
    bus.dma_map(0x10000, fd, 0, 8192, 1)
    os.close(fd)


def test_a_closed_bus_says_so(machine: Machine) -> None:
    bus = machine.pf()
    smu(bus, 3)
    bus.close()
    bus.close()
    with pytest.raises(BusError, match="is closed"):
        bus.region_read(Region.CONFIG, 0, 4)
