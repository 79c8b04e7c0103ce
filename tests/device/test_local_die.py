"""A die with the real engine behind the local bus: a packet through doorbell, queue and interrupt."""

from __future__ import annotations

import os
import select

import pytest
from _host import HostMemory, Mailbox, enable, set_num_vfs, start_pf, stop_pf
from _patience import PATIENCE, PATIENCE_US
from _usage import grew, usage

from fauxdna._core import HostQueue
from fauxdna.abi.host_queue import PacketOpcode
from fauxdna.bus import BusError, IrqIndex, Region
from fauxdna.firmware import build_images
from fauxdna.serve import LocalDie

QUEUE = 0x1_0000_0000


def test_a_packet_goes_through() -> None:
    """TEST packet: completion word 4 (ERT_CMD_STATE_COMPLETED), and the context's MSI-X vector."""
    with LocalDie() as die, die.open("0000:05:00.0") as pf:
        channel = start_pf(pf, build_images())
        assert channel.call("CREATE_VFS", vf_count=1).status == 0
        set_num_vfs(pf, 1)
        with die.open("0000:05:00.1") as vf:
            enable(vf)
            mailbox = Mailbox(vf)
            partition = mailbox.call("CREATE_PARTITION", column_count=3).partition_id
            size = 16384
            fd = os.memfd_create("queue")
            os.ftruncate(fd, size)
            vf.dma_map(QUEUE, fd, 0, size, 3)
            context = mailbox.call(
                "CREATE_HW_CONTEXT",
                partition_id=partition,
                request_num_tiles=12,
                queue_address_high=QUEUE >> 32,
                queue_address_low=QUEUE & 0xFFFFFFFF,
            )
            assert context.status == 0
            eventfd = os.eventfd(0, os.EFD_NONBLOCK)
            vf.set_irqs(IrqIndex.MSIX, context.job_complete_msix_idx, [eventfd])
            (area,) = vf.region_map(Region.BAR2)
            queue = HostQueue(fd, 0, QUEUE, size, area.fd, context.doorbell_offset, kick_fd=die.kick_fd)
            sequence = queue.submit_opcode(PacketOpcode.TEST)
            assert queue.spin(sequence, PATIENCE_US) == 4
            assert select.select([eventfd], [], [], PATIENCE)[0] == [eventfd]
            # A context that vanishes under its host: destroying the partition ends it.
            assert mailbox.call("DESTROY_PARTITION", partition_id=partition).status == 0
            os.close(eventfd)
            os.close(fd)
        set_num_vfs(pf, 0)
        assert channel.call("DESTROY_VFS").status == 0
        stop_pf(pf, channel)


def test_functions_and_opening() -> None:
    with LocalDie("0001:c5:00.0", total_vfs=4) as die:
        assert die.functions() == ("0001:c5:00.0",)
        with pytest.raises(BusError, match=r"no function 0001:c5:00\.1"):
            die.open("0001:c5:00.1")
        pf = die.open("0001:c5:00.0")
        assert pf.region_read(Region.CONFIG, 0, 2) == b"\x22\x10"
        with pytest.raises(BusError, match="open already"):
            die.open("0001:c5:00.0")
        set_num_vfs(pf, 4)
        assert die.functions()[1:] == tuple(f"0001:c5:00.{number}" for number in range(1, 5))
        vf = die.open("0001:c5:00.4")
        pf.close()
        assert die.functions() == ("0001:c5:00.0",)
        assert vf.region_read(Region.CONFIG, 0, 2) == b"\xff\xff"
        pf = die.open("0001:c5:00.0")
        set_num_vfs(pf, 4)
        again = die.open("0001:c5:00.4")
        vf.close()
        with pytest.raises(BusError, match="open already"):
            die.open("0001:c5:00.4")
        again.close()
        die.open("0001:c5:00.4").close()
        pf.close()


def test_closing_the_die_under_open_buses() -> None:
    die = LocalDie()
    pf = die.open("0000:05:00.0")
    start_pf(pf, build_images())
    die.close()
    die.close()
    assert pf.region_read(Region.BAR2, 0, 4) == b"\xff" * 4
    with pytest.raises(BusError, match="was removed"):
        HostMemory(pf, 0x1000, 4096)
    pf.close()


def test_dies_do_not_leak() -> None:
    """Threads, descriptors and mappings after ten dies as after the first."""

    def one() -> None:
        with LocalDie() as die, die.open("0000:05:00.0") as pf:
            channel = start_pf(pf, build_images())
            assert channel.call("CREATE_VFS", vf_count=2).status == 0
            set_num_vfs(pf, 2)

    one()
    before = usage()
    for _ in range(10):
        one()
    assert not any(grew(before, usage))
