"""Buffer objects and memory of the driver, without a device."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from _usage import descriptors
from fake_bus import FakeBus
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna.abi.uapi import MAP_OFFSET_BASE, BoType
from fauxdna.bus import BusError
from fauxdna.driver import BufferManager, BufferObject, MemfdStore
from fauxdna.driver.memory import ADDRESS_BASE, AddressAllocator
from fauxdna.errors import DeviceError, FauxdnaError, InvalidArgument, OutOfSpace


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
def manager(bus: FakeBus) -> BufferManager:
    return BufferManager(bus)


def test_a_bo_is_zeroed_rounded_up_and_mapped_for_the_device(bus: FakeBus, manager: BufferManager) -> None:
    bo = manager.create(5000, BoType.SHARE, MemfdStore())
    assert bo.size == 8192
    assert bus.dma_bytes(bo.address, 8192) == bytes(8192)
    os.pwrite(bo.backing.fd, b"seen", 4096)
    assert bus.dma_bytes(bo.address, 8192)[4096:4100] == b"seen"
    manager.put(bo)
    assert not bus.dma
    assert manager.count == manager.mapped_bytes == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bo.backing.fd)


def test_memory_stays_until_the_last_reference(bus: FakeBus, manager: BufferManager) -> None:
    bo = manager.get(manager.create(1, BoType.CMD, MemfdStore()))
    manager.put(bo)
    assert bo.address in bus.dma
    manager.put(bo)
    assert not bus.dma


@pytest.mark.parametrize(
    ("size", "type_", "number"),
    [(0, 1, errno.ENOSPC), (1 << 60, 1, errno.ENOMEM), (4096, 2, errno.EINVAL), (4096, 3, errno.EINVAL), (4096, 0, errno.EINVAL)],
)
def test_refused_sizes_and_types(manager: BufferManager, size: int, type_: int, number: int) -> None:
    with pytest.raises(FauxdnaError) as caught:
        manager.create(size, BoType(type_), MemfdStore())
    assert caught.value.errno == number


def test_an_exported_bo_can_be_imported_and_is_the_same_object(manager: BufferManager) -> None:
    bo = manager.create(4096, BoType.SHARE, MemfdStore())
    fd = manager.export(bo)
    assert manager.import_memory(fd, MemfdStore()) is bo
    assert bo.references == 2
    os.close(fd)


def test_an_exported_descriptor_can_not_shrink_the_memory(manager: BufferManager) -> None:
    fd = manager.export(manager.create(8192, BoType.SHARE, MemfdStore()))
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 4096)
    os.close(fd)


def test_a_foreign_memfd_becomes_an_imported_bo(bus: FakeBus, manager: BufferManager) -> None:
    fd = os.memfd_create("foreign")
    os.ftruncate(fd, 8192)
    os.pwrite(fd, b"theirs", 0)
    bo = manager.import_memory(fd, MemfdStore())
    os.close(fd)
    assert bo.imported
    assert bus.dma_bytes(bo.address, 6) == b"theirs"


def test_importing_from_many_threads_gives_one_object(bus: FakeBus, manager: BufferManager) -> None:
    fd = os.memfd_create("foreign")
    os.ftruncate(fd, 4096)
    barrier = threading.Barrier(8)

    def work() -> BufferObject:
        barrier.wait()
        return manager.import_memory(fd, MemfdStore())

    with ThreadPoolExecutor(8) as pool:
        made = [future.result() for future in [pool.submit(work) for _ in range(8)]]
    assert len({id(bo) for bo in made}) == 1
    assert made[0].references == 8
    assert len(bus.dma) == 1
    for bo in made:
        manager.put(bo)
    assert not bus.dma
    os.close(fd)


def test_a_finalizer_inside_a_call_neither_deadlocks_nor_gets_lost(
    bus: FakeBus, manager: BufferManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = manager.create(4096, BoType.SHARE, MemfdStore())
    dma_map = bus.dma_map

    def collect(*arguments: int) -> None:
        # As if the garbage collector ran here.
        if manager.count == 1:
            manager.drop(dropped)
            assert manager.count == 1
        dma_map(*arguments)

    monkeypatch.setattr(bus, "dma_map", collect)
    kept = manager.create(4096, BoType.SHARE, MemfdStore())
    assert list(bus.dma) == [kept.address]
    manager.drop(kept)
    assert manager.count == 0


def test_what_is_no_buffer_is_not_imported(manager: BufferManager) -> None:
    read, write = os.pipe()
    with pytest.raises(InvalidArgument) as caught:
        manager.import_memory(read, MemfdStore())
    assert caught.value.errno == errno.EINVAL
    os.close(read)
    os.close(write)
    with pytest.raises(InvalidArgument) as caught:
        manager.import_memory(read, MemfdStore())
    assert caught.value.errno == errno.EBADF


def test_a_bus_that_refuses_leaves_nothing_behind(bus: FakeBus, manager: BufferManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BusError(errno.ENOSPC, "65535 mappings")

    monkeypatch.setattr(bus, "dma_map", refuse)
    before = descriptors()
    with pytest.raises(DeviceError, match="65535 mappings") as caught:
        manager.create(4096, BoType.SHARE, MemfdStore())
    assert caught.value.errno == errno.ENOSPC
    assert descriptors() <= before
    assert manager.mapped_bytes == 0


def test_map_offsets_are_never_used_twice(manager: BufferManager) -> None:
    store = MemfdStore()
    offsets = []
    for _ in range(3):
        bo = manager.create(8192, BoType.SHARE, store)
        offsets.append(bo.backing.map_offset)
        manager.put(bo)
    assert offsets == [MAP_OFFSET_BASE, MAP_OFFSET_BASE + 8192, MAP_OFFSET_BASE + 16384]


def test_driver_memory_ends_with_its_block(bus: FakeBus, manager: BufferManager) -> None:
    with manager.driver_memory(100, 1 << 16) as (backing, address):
        assert address % (1 << 16) == 0
        assert bus.dma[address][2] == backing.length == mmap.PAGESIZE
    assert not bus.dma


def test_addresses_are_first_fit_aligned_and_coalesce() -> None:
    space = AddressAllocator(0x10000, 0x20000)
    a, b, c = space.allocate(0x1000), space.allocate(0x1001), space.allocate(0x1000, 0x4000)
    assert (a, b, c) == (0x10000, 0x11000, 0x14000)
    space.free(b)
    assert space.allocate(0x3000) == 0x11000
    for address in (a, 0x11000, c):
        space.free(address)
    assert space.allocate(0x10000) == 0x10000
    with pytest.raises(OutOfSpace):
        space.allocate(1)


def test_addresses_start_above_4_gib(manager: BufferManager) -> None:
    assert manager.create(1, BoType.SHARE, MemfdStore()).address == ADDRESS_BASE


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([1, 2, 4]), st.integers(0, 20)), max_size=60))
def test_addresses_never_overlap_and_all_come_back(steps: list[tuple[int, int, int]]) -> None:
    low, high = 0x100000, 0x140000
    space = AddressAllocator(low, high)
    taken: dict[int, int] = {}
    for pages, alignment, release in steps:
        try:
            start = space.allocate(pages * 4096, alignment * 4096)
        except OutOfSpace:
            assert sum(taken.values()) > 0
        else:
            end = start + pages * 4096
            assert low <= start < end <= high
            assert start % (alignment * 4096) == 0
            assert all(end <= other or other + length <= start for other, length in taken.items())
            taken[start] = pages * 4096
        if release < len(taken):
            address = sorted(taken)[release]
            space.free(address)
            del taken[address]
        assert space.taken == sum(taken.values())
    for address in taken:
        space.free(address)
    assert space.allocate(high - low) == low
