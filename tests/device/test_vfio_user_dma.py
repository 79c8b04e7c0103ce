"""DMA_MAP and DMA_UNMAP: after libvfio-user's test_dma_map.py and test_dma_unmap.py, and what PSP reads of a guest's memory."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _usage import grew, usage
from _vfio_user import CONFIG, DMA_MAP, DMA_UNMAP, RawClient, memfd

from fauxdna.abi import bars
from fauxdna.bus import BusError
from fauxdna.firmware import build_images
from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer

PAGE = 4096


@pytest.fixture
def memory() -> Iterator[int]:
    fd = memfd(1 << 20)
    yield fd
    os.close(fd)


def psp_validate(client: RawClient, address: int) -> int:
    """The npu image at ``address``, as Linux's aie_psp.c has the PSP check it: the response."""
    image = build_images()["npu.dev.sbin"]
    word = struct.Struct("<I")
    for offset, value in (
        (bars.PSP_ARGUMENT0, address & 0xFFFFFFFF),
        (bars.PSP_ARGUMENT1, address >> 32),
        (bars.PSP_COMMAND, 1 << 24 | len(image)),
        (bars.PSP_INTERRUPT, 0),
        (bars.PSP_INTERRUPT, 0xD007BE11),
    ):
        client.write(4, offset, word.pack(value))
    return int(word.unpack(client.read(4, bars.PSP_ARGUMENT0, 4))[0])


def test_map_and_unmap(server: VfioUserServer, client: RawClient, memory: int) -> None:
    client.map(0x10000, memory, 0, 2 * PAGE)
    client.map(0x12000, memory, 8 * PAGE, PAGE, flags=1)
    client.map(0x13000, memory, 9 * PAGE, PAGE, flags=2)
    assert server.dma_maps == 3
    client.map(0x11000, memory, 0, PAGE, error=errno.EEXIST)
    client.map(0xF000, memory, 0, 2 * PAGE, error=errno.EEXIST)
    client.map(0x8000, memory, 0, 0x40000, error=errno.EEXIST)
    client.unmap(0x10000, 2 * PAGE)
    client.map(0x11000, memory, 0, PAGE)
    assert server.dma_maps == 3


def test_unmap_of_what_is_not_mapped_whole(server: VfioUserServer, client: RawClient, memory: int) -> None:
    """QEMU unmaps ranges that were never mapped, and all 64 bits at once when a guest's IOMMU comes on."""
    client.unmap(0x10000, PAGE)
    client.map(0x10000, memory, 0, 8 * PAGE)
    client.unmap(0x12000, 2 * PAGE)
    assert server.dma_maps == 2
    client.map(0x12000, memory, 0, 2 * PAGE)
    client.unmap(0, 1 << 63)
    assert server.dma_maps == 0
    client.unmap(1 << 63, 1 << 63)
    client.map(0x10000, memory, 0, 8 * PAGE)
    client.map(1 << 63, None, 0, PAGE)
    client.unmap(0, 0, flags=2)
    assert server.dma_maps == 0


def test_without_memory(server: VfioUserServer, client: RawClient, memory: int) -> None:
    """A VMM's own device memory: taken note of, and not reachable."""
    client.map(0x10000, None, 0, PAGE)
    client.map(0x10000, memory, 0, PAGE, error=errno.EEXIST)
    assert server.dma_maps == 1
    assert psp_validate(client, 0x10000) == 0xFFFF0002
    client.unmap(0x10000, PAGE)
    os.pwrite(memory, build_images()["npu.dev.sbin"], 0)
    client.map(0x10000, memory, 0, PAGE, flags=7)
    assert psp_validate(client, 0x10000) == 0


@pytest.mark.parametrize(
    ("address", "size", "offset", "flags", "error"),
    [
        (0x10001, PAGE, 0, 3, errno.EINVAL),
        (0x10000, PAGE + 1, 0, 3, errno.EINVAL),
        (0x10000, 0, 0, 3, errno.EINVAL),
        (0x10000, PAGE, 1, 3, errno.EINVAL),
        (0x10000, PAGE, 1 << 20, 3, errno.EINVAL),
        (0x10000, 2 << 20, 0, 3, errno.EINVAL),
        (0x10000, PAGE, 0xFFFF_FFFF_FFFF_F000, 3, errno.EOVERFLOW),
        (0xFFFF_FFFF_FFFF_F000, 2 * PAGE, 0, 3, errno.EOVERFLOW),
        (0xFFFF_FFFF_FFFF_F000, PAGE, 0, 3, errno.EOVERFLOW),
        (0x10000, PAGE, 0, 0, errno.EINVAL),
        (0x10000, PAGE, 0, 4, errno.EINVAL),
        (0x10000, PAGE, 0, 8 | 3, errno.EINVAL),
        (0x10000, PAGE, 0, 0x80000003, errno.EINVAL),
    ],
)
def test_bad_maps(
    server: VfioUserServer, client: RawClient, memory: int, address: int, size: int, offset: int, flags: int, error: int
) -> None:
    client.map(address, memory, offset, size, flags, error=error)
    assert server.dma_maps == 0


def test_lengths_and_descriptors(client: RawClient, memory: int) -> None:
    request = struct.pack("<IIQQQ", 32, 3, 0, 0x10000, PAGE)
    client.expect(errno.EINVAL, DMA_MAP, request[:31], fds=[memory])
    client.expect(errno.EINVAL, DMA_MAP, request + b"\0", fds=[memory])
    client.expect(errno.EINVAL, DMA_MAP, struct.pack("<IIQQQ", 31, 3, 0, 0x10000, PAGE), fds=[memory])
    client.expect(errno.EINVAL, DMA_MAP, request, fds=[memory, memory])
    client.map(0x10000, None, 0, PAGE, flags=7, error=errno.EINVAL)
    request = struct.pack("<IIQQ", 24, 0, 0x10000, PAGE)
    client.expect(errno.EINVAL, DMA_UNMAP, request[:23])
    client.expect(errno.EINVAL, DMA_UNMAP, request + b"\0")
    client.expect(errno.EINVAL, DMA_UNMAP, request, fds=[memory])
    client.expect(errno.EINVAL, DMA_UNMAP, struct.pack("<IIQQ", 23, 0, 0x10000, PAGE))


@pytest.mark.parametrize(
    ("address", "size", "flags", "error"),
    [
        (0x10000, PAGE, 1, errno.EINVAL),
        (0x10000, PAGE, 3, errno.EINVAL),
        (0x10000, PAGE, 2, errno.EINVAL),
        (0, 0, 0x80000000, errno.EINVAL),
        (0x10000, 0, 0, errno.EINVAL),
        (0x10001, PAGE, 0, errno.EINVAL),
        (0x10000, PAGE - 1, 0, errno.EINVAL),
        (0xFFFF_FFFF_FFFF_F000, 2 * PAGE, 0, errno.EOVERFLOW),
    ],
)
def test_bad_unmaps(
    server: VfioUserServer, client: RawClient, memory: int, address: int, size: int, flags: int, error: int
) -> None:
    """Among them dirty-page bitmaps (1), which are not offered."""
    client.map(0x10000, memory, 0, PAGE)
    client.unmap(address, size, flags, error=error)
    assert server.dma_maps == 1


def test_files_that_others_could_hold_back(client: RawClient) -> None:
    """Pipes, devices, files whose pages come from elsewhere are no DMA memory; what is open for reading can't be written."""
    reader, writer = os.pipe()
    zero = os.open("/dev/zero", os.O_RDWR)
    proc = os.open("/proc/self/cmdline", os.O_RDONLY)
    for fd in (reader, zero, proc):
        client.map(0x10000, fd, 0, PAGE, flags=1, error=errno.EINVAL)
    with tempfile.TemporaryFile(dir="/dev/shm") as shared:
        shared.truncate(PAGE)
        client.map(0x10000, shared.fileno(), 0, PAGE)
        again = os.open(f"/proc/self/fd/{shared.fileno()}", os.O_RDONLY)
        client.map(0x20000, again, 0, PAGE, flags=3, error=errno.EACCES)
        client.map(0x20000, again, 0, PAGE, flags=1)
    for fd in (reader, writer, zero, proc, again):
        os.close(fd)


def test_memory_that_its_client_shrinks(server: VfioUserServer, client: RawClient, memory: int) -> None:
    """What is gone can't be read; everything else goes on."""
    client.map(0x10000, memory, 0, 2 * PAGE)
    os.ftruncate(memory, 0)
    assert psp_validate(client, 0x10000) == 0xFFFF0002
    client.unmap(0x10000, 2 * PAGE)
    assert server.dma_maps == 0


def test_psp_reads_physical_memory_after_the_iommu_came_on(client: RawClient) -> None:
    """As QEMU's q35 with intel-iommu: RAM in two pieces, then every map is taken away, then pages at other addresses.

    PSP gets physical addresses (Linux's psp_exec: virt_to_phys). A page's IOVA is what the page is at for everyone else.
    """
    low, total = 0x8000_0000, 0x8010_0000
    fd = memfd(total)
    image = build_images()["npu.dev.sbin"]
    os.pwrite(fd, image, 0x7000_0000)
    os.pwrite(fd, image, low + 0x4000)
    client.map(0, fd, 0, low)
    client.map(1 << 32, fd, low, total - low)
    # A change of the memory map while all memory is its own: part of it goes and comes back.
    client.unmap(0, low)
    client.map(0, fd, 0, 0xA0000)
    client.map(0x100000, fd, 0x100000, low - 0x100000)
    assert psp_validate(client, 0x7000_0000) == 0
    client.unmap(0, 1 << 63)
    client.unmap(1 << 63, 1 << 63)
    client.map(0xFFFF_F000, fd, 0x2000, PAGE)
    assert psp_validate(client, 0x7000_0000) == 0
    assert psp_validate(client, (1 << 32) + 0x4000) == 0
    assert psp_validate(client, 0x6000_0000) == 0xFFFF0002, "zeros are no image"
    assert psp_validate(client, 0x2_0000_0000) == 0xFFFF0002, "no memory there"
    # Pages that come and go leave what is known of physical memory alone.
    client.unmap(0xFFFF_F000, PAGE)
    client.map(0x7000_0000, fd, 0x3000, PAGE)
    client.unmap(0x7000_0000, PAGE)
    assert psp_validate(client, 0x7000_0000) == 0
    os.close(fd)


def test_other_functions_do_not_reach_a_clients_memory(die: LocalDie, tmp_path: Path, memory: int) -> None:
    """Nor the next client of the same function."""
    os.pwrite(memory, build_images()["npu.dev.sbin"], 0)
    with VfioUserServer(die) as server:
        server.listen(tmp_path / "pf")
        with RawClient(tmp_path / "pf") as first:
            first.write(CONFIG, 4, b"\6\0")
            first.map(0x10000, memory, 0, PAGE)
            assert psp_validate(first, 0x10000) == 0
        with RawClient(tmp_path / "pf") as second:
            second.write(CONFIG, 4, b"\6\0")
            assert psp_validate(second, 0x10000) == 0xFFFF0002


def test_a_thousand_maps_leave_nothing(server: VfioUserServer, tmp_path: Path, memory: int) -> None:
    """Descriptors and mappings as before, once the client has gone without unmapping."""

    with RawClient(tmp_path / "pf") as client:
        client.reset()
    before = usage("memfd:client")
    with RawClient(tmp_path / "pf") as client:
        for index in range(1000):
            client.map(0x1_0000_0000 + 2 * PAGE * index, memory, PAGE * (index % 256), PAGE)
        assert server.dma_maps == 1000
    assert server.dma_maps == 0
    assert not any(grew(before, lambda: usage("memfd:client")))


def refused(number: int, verb: Callable[..., None], *arguments: object) -> None:
    with pytest.raises(BusError) as caught:
        verb(*arguments)
    assert caught.value.errno == number


def test_limits(die: LocalDie, memory: int) -> None:
    """65,535 maps are VFIO's limit (dma_entry_limit of vfio_iommu_type1.c, ENOSPC there too); nor can splits make more.

    Files are limited too, since each takes one of the 65,530 mappings that Linux gives this process.
    """
    before = usage("memfd:client")
    slot = die.hold()
    slot.dma_map(0, memory, 0, 3 * PAGE, 3)
    for index in range(1, 65535):
        slot.dma_map(index * 2 << 20, memory if index % 16 == 0 else None, 0, PAGE, 3)
    assert slot.dma_maps == 65535
    assert usage("memfd:client")[2] == before[2] + 1, "one file, one mapping"
    refused(errno.ENOSPC, slot.dma_map, 1 << 60, memory, 0, PAGE, 3)
    refused(errno.ENOSPC, slot.dma_map, 1 << 60, None, 0, PAGE, 3)
    refused(errno.ENOSPC, slot.dma_unmap, PAGE, PAGE)
    slot.dma_unmap(2 << 20, PAGE)
    slot.dma_unmap(PAGE, PAGE)
    assert slot.dma_maps == 65535
    slot.dma_unmap_all()
    assert slot.dma_maps == 0
    files = [memfd(PAGE) for _ in range(513)]
    for index, fd in enumerate(files[:512]):
        slot.dma_map(index * PAGE, fd, 0, PAGE, 3)
    refused(errno.ENOSPC, slot.dma_map, 1 << 40, files[512], 0, PAGE, 3)
    slot.dma_unmap_all()
    files.append(memfd((1 << 40) + PAGE))
    refused(errno.ENOSPC, slot.dma_map, 0, files[-1], 0, (1 << 40) + PAGE, 3)
    slot.dma_map(0, files[-1], 0, 1 << 40, 3)
    slot.close()
    for fd in files:
        os.close(fd)
    assert not any(grew(before, lambda: usage("memfd:client")))
