"""The DMA address space: what the core maps, refuses, splits and survives."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from fauxdna._core import AddressSpace

PAGE = 4096


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("memory")
    os.ftruncate(fd, 16 * PAGE)
    yield fd
    os.close(fd)


def test_device_and_file_see_the_same_bytes(memfd: int) -> None:
    space = AddressSpace()
    space.map(0x10000, memfd, PAGE, 2 * PAGE, 3)
    space.write(0x10FF0, bytes(range(32)))
    assert os.pread(memfd, 32, PAGE + 0xFF0) == bytes(range(32))
    os.pwrite(memfd, b"host", 2 * PAGE)
    assert space.read(0x11000, 4) == b"host"


def test_access_spans_neighbouring_mappings_of_different_offsets(memfd: int) -> None:
    space = AddressSpace()
    space.map(0x10000, memfd, 8 * PAGE, PAGE, 3)
    space.map(0x11000, memfd, 0, PAGE, 3)
    space.write(0x10FFE, b"abcd")
    assert os.pread(memfd, 2, 9 * PAGE - 2) == b"ab"
    assert os.pread(memfd, 2, 0) == b"cd"
    assert space.read(0x10FFE, 4) == b"abcd"


@pytest.mark.parametrize(
    ("address", "offset", "length", "prot", "expected"),
    [
        (0x10001, 0, PAGE, 3, errno.EINVAL),
        (0x10000, 1, PAGE, 3, errno.EINVAL),
        (0x10000, 0, 100, 3, errno.EINVAL),
        (0x10000, 0, 0, 3, errno.EINVAL),
        (0x10000, 0, PAGE, 0, errno.EINVAL),
        (0x10000, 0, PAGE, 4, errno.EINVAL),
        (0x10000, 0, 17 * PAGE, 3, errno.EINVAL),
        (0x10000, 16 * PAGE, PAGE, 3, errno.EINVAL),
        (2**64 - PAGE, 0, 2 * PAGE, 3, errno.EOVERFLOW),
        (0x10000, 2**64 - PAGE, 2 * PAGE, 3, errno.EOVERFLOW),
    ],
)
def test_bad_mappings_are_refused(memfd: int, address: int, offset: int, length: int, prot: int, expected: int) -> None:
    space = AddressSpace()
    with pytest.raises(OSError, match=r"\w+ \w+") as caught:
        space.map(address, memfd, offset, length, prot)
    assert caught.value.errno == expected
    assert space.mappings() == []


def test_bad_descriptors_are_refused() -> None:
    read_only = os.open("/proc/self/exe", os.O_RDONLY)
    try:
        with pytest.raises(PermissionError):
            AddressSpace().map(0, read_only, 0, PAGE, 2)
    finally:
        os.close(read_only)
    with pytest.raises(OSError, match="descriptor") as caught:
        AddressSpace().map(0, 987654, 0, PAGE, 1)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize(
    ("address", "pages", "overlaps"),
    [(0x0F000, 2, True), (0x12000, 1, True), (0x10000, 3, True), (0x13000, 1, False), (0xF000, 1, False)],
)
def test_overlap_is_eexist(memfd: int, address: int, pages: int, overlaps: bool) -> None:
    space = AddressSpace()
    space.map(0x10000, memfd, 0, 3 * PAGE, 3)
    if overlaps:
        with pytest.raises(FileExistsError, match="0x10000"):
            space.map(address, memfd, 0, pages * PAGE, 3)
    else:
        space.map(address, memfd, 0, pages * PAGE, 3)


def test_permissions(memfd: int) -> None:
    space = AddressSpace()
    space.map(0, memfd, 0, PAGE, 1)
    space.map(PAGE, memfd, 0, PAGE, 2)
    with pytest.raises(OSError, match="direction") as caught:
        space.write(0, b"x")
    assert caught.value.errno == errno.EFAULT
    with pytest.raises(OSError, match="direction"):
        space.read(PAGE, 1)


@pytest.mark.parametrize(
    ("address", "length"), [(0x20000, 1), (0x10FFF, 2), (0xFFFF, 2), (2**64 - 1, 1), (2**64 - 1, 2**40), (0x10000, 2**62)]
)
def test_access_outside_is_efault(memfd: int, address: int, length: int) -> None:
    space = AddressSpace()
    space.map(0x10000, memfd, 0, PAGE, 3)
    with pytest.raises(OSError, match="not mapped") as caught:
        space.read(address, length)
    assert caught.value.errno == errno.EFAULT


def test_write_that_leaves_the_mapping_writes_nothing(memfd: int) -> None:
    space = AddressSpace()
    space.map(0, memfd, 0, PAGE, 3)
    with pytest.raises(OSError, match="not mapped"):
        space.write(PAGE - 4, b"12345678")
    assert os.pread(memfd, 4, PAGE - 4) == bytes(4)


def test_unmap_splits_and_counts(memfd: int) -> None:
    space = AddressSpace()
    space.map(0x10000, memfd, 0, 4 * PAGE, 3)
    space.map(0x20000, memfd, 8 * PAGE, 2 * PAGE, 1)
    space.write(0x10000, b"left")
    space.write(0x13000, b"right")
    assert space.unmap(0x11000, 2 * PAGE) == 2 * PAGE
    assert space.mappings() == [(0x10000, PAGE, 3), (0x13000, PAGE, 3), (0x20000, 2 * PAGE, 1)]
    assert (space.read(0x10000, 4), space.read(0x13000, 5)) == (b"left", b"right")
    with pytest.raises(OSError, match="not mapped"):
        space.read(0x11000, 1)
    assert space.unmap(0x11000, 2 * PAGE) == 0
    # From the middle of nothing over both pieces to the middle of the last mapping: two pages and one.
    assert space.unmap(0, 0x21000) == 3 * PAGE
    assert space.mappings() == [(0x21000, PAGE, 1)]


def test_unmapped_memory_leaves_the_process() -> None:
    def mapped() -> int:
        with open("/proc/self/maps") as maps:
            return sum(1 for line in maps if "memfd:counted" in line)

    memfd = os.memfd_create("counted")
    os.ftruncate(memfd, 16 * PAGE)
    space = AddressSpace()
    space.map(0, memfd, 0, 16 * PAGE, 3)
    os.close(memfd)
    assert mapped() == 1
    # Pieces are in one window on their file, which goes with the last of them.
    space.unmap(PAGE, PAGE)
    assert mapped() == 1
    space.unmap(2 * PAGE, 14 * PAGE)
    assert mapped() == 1
    space.unmap(0, PAGE)
    assert mapped() == 0


def test_addresses_in_use_with_nothing_behind_them(memfd: int) -> None:
    space = AddressSpace()
    space.reserve(0, 2 * PAGE)
    space.map(2 * PAGE, memfd, 0, PAGE, 3)
    assert space.counts() == (2, 1)
    assert space.mappings() == [(2 * PAGE, PAGE, 3)]
    with pytest.raises(FileExistsError):
        space.map(PAGE, memfd, 0, PAGE, 3)
    with pytest.raises(OSError, match="not mapped"):
        space.write(2 * PAGE - 4, b"12345678")
    assert space.unmap(0, 3 * PAGE) == PAGE
    assert space.counts() == (0, 0)


def test_shrunk_file_poisons_only_its_mapping(memfd: int) -> None:
    other = os.memfd_create("other")
    os.ftruncate(other, PAGE)
    space = AddressSpace()
    space.map(0, memfd, 0, 16 * PAGE, 3)
    space.map(0x100000, other, 0, PAGE, 3)
    os.ftruncate(memfd, PAGE)
    for attempt in (lambda: space.read(2 * PAGE, 16), lambda: space.write(3 * PAGE, b"x" * 8000), lambda: space.read(0, 1)):
        with pytest.raises(OSError, match="shrunk") as caught:
            attempt()
        assert caught.value.errno == errno.EFAULT
    space.write(0x100000, b"alive")
    assert os.pread(other, 5, 0) == b"alive"
    # The remedy that the error names.
    assert space.unmap(0, 16 * PAGE) == 16 * PAGE
    os.ftruncate(memfd, 16 * PAGE)
    space.map(0, memfd, 0, 16 * PAGE, 3)
    assert space.read(2 * PAGE, 4) == bytes(4)
    os.close(other)


def test_split_pieces_of_a_shrunk_file_stay_poisoned(memfd: int) -> None:
    space = AddressSpace()
    space.map(0, memfd, 0, 4 * PAGE, 3)
    os.ftruncate(memfd, 0)
    with pytest.raises(OSError, match="shrunk"):
        space.read(0, 1)
    space.unmap(PAGE, PAGE)
    with pytest.raises(OSError, match="shrunk"):
        space.read(2 * PAGE, 1)
