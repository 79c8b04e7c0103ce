"""Clients that come, go and come again; reset and features; and how a VMM sees SR-IOV."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from _host import SRIOV_CAPABILITY, Mailbox, enable, set_num_vfs, start_pf
from _patience import PATIENCE, eventually
from _usage import grew, usage
from _vfio_user import (
    CONFIG,
    DEVICE_FEATURE,
    DEVICE_RESET,
    EVENTFD,
    GET_INFO,
    GET_REGION_INFO,
    TRIGGER,
    VERSION,
    RawClient,
    memfd,
)

from fauxdna.bus import BusError, Region
from fauxdna.bus.sriov import SriovCapability
from fauxdna.bus.vfio_user import VfioUserBus
from fauxdna.firmware import build_images
from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer


class Vfs:
    """Takes note of VFs being enabled."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.changed = threading.Condition()

    def __call__(self, count: int) -> None:
        with self.changed:
            self.counts.append(count)
            self.changed.notify()

    def wait(self, number: int) -> list[int]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.counts) >= number, PATIENCE)
            return self.counts


@pytest.fixture
def vfs() -> Vfs:
    return Vfs()


@pytest.fixture
def server(die: LocalDie, vfs: Vfs, tmp_path: Path) -> Iterator[VfioUserServer]:
    with VfioUserServer(die, vfs) as server:
        for name in ("pf", "vf0", "vf1"):
            server.listen(tmp_path / name, name)
        yield server


def sram(client: RawClient) -> mmap.mmap:
    """BAR2 as a VMM maps it."""
    reply = client.ask(GET_REGION_INFO, struct.pack("<IIIIQQ", 64, 0, 2, 0, 0, 0))
    (fd,) = reply.fds
    view = mmap.mmap(fd, 1 << 20)
    os.close(fd)
    return view


def test_reset(server: VfioUserServer, tmp_path: Path) -> None:
    """SRAM is zeroed; what the client wrote into the header of configuration space stays, as VFIO has it."""
    with RawClient(tmp_path / "pf") as client:
        client.write(2, 0x8000, b"\1")
        client.write(CONFIG, 0x3C, b"\x55")
        client.expect(errno.EINVAL, DEVICE_RESET, b"\0")
        client.expect(0, DEVICE_RESET)
        assert client.read(2, 0x8000, 1) == b"\0"
        assert client.read(CONFIG, 0x3C, 1) == b"\x55"


@pytest.mark.parametrize("feature", [0, 1, 2, 6, 7, 8, 0xFFFF])
def test_features(server: VfioUserServer, tmp_path: Path, feature: int) -> None:
    """None is there, migration (1) neither: ENOTTY, as vfio_ioctl_device_feature. Flags that make no sense: EINVAL."""
    with RawClient(tmp_path / "pf") as client:
        for flags in (0x10000, 0x20000, 0x40000, 0x50000, 0x60000, 0x70000):
            client.expect(errno.ENOTTY, DEVICE_FEATURE, struct.pack("<II", 16, flags | feature) + bytes(8))
        client.expect(errno.EINVAL, DEVICE_FEATURE, struct.pack("<II", 16, 0x30000 | feature))
        client.expect(errno.EINVAL, DEVICE_FEATURE, struct.pack("<II", 16, 0x90000 | feature))
        client.expect(errno.EINVAL, DEVICE_FEATURE, struct.pack("<II", 7, 0x50000 | feature))
        client.expect(errno.EINVAL, DEVICE_FEATURE, struct.pack("<I", 16))


def test_the_socket_is_for_its_user(server: VfioUserServer, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "pf").stat().st_mode) == 0o600
    server.close()
    assert list(tmp_path.iterdir()) == []
    server.close()


def test_listening(die: LocalDie, server: VfioUserServer, tmp_path: Path) -> None:
    for path, function, error, text in (
        (tmp_path / "again", "pf", errno.EADDRINUSE, "offered already"),
        (tmp_path / "pf", "vf2", errno.EADDRINUSE, "name another path"),
        (tmp_path / "x", "vf64", errno.ENODEV, "VF 0 to 63"),
        (tmp_path / "x", "vf", errno.ENODEV, "no function"),
        (tmp_path / "x", "vf-1", errno.ENODEV, "no function"),
        (tmp_path / "x", -1, errno.ENODEV, "no function"),
        (tmp_path / "none" / "x", 5, errno.ENOENT, "No such file"),
        (tmp_path / ("long" * 40), 5, None, "too long"),
    ):
        with pytest.raises(BusError, match=text) as caught:
            server.listen(path, function)
        assert caught.value.errno == error
    (tmp_path / "file").touch()
    with pytest.raises(BusError, match="name another path"):
        server.listen(tmp_path / "file", 5)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    server.listen(tmp_path / "stale", 5)
    with RawClient(tmp_path / "stale") as client:
        assert client.read(0, 0, 4) == b"\xff" * 4
    server.close()
    with pytest.raises(BusError, match="closed"):
        server.listen(tmp_path / "late", 6)


def test_a_second_client_is_refused(server: VfioUserServer, tmp_path: Path) -> None:
    """EBUSY in answer to its VERSION; the first one goes on. When that has gone, the next may come."""
    with RawClient(tmp_path / "pf") as first:
        second = RawClient(tmp_path / "pf", negotiate=False)
        assert second.ask(VERSION, struct.pack("<HH", 0, 1)).error == errno.EBUSY
        assert second.answer() is None
        second.close()
        silent = [RawClient(tmp_path / "pf", negotiate=False) for _ in range(70)]
        assert first.read(CONFIG, 0, 2) == b"\x22\x10"
        with RawClient(tmp_path / "vf0") as other:
            other.expect(0, GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))
        for client in silent:
            client.close()
    with RawClient(tmp_path / "pf") as third:
        assert third.read(CONFIG, 0, 2) == b"\x22\x10"


def test_a_client_that_comes_while_the_last_one_is_cleaned_up(server: VfioUserServer, tmp_path: Path) -> None:
    """A guest's reboot, QEMU's restart: no moment in between when the function is busy."""
    for _ in range(30):
        client = RawClient(tmp_path / "pf")
        client.socket.close()
        with RawClient(tmp_path / "pf") as again:
            again.expect(0, GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))


def test_what_a_client_leaves(server: VfioUserServer, die: LocalDie, tmp_path: Path) -> None:
    """Firmware stopped, VFs gone, interrupts disconnected, memory unmapped; the next client's SRAM is not the last one's."""
    pf = VfioUserBus(tmp_path / "pf")
    channel = start_pf(pf, build_images())
    assert channel.call("CREATE_VFS", vf_count=1).status == 0
    set_num_vfs(pf, 1)
    vf = VfioUserBus(tmp_path / "vf0")
    enable(vf)
    mailbox = Mailbox(vf)
    partition = mailbox.call("CREATE_PARTITION", column_count=3).partition_id
    fd = memfd(16384)
    vf.dma_map(0x1000_0000, fd, 0, 16384, 3)
    context = mailbox.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=12, queue_address_low=0x1000_0000)
    assert context.status == 0
    old = mmap.mmap(vf.region_map(Region.BAR2)[0].fd, 1 << 20)
    vf.close()
    assert "vf0" not in server.clients
    with RawClient(tmp_path / "vf0") as client:
        client.reset()
        client.write(CONFIG, 4, b"\6\0")
        assert client.read(2, 0, 4) == b"\1\0\0\0", "a fresh mailbox"
        assert client.read(2, 0x10000, 4) == bytes(4), "no doorbell is armed"
        view = sram(client)
        old[0x8000] = 0x5A
        assert view[0x8000] == 0
        view.close()
        pf.close()
        assert client.read(CONFIG, 0, 4) == b"\xff" * 4, "the PF's client has gone, and the VFs with it"
    assert die.functions() == ("0000:05:00.0",)
    assert server.dma_maps == 0
    old.close()
    os.close(fd)


def test_connecting_a_thousand_times(server: VfioUserServer, tmp_path: Path) -> None:
    """With a map, an eventfd and a mapped region each; descriptors, threads and mappings are those of before."""
    fd, event = memfd(4096), os.eventfd(0, os.EFD_NONBLOCK)

    def once(number: int) -> None:
        client = RawClient(tmp_path / "pf")
        client.map(0x10000, fd, 0, 4096)
        client.set_irqs(EVENTFD | TRIGGER, 0, 1, fds=[event])
        if number % 3 == 0:
            sram(client).close()
        if number % 2:
            client.socket.close()
        else:
            client.close()

    for number in range(10):
        once(number)
    before = usage()
    for number in range(1000):
        once(number)
    assert not any(grew(before, usage))
    assert eventually(lambda: server.clients == ())
    assert server.messages["VERSION"] == 1010
    os.close(fd)
    os.close(event)


def test_servers_leave_nothing(die: LocalDie, tmp_path: Path) -> None:
    def once() -> None:
        with VfioUserServer(die, Vfs()) as server:
            server.listen(tmp_path / "pf")
            client = RawClient(tmp_path / "pf")
            RawClient(tmp_path / "pf", negotiate=False).socket.close()
            server.close()
            client.close()

    once()
    before = usage()
    for _ in range(20):
        once()
    assert not any(grew(before, usage))


def test_what_qemu_sees_before_the_first_reset(server: VfioUserServer, tmp_path: Path) -> None:
    """QEMU hides an SR-IOV capability that it sees while it sets up, so until its first reset it is a vendor's (0x0b).

    A VF that is not enabled has no ids, but a header and capabilities for QEMU to find its BARs and MSI-X by.
    """
    with RawClient(tmp_path / "pf") as pf, RawClient(tmp_path / "vf0") as vf:
        assert pf.read(CONFIG, SRIOV_CAPABILITY, 4)[:2] == b"\x0b\0"
        assert pf.read(CONFIG, SRIOV_CAPABILITY, 1) == b"\x0b"
        assert pf.read(CONFIG, SRIOV_CAPABILITY - 4, 8)[4:6] == b"\x0b\0"
        assert pf.read(CONFIG, 0, 4096)[SRIOV_CAPABILITY] == 0x0B
        assert pf.read(CONFIG, SRIOV_CAPABILITY + 0x0E, 2) == b"\x40\0"
        pf.reset()
        assert pf.read(CONFIG, SRIOV_CAPABILITY, 4)[:2] == b"\x10\0"
        header = vf.read(CONFIG, 0, 64)
        assert header[:4] == b"\xff" * 4
        assert header[8:12] == bytes.fromhex("10008011"), "revision 0x10, class 0x118000"
        assert vf.read(CONFIG, header[0x34], 1) == b"\x10"
        assert header[0x3D] == 0
        vf.reset()
        after = vf.read(CONFIG, 0, 4096)
        assert after[:0x3D] + after[0x3E:] == b"\xff" * 4095
        assert after[0x3D] == 0, "QEMU asks for the interrupt pin after each reset"
        vf.write(CONFIG, 4, b"\6\0")
        assert vf.read(0, 0, 4) == b"\xff" * 4
        assert vf.read(2, 0, 4) == b"\xff" * 4


def test_a_vf_whose_client_came_first(server: VfioUserServer, vfs: Vfs, tmp_path: Path) -> None:
    """Memory, eventfds and the mapped SRAM are what the client gave or got before the VF was there. The VF goes, and comes."""
    fd, event = memfd(16384), os.eventfd(0, os.EFD_NONBLOCK)
    with VfioUserBus(tmp_path / "pf") as pf, VfioUserBus(tmp_path / "vf1") as vf:
        view = mmap.mmap(vf.region_map(Region.BAR2)[0].fd, 1 << 20)
        vf.dma_map(0x1000_0000, fd, 0, 16384, 3)
        vf.set_irqs(2, 0, [event])
        channel = start_pf(pf, build_images())
        for number in range(3):
            assert channel.call("CREATE_VFS", vf_count=2).status == 0
            set_num_vfs(pf, 2)
            assert vfs.wait(2 * number + 1)[-1] == 2
            assert view[:4] == b"\1\0\0\0", "the mailbox's valid word"
            enable(vf)
            mailbox = Mailbox(vf)
            partition = mailbox.call("CREATE_PARTITION", column_count=3).partition_id
            assert os.eventfd_read(event) == 1, "the mailbox's interrupt"
            made = mailbox.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=12, queue_address_low=0x1000_0000)
            assert made.status == 0
            assert os.eventfd_read(event) == 1
            assert view[made.doorbell_offset : made.doorbell_offset + 4] == b"\xff" * 4, "armed by the engine"
            set_num_vfs(pf, 0)
            assert vfs.wait(2 * number + 2)[-1] == 0
            assert vf.region_read(Region.CONFIG, 0, 4) == b"\xff" * 4
            assert view[:4] == b"\xff" * 4
            assert view[0x10000:0x10004] == b"\xff" * 4
            assert channel.call("DESTROY_VFS").status == 0
        view.close()
    os.close(fd)
    os.close(event)


def test_bars_of_vfs_from_the_capability(server: VfioUserServer, vfs: Vfs, tmp_path: Path) -> None:
    """What a VMM does when VFs are enabled: it reads the PF's capability and programs each VF's BARs."""
    with VfioUserBus(tmp_path / "pf") as pf:
        for index, base in enumerate((0x4400_0000, 0x4404_0000, 0x4000_0000)):
            pf.region_write(Region.CONFIG, SRIOV_CAPABILITY + 0x24 + 4 * index, struct.pack("<I", base))
        set_num_vfs(pf, 64)
        assert vfs.wait(1) == [64]
        capability = SriovCapability.decode(pf.region_read(Region.CONFIG, SRIOV_CAPABILITY, 64))
        assert (capability.enabled, capability.num_vfs, capability.vf_device_id) == (True, 64, 0x17F3)
        assert capability.vf_bar_addresses(63)[:3] == (0x4403_F000, 0x4407_F000, 0x43F0_0000)


def test_a_slow_watcher_holds_up_nobody(die: LocalDie, tmp_path: Path) -> None:
    """QEMU's vCPU may be in another access while the VMM programs BARs."""
    go = threading.Event()
    with VfioUserServer(die, lambda count: bool(go.wait(PATIENCE))) as server:
        server.listen(tmp_path / "pf")
        with VfioUserBus(tmp_path / "pf") as pf:
            set_num_vfs(pf, 2)
            assert pf.region_read(Region.CONFIG, 0, 2) == b"\x22\x10"
            go.set()


def test_one_clients_messages_wait_for_no_other(server: VfioUserServer, tmp_path: Path) -> None:
    """A client in the middle of a message, and one that takes no answers."""
    with RawClient(tmp_path / "vf0") as half, RawClient(tmp_path / "vf1") as deaf, RawClient(tmp_path / "pf") as third:
        half.socket.sendall(b"\1\0\4\0\x20\0\0\0")
        deaf.socket.settimeout(1)
        request = struct.pack("<HHIIIQII", 1, 9, 32, 0, 0, 0, 2, 1 << 20)
        with pytest.raises(TimeoutError):
            deaf.socket.sendall(request * 100_000)
        for _ in range(10):
            assert third.read(CONFIG, 0, 2) == b"\x22\x10"
        deaf.socket.close()


def test_surprise_removal(server: VfioUserServer, vfs: Vfs, die: LocalDie, tmp_path: Path) -> None:
    """A VF that is pulled reads ones, and its sister goes on; put back, it is fresh. Then the same with the PF."""
    with pytest.raises(BusError, match="attach it first"):
        server.unplug("vf0")
    with (
        VfioUserBus(tmp_path / "pf") as pf,
        VfioUserBus(tmp_path / "vf0") as vf,
        VfioUserBus(tmp_path / "vf1") as sister,
    ):
        channel = start_pf(pf, build_images())
        assert channel.call("CREATE_VFS", vf_count=2).status == 0
        set_num_vfs(pf, 2)
        for bus in (vf, sister):
            enable(bus)
        assert Mailbox(vf).call("CREATE_PARTITION", column_count=3).status == 0
        server.unplug("vf0")
        server.unplug("vf0")
        assert vf.region_read(Region.CONFIG, 0, 4) == b"\xff" * 4
        assert vf.region_read(Region.BAR2, 0, 4) == b"\xff" * 4
        vf.region_write(Region.BAR0, 0x100, b"\0\0\0\0")
        assert Mailbox(sister).call("AIE_TILE_INFO").status == 0
        server.plug("vf0")
        server.plug("vf0")
        enable(vf)
        assert Mailbox(vf).call("CREATE_PARTITION", column_count=3).status == 0
        server.unplug("pf")
        assert pf.region_read(Region.CONFIG, 0, 4) == b"\xff" * 4
        assert sister.region_read(Region.CONFIG, 0, 4) == b"\xff" * 4
        assert vfs.wait(2) == [2, 0]
        server.plug("pf")
        enable(pf)
        pf.dma_unmap(0, 1 << 62)  # The host's memory stayed mapped.
        channel = start_pf(pf, build_images())
        assert channel.call("CREATE_VFS", vf_count=1).status == 0
        set_num_vfs(pf, 1)
        assert vf.region_read(Region.CONFIG, 0, 4) == bytes.fromhex("2210f317")
