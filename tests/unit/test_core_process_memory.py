"""Address spaces over another process's memory, which contexts reach in place."""

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


def test_only_contexts_reach_it(child: Child) -> None:
    space = AddressSpace()
    memory = os.memfd_create("mapped")
    os.ftruncate(memory, PAGE)
    space.map(IOVA, memory, 0, PAGE, 3)
    space.map(IOVA + PAGE, child.memory, child.address, 2 * PAGE, 3)
    # Who reads and writes here has locks that others wait for, and the process's pages may take for ever.
    for address in (IOVA + PAGE, IOVA + PAGE - 2):
        for access in (lambda at: space.read(at, 4), lambda at: space.write(at, b"four")):
            with pytest.raises(OSError, match="which contexts reach and firmware does not") as raised:
                access(address)
            assert raised.value.errno == errno.EFAULT
    assert os.pread(child.memory, 4, child.address) == b"\1" * 4
    os.close(memory)


def test_parts_that_are_unmapped_leak_no_descriptor(child: Child) -> None:
    before = descriptors()
    space = AddressSpace()
    for _ in range(50):
        space.map(IOVA, child.memory, child.address, 3 * PAGE, 3)
        assert space.unmap(IOVA + PAGE, PAGE) == PAGE
        assert space.mappings() == [(IOVA, PAGE, 3), (IOVA + 2 * PAGE, PAGE, 3)]
        assert space.unmap(IOVA, 3 * PAGE) == 2 * PAGE
    assert descriptors() <= before
    space.map(IOVA, child.memory, child.address, 3 * PAGE, 3)
    space.unmap(IOVA + PAGE, PAGE)
    del space
    assert descriptors() <= before


def test_a_read_only_descriptor_gives_no_writable_mapping(child: Child) -> None:
    memory = os.open(f"/proc/{child.pid}/mem", os.O_RDONLY)
    space = AddressSpace()
    with pytest.raises(PermissionError):
        space.map(IOVA, memory, child.address, PAGE, 3)
    space.map(IOVA, memory, child.address, PAGE, 1)
    os.close(memory)


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
