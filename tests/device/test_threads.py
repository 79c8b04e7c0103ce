"""Many threads at once: VFs that work while their PF takes them away and gives them back."""

from __future__ import annotations

import mmap
import os
import random
import threading
import time

from _host import Mailbox, enable, read32, set_num_vfs, start_pf
from _patience import PATIENCE

from fauxdna.abi import bars
from fauxdna.bus import Bus, BusError, Region
from fauxdna.firmware import build_images
from fauxdna.serve import LocalDie

SECONDS = 1.0


def test_vfs_work_while_the_pf_removes_them() -> None:
    """Only BusError, and answers or all ones, reach the hosts; nothing hangs; at the end everything still works."""
    failures: list[BaseException] = []
    rounds = [0] * 3
    end = time.monotonic() + SECONDS
    with LocalDie() as die, die.open("0000:05:00.0") as pf:
        channel = start_pf(pf, build_images())
        assert channel.call("CREATE_VFS", vf_count=3).status == 0

        def working() -> bool:
            return time.monotonic() < end or not (all(rounds) or failures or time.monotonic() > end + PATIENCE)

        def tenant(number: int) -> None:
            fd = os.memfd_create("tenant")
            os.ftruncate(fd, 8192)
            try:
                while working():
                    try:
                        bus = die.open(f"0000:05:00.{number}")
                    except BusError:
                        time.sleep(0)
                        continue
                    with bus:
                        try:
                            enable(bus)
                            if read32(bus, Region.BAR2, 0) != 1:
                                continue
                            mailbox = Mailbox(bus)
                            bus.dma_map(0x10000, fd, 0, 8192, 3)
                            partition = mailbox.call("CREATE_PARTITION", column_count=3).partition_id
                            mailbox.call(
                                "CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=4, queue_address_low=0x10000
                            )
                            bus.region_write(Region.BAR2, bars.DOORBELLS, bytes(4))
                            bus.dma_unmap(0x10000, 8192)
                            rounds[number - 1] += 1
                        except (BusError, AssertionError):
                            # The VF went away in between: its mailbox reads all ones.
                            if not function_gone(bus):
                                raise
            except BaseException as error:
                failures.append(error)
            finally:
                os.close(fd)

        def function_gone(bus: Bus) -> bool:
            return bus.region_read(Region.CONFIG, 0, 2) == b"\xff\xff"

        threads = [threading.Thread(target=tenant, args=(number,)) for number in (1, 2, 3)]
        for thread in threads:
            thread.start()
        pause = 0.02
        while working():
            set_num_vfs(pf, 3)
            time.sleep(pause)
            set_num_vfs(pf, 0)
            # On a busy machine a tenant gets nowhere in a moment.
            pause *= 1.02
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a tenant hangs"
        assert failures == []
        assert all(rounds), f"a tenant never worked: {rounds}"
        set_num_vfs(pf, 1)
        with die.open("0000:05:00.1") as vf:
            assert Mailbox(vf).call("AIE_TILE_INFO").status == 0


def test_a_ring_that_changes_while_it_is_read() -> None:
    """A thread scribbles over the rings through a mapping while messages are sent: no harm, least of all to the neighbour."""
    with LocalDie() as die, die.open("0000:05:00.0") as pf:
        channel = start_pf(pf, build_images())
        assert channel.call("CREATE_VFS", vf_count=2).status == 0
        set_num_vfs(pf, 2)
        stop = threading.Event()
        with die.open("0000:05:00.1") as wild, die.open("0000:05:00.2") as calm:
            (area,) = wild.region_map(Region.BAR2)
            with mmap.mmap(area.fd, area.length) as view:

                def scribble() -> None:
                    chance = random.Random(1)
                    while not stop.is_set():
                        at = bars.X2I_RING + chance.randrange(0, 2 * bars.RING_SIZE - 64)
                        view[at : at + 64] = chance.randbytes(64)

                thread = threading.Thread(target=scribble)
                thread.start()
                try:
                    neighbour = Mailbox(calm)
                    for _ in range(100):
                        sender = Mailbox(wild)
                        for _ in range(10):
                            sender.post(0x30006, bytes(4))
                        assert neighbour.call("AIE_TILE_INFO").status == 0
                        wild.reset()
                finally:
                    stop.set()
                    thread.join()


def test_one_tenant_cannot_hold_another_up() -> None:
    """While one VF sends messages as fast as it can, another's still get through, within their share."""
    with LocalDie() as die, die.open("0000:05:00.0") as pf:
        channel = start_pf(pf, build_images())
        assert channel.call("CREATE_VFS", vf_count=2).status == 0
        set_num_vfs(pf, 2)
        stop = threading.Event()
        with die.open("0000:05:00.1") as greedy, die.open("0000:05:00.2") as modest:
            busy, calm = Mailbox(greedy), Mailbox(modest)

            def hammer() -> None:
                while not stop.is_set():
                    busy.call("AIE_TILE_INFO")

            thread = threading.Thread(target=hammer)
            thread.start()
            try:
                start = time.monotonic()
                for _ in range(20):
                    assert calm.call("AIE_TILE_INFO").status == 0
                assert time.monotonic() - start < PATIENCE
            finally:
                stop.set()
                thread.join()
