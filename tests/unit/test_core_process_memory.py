"""Address spaces over another process's memory: read and written in place, and a fault where the process has none."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
from collections.abc import Iterator

import pytest
from _usage import descriptors

from fauxdna._core import AddressSpace

PAGE = 4096
IOVA = 0x1_0000_0000


class Child:
    """A forked process with three pages of its own, of which the parent's copies are others: private, filled with 1."""

    def __init__(self) -> None:
        self.pages = mmap.mmap(-1, 3 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.pages[:] = b"\1" * (3 * PAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        self.pid = os.fork()
        if not self.pid:
            signal.pause()
            os._exit(0)
        self.memory = os.open(f"/proc/{self.pid}/mem", os.O_RDWR)

    def end(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.end()
    os.close(child.memory)


def test_writes_reach_the_process_and_nobody_else(child: Child) -> None:
    space = AddressSpace()
    space.map(IOVA, child.memory, child.address, 3 * PAGE, 3)
    assert space.read(IOVA + 5, 10) == b"\1" * 10
    space.write(IOVA + PAGE - 2, b"over")
    assert os.pread(child.memory, 6, child.address + PAGE - 3) == b"\1over\1"
    assert child.pages[PAGE - 3 : PAGE + 3] == b"\1" * 6, "the parent's pages are its own"


def test_what_the_process_writes_is_seen(child: Child) -> None:
    space = AddressSpace()
    space.map(IOVA, child.memory, child.address, PAGE, 1)
    os.pwrite(child.memory, b"later", child.address)
    assert space.read(IOVA, 5) == b"later"
    with pytest.raises(OSError, match="direction") as raised:
        space.write(IOVA, b"x")
    assert raised.value.errno == errno.EFAULT


def test_a_dead_process_is_a_fault(child: Child) -> None:
    space = AddressSpace()
    space.map(IOVA, child.memory, child.address, PAGE, 3)
    child.end()
    for access in (lambda: space.read(IOVA, 4), lambda: space.write(IOVA, b"four")):
        with pytest.raises(OSError, match="no such page any more") as raised:
            access()
        assert raised.value.errno == errno.EFAULT
    assert space.unmap(IOVA, PAGE) == PAGE


def test_pages_that_the_process_has_not_are_a_fault(child: Child) -> None:
    space = AddressSpace()
    space.map(IOVA, child.memory, 0x1000, PAGE, 3)
    with pytest.raises(OSError, match="no such page any more"):
        space.read(IOVA, 8)


def test_one_access_over_mapped_and_process_memory(child: Child) -> None:
    memory = os.memfd_create("mapped")
    os.ftruncate(memory, PAGE)
    space = AddressSpace()
    space.map(IOVA, memory, 0, PAGE, 3)
    space.map(IOVA + PAGE, child.memory, child.address, PAGE, 3)
    space.write(IOVA + PAGE - 4, b"leftright")
    assert os.pread(memory, 4, PAGE - 4) == b"left"
    assert os.pread(child.memory, 5, child.address) == b"right"
    assert space.read(IOVA + PAGE - 4, 9) == b"leftright"
    os.close(memory)


def test_unmapping_the_middle_keeps_both_ends_and_leaks_no_descriptor(child: Child) -> None:
    before = descriptors()
    space = AddressSpace()
    for _ in range(50):
        space.map(IOVA, child.memory, child.address, 3 * PAGE, 3)
        assert space.unmap(IOVA + PAGE, PAGE) == PAGE
        space.write(IOVA + 2 * PAGE, b"end")
        assert os.pread(child.memory, 3, child.address + 2 * PAGE) == b"end"
        with pytest.raises(OSError, match="not mapped"):
            space.read(IOVA + PAGE, 1)
        assert space.unmap(IOVA, 3 * PAGE) == 2 * PAGE
    assert descriptors() <= before
    space.map(IOVA, child.memory, child.address, PAGE, 3)
    del space
    assert descriptors() <= before


def test_a_read_only_descriptor_gives_no_writable_mapping(child: Child) -> None:
    memory = os.open(f"/proc/{child.pid}/mem", os.O_RDONLY)
    space = AddressSpace()
    with pytest.raises(PermissionError):
        space.map(IOVA, memory, child.address, PAGE, 3)
    space.map(IOVA, memory, child.address, PAGE, 1)
    os.close(memory)
    assert space.read(IOVA, 1) == b"\1", "the space has its own descriptor"


@pytest.mark.parametrize(
    ("offset", "length", "number"), [(1, PAGE, errno.EINVAL), (0, 100, errno.EINVAL), (1 << 63, PAGE, errno.EOVERFLOW)]
)
def test_ranges_are_checked(child: Child, offset: int, length: int, number: int) -> None:
    with pytest.raises(OSError) as raised:  # noqa: PT011
        AddressSpace().map(IOVA, child.memory, offset, length, 3)
    assert raised.value.errno == number


def test_other_files_of_procfs_are_refused() -> None:
    with open("/proc/self/status", "rb") as status, pytest.raises(OSError, match="bytes"):
        AddressSpace().map(IOVA, status.fileno(), 0, PAGE, 1)
