"""SR-IOV: routing ids, the capability's rules, and VFs that come and go."""

from __future__ import annotations

import mmap
import os
import struct

import pytest
from _host import SRIOV_CAPABILITY as CAPABILITY
from _host import HostMemory, Mailbox, enable, read32, set_num_vfs, start_pf, stop_pf
from _machine import Machine
from _usage import grew, usage

from fauxdna.bus import BusError, Region
from fauxdna.bus.local import LocalBus


def word(bus: LocalBus, offset: int) -> int:
    return int.from_bytes(bus.region_read(Region.CONFIG, CAPABILITY + offset, 2), "little")


def test_64_vfs_where_the_capability_says(machine: Machine) -> None:
    """Routing id of VF n (from 1) = PF + offset + (n - 1) * stride (SR-IOV specification 2.1.2)."""
    pf, channel = machine.started_pf()
    assert word(pf, 0x0C) == word(pf, 0x0E) == 64
    assert channel.call("CREATE_VFS", vf_count=64).status == 0
    set_num_vfs(pf, 64)
    offset, stride = word(pf, 0x14), word(pf, 0x16)
    expected = []
    for number in range(1, 65):
        routing = 0x0500 + offset + (number - 1) * stride
        expected.append(f"0000:{routing >> 8:02x}:{routing >> 3 & 31:02x}.{routing & 7}")
    assert list(machine.die.functions())[1:] == expected
    assert expected[-1] == "0000:05:08.0"
    assert word(pf, 0x1A) == 0x17F3
    for bdf in expected:
        bus = machine.open(bdf)
        assert bus.region_read(Region.CONFIG, 0, 4) == bytes.fromhex("2210f317")
        assert Mailbox(bus).call("AIE_TILE_INFO").status == 0


def test_vf_bars_are_sized_by_the_system_page_size(machine: Machine) -> None:
    """VF BARs decode 4 KiB, 4 KiB and 1 MiB for one VF, or a page where pages are larger."""
    pf = machine.pf()
    for pages, sizes in ((1, (4096, 4096, 1 << 20)), (0x10, (65536, 65536, 1 << 20)), (0x400, (4 << 20, 4 << 20, 4 << 20))):
        pf.region_write(Region.CONFIG, CAPABILITY + 0x20, struct.pack("<I", pages))
        for index, size in enumerate(sizes):
            pf.region_write(Region.CONFIG, CAPABILITY + 0x24 + 4 * index, b"\xff" * 4)
            assert -read32(pf, Region.CONFIG, CAPABILITY + 0x24 + 4 * index) & 0xFFFFFFFF == size
    assert read32(pf, Region.CONFIG, CAPABILITY + 0x1C) == 0x553


def test_num_vfs_stands_still_while_enabled(machine: Machine) -> None:
    pf = machine.pf()
    set_num_vfs(pf, 2)
    pf.region_write(Region.CONFIG, CAPABILITY + 0x10, struct.pack("<H", 7))
    pf.region_write(Region.CONFIG, CAPABILITY + 0x20, struct.pack("<I", 0x10))
    assert word(pf, 0x10) == 2
    assert read32(pf, Region.CONFIG, CAPABILITY + 0x20) == 1
    assert len(machine.die.functions()) == 3


@pytest.mark.parametrize("count", [0, 65, 0xFFFF])
def test_vf_enable_with_a_count_that_cannot_be(machine: Machine, count: int) -> None:
    pf = machine.pf()
    pf.region_write(Region.CONFIG, CAPABILITY + 0x10, struct.pack("<H", count))
    pf.region_write(Region.CONFIG, CAPABILITY + 0x08, struct.pack("<H", 1))
    assert word(pf, 0x08) & 1 == 0
    assert f"NumVFs {count} ignored" in machine.errors()
    assert len(machine.die.functions()) == 1


def test_vf_bars_answer_while_vf_memory_space_is_on(machine: Machine) -> None:
    pf, _, vf = machine.started_vf()
    pf.region_write(Region.CONFIG, CAPABILITY + 0x08, struct.pack("<H", 0x1))
    assert read32(vf, Region.BAR2, 0) == 0xFFFFFFFF
    assert vf.region_read(Region.CONFIG, 0, 2) == b"\x22\x10"
    pf.region_write(Region.CONFIG, CAPABILITY + 0x08, struct.pack("<H", 0x9))
    assert read32(vf, Region.BAR2, 0) == 1


def test_a_removed_vf_reads_all_ones(machine: Machine) -> None:
    pf, _, vf = machine.started_vf()
    enable(vf)
    channel = Mailbox(vf)
    partition = channel.call("CREATE_PARTITION", column_count=3).partition_id
    channel.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=4)
    HostMemory(vf, 0x10000, 4096)
    (area,) = vf.region_map(Region.BAR2)
    set_num_vfs(pf, 0)
    assert machine.engine.contexts == {}
    for region in (Region.CONFIG, Region.BAR0, Region.BAR1, Region.BAR2):
        assert vf.region_read(region, 0, 8) == b"\xff" * 8
        vf.region_write(region, 0, bytes(8))
    assert vf.region_map(Region.BAR2) == ()
    with mmap.mmap(area.fd, area.length):
        pass  # A driver that had asked before may still map it: the descriptor was not given to anybody else.
    vf.dma_unmap(0x10000, 4096)
    vf.reset()
    with pytest.raises(BusError, match="was removed"):
        HostMemory(vf, 0x20000, 4096)
    vf.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(area.fd)
    set_num_vfs(pf, 1)
    assert Mailbox(machine.open("0000:05:00.1")).call("AIE_TILE_INFO").status == 0


def test_a_hundred_rounds_leak_nothing(machine: Machine) -> None:
    """File descriptors and mappings after 100 enables of 4 VFs, each with a context and a DMA map, as after the first."""
    pf, channel = machine.started_pf()

    def one_round() -> None:
        assert channel.call("CREATE_VFS", vf_count=4).status == 0
        set_num_vfs(pf, 4)
        for number in range(1, 5):
            bus = machine.open(f"0000:05:00.{number}")
            enable(bus)
            HostMemory(bus, 0x10000, 4096).view.close()
            mailbox = Mailbox(bus)
            partition = mailbox.call("CREATE_PARTITION", column_count=3).partition_id
            assert mailbox.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=4).status == 0
        set_num_vfs(pf, 0)
        assert channel.call("DESTROY_VFS").status == 0
        assert machine.engine.contexts == {}

    one_round()
    before = usage()
    for _ in range(100):
        one_round()
    assert not any(grew(before, usage))


def test_either_order_of_firmware_and_bus(machine: Machine) -> None:
    """Linux 7.2 creates VFs in firmware first; AMD's newer driver enables them on the bus first."""
    pf, channel = machine.started_pf()
    set_num_vfs(pf, 1)
    vf = machine.open("0000:05:00.1")
    assert channel.call("CREATE_VFS", vf_count=1).status == 0
    assert Mailbox(vf).call("AIE_TILE_INFO").status == 0
    assert channel.call("DESTROY_VFS").status == 0
    assert read32(vf, Region.BAR2, 0) == 0
    set_num_vfs(pf, 0)
    stop_pf(pf, channel)


def test_firmware_that_starts_after_vf_enable_serves_them(machine: Machine) -> None:
    pf = machine.pf()
    set_num_vfs(pf, 1)
    channel = start_pf(pf, machine.images)
    assert channel.call("CREATE_VFS", vf_count=1).status == 0
    assert Mailbox(machine.open("0000:05:00.1")).call("AIE_TILE_INFO").status == 0
