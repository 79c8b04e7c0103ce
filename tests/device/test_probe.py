"""The stock driver's probe and removal, in its order, for PF and VF."""

from __future__ import annotations

import mmap

import pytest
from _host import HostMemory, Mailbox, enable, read32, set_num_vfs, start_pf, stop_pf
from _machine import Machine

from fauxdna.abi import bars
from fauxdna.bus import Region


def test_pf_identity(machine: Machine) -> None:
    """``amdxdna_ids``: 1022:17f2, revision 0x10; lspci's class 1180."""
    bus = machine.pf()
    assert bus.region_read(Region.CONFIG, 0, 4) == bytes.fromhex("2210f217")
    assert bus.region_read(Region.CONFIG, 8, 4) == bytes.fromhex("10008011")


def test_pf_probe_and_removal(machine: Machine) -> None:
    """aie4_pf_init, aie4_pf_fini, and a second probe: SUSPEND and a fresh start."""
    bus, channel = machine.started_pf()
    assert (channel.info.protocol_major, channel.info.protocol_minor) == (5, 10)
    stop_pf(bus, channel)
    assert read32(bus, Region.BAR2, 0) == 0
    stop_pf(bus, start_pf(bus, machine.images))
    assert machine.errors() == ""


def test_mailbox_info_is_what_linux_accepts(machine: Machine) -> None:
    """xdna_mailbox_start_channel: ring sizes are powers of two; rings lie in BAR2, registers in BAR0, the vector exists."""
    _, channel = machine.started_pf()
    info = channel.info
    for size in (info.x2i_buffer_size, info.i2x_buffer_size):
        assert size & (size - 1) == 0
    assert info.x2i_buffer_addr + info.x2i_buffer_size <= 1 << 20
    assert info.i2x_buffer_addr + info.i2x_buffer_size <= 1 << 20
    for offset in (info.x2i_tail_offset, info.x2i_head_offset, info.i2x_tail_offset, info.i2x_head_offset):
        assert offset < 4096
    assert info.i2x_msi_idx < 8


def test_vf_probe_context_and_removal(machine: Machine) -> None:
    """aie4_vf_init, aie4_hwctx_create, aie4_hwctx_destroy, aie4_vf_fini."""
    pf, pf_channel, vf = machine.started_vf()
    assert vf.region_read(Region.CONFIG, 0, 4) == bytes.fromhex("2210f317")
    enable(vf)
    channel = Mailbox(vf)
    tiles = channel.call("AIE_TILE_INFO")
    assert (tiles.status, tiles.cols, tiles.rows, tiles.core_rows) == (0, 3, 6, 4)
    assert (tiles.shim_row_start, tiles.mem_row_start, tiles.core_row_start) == (0, 1, 2)
    partition = channel.call("CREATE_PARTITION", column_start=0, column_count=3)
    assert partition.status == 0
    assert partition.partition_id != 0
    HostMemory(vf, 0x5_0000_0000, 4096)
    context = channel.call(
        "CREATE_HW_CONTEXT",
        partition_id=partition.partition_id,
        request_num_tiles=8,
        queue_address_high=5,
        queue_address_low=0x40,
        pasid=0x800FFFFF,
        priority_band=0x200,
    )
    assert context.status == 0
    assert context.doorbell_offset == 0x10000
    assert context.job_complete_msix_idx not in (channel.info.i2x_msi_idx, 0)
    (asked,) = machine.engine.contexts.values()
    assert asked["queue_address"] == 0x5_0000_0040
    assert (asked["column"], asked["columns"]) == (0, 2)
    assert asked["doorbell_offset"] == 0x10000
    assert asked["vector"] == context.job_complete_msix_idx
    assert channel.call("DESTROY_HW_CONTEXT", hw_context_id=context.hw_context_id).status == 0
    assert machine.engine.contexts == {}
    assert channel.call("DESTROY_PARTITION", partition_id=partition.partition_id).status == 0
    set_num_vfs(pf, 0)
    assert pf_channel.call("DESTROY_VFS").status == 0
    stop_pf(pf, pf_channel)
    assert machine.errors() == ""


def test_pf_has_no_queues(machine: Machine) -> None:
    """The PF manages and cannot compute: VF messages are not supported there, nor PF messages on a VF."""
    _, channel, vf = machine.started_vf()
    assert channel.call("AIE_TILE_INFO").status == 2
    assert channel.call("CREATE_PARTITION", column_count=3).status == 2
    assert channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4).status == 2
    enable(vf)
    assert Mailbox(vf).call("CREATE_VFS", vf_count=1).status == 2
    assert Mailbox(vf).call("SUSPEND").status == 2


def test_vf_mailbox_is_valid_only_while_its_pf_runs_and_created_it(machine: Machine) -> None:
    pf, channel = machine.started_pf()
    set_num_vfs(pf, 2)
    first, second = machine.open("0000:05:00.1"), machine.open("0000:05:00.2")
    assert (read32(first, Region.BAR2, 0), read32(second, Region.BAR2, 0)) == (0, 0)
    assert channel.call("CREATE_VFS", vf_count=1).status == 0
    assert (read32(first, Region.BAR2, 0), read32(second, Region.BAR2, 0)) == (1, 0)
    assert channel.call("SUSPEND").status == 0
    assert (read32(first, Region.BAR2, 0), read32(second, Region.BAR2, 0)) == (0, 0)


@pytest.mark.parametrize("index", range(6))
def test_bar_sizes(machine: Machine, index: int) -> None:
    """4 KiB mailbox registers, 4 KiB MSI-X, 1 MiB SRAM; PSP and SMU on the PF only. Sized as an OS does, by writing ones."""
    pf, _, vf = machine.started_vf()
    for bus, sizes in ((pf, (4096, 4096, 1 << 20, 0, 4096, 4096)), (vf, (4096, 4096, 1 << 20, 0, 0, 0))):
        bus.region_write(Region.CONFIG, 0x10 + 4 * index, b"\xff\xff\xff\xff")
        mask = read32(bus, Region.CONFIG, 0x10 + 4 * index)
        assert (-mask & 0xFFFFFFFF if mask else 0) == sizes[index] == bus.region_info(Region(index)).size


def test_sram_is_shared_memory(machine: Machine) -> None:
    """What is written through a mapping is read through the bus."""
    bus = machine.pf()
    (area,) = bus.region_map(Region.BAR2)
    assert (area.offset, area.length) == (0, 1 << 20)
    with mmap.mmap(area.fd, area.length, offset=area.fd_offset) as view:
        view[0x8000:0x8004] = b"ring"
        assert bus.region_read(Region.BAR2, 0x8000, 4) == b"ring"
        bus.region_write(Region.BAR2, bars.DOORBELLS, b"door")
        assert view[bars.DOORBELLS : bars.DOORBELLS + 4] == b"door"
