"""Where buffers live: backing stores (host memory behind a file descriptor) and device addresses."""

from __future__ import annotations

import bisect
import errno
import fcntl
import mmap
import os
import threading
from dataclasses import dataclass
from typing import Final, Protocol

from fauxdna.abi.uapi import MAP_OFFSET_BASE

from ..errors import OutOfSpace

PAGE_SIZE: Final = mmap.PAGESIZE
ADDRESS_BASE: Final = 1 << 32
"""First device address handed out: above the first 4 GiB, so that a truncated address is a fault and not someone's memory."""
ADDRESS_LIMIT: Final = 1 << 47
"""One past the last device address handed out, as IOVAs of Linux's x86 IOMMUs with 4-level tables."""


def page_align(length: int) -> int:
    """``length`` rounded up to whole pages."""
    return -(-length // PAGE_SIZE) * PAGE_SIZE


@dataclass(frozen=True)
class Backing:
    """Host memory: ``length`` bytes of ``fd`` from ``offset``, all page-aligned. The node's mmap finds it at ``map_offset``."""

    fd: int
    offset: int
    length: int
    map_offset: int


class BackingStore(Protocol):
    """What allocates host memory for the BOs of an open file. The door chooses it."""

    def allocate(self, length: int) -> Backing:
        """Zeroed memory of ``length`` bytes, a multiple of the page size; :class:`OutOfSpace` if there is none."""
        ...

    def adopt(self, fd: int, offset: int, length: int) -> Backing:
        """Memory that someone else allocated. The store keeps its own reference to ``fd``."""
        ...

    def export(self, backing: Backing) -> int:
        """A new file descriptor that shows this memory and nothing else; the caller closes it."""
        ...

    def release(self, backing: Backing) -> None:
        """Gives memory back. The caller has made sure that no mapping of it is left."""
        ...


class MemfdStore:
    """One memfd per BO: an exported descriptor shows that BO and nothing else, and the kernel frees it after its last mapping."""

    def __init__(self) -> None:
        self._next_offset = MAP_OFFSET_BASE
        self._lock = threading.Lock()

    def allocate(self, length: int) -> Backing:
        """See :meth:`BackingStore.allocate`."""
        try:
            fd = os.memfd_create("fauxdna-bo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            raise OutOfSpace(
                f"no file descriptor for a buffer of {length} bytes ({error.strerror})",
                "close buffers that are no longer used, or raise the limit: ulimit -n",
                errno=error.errno,
            ) from error
        try:
            os.ftruncate(fd, length)
            # Nobody who gets this descriptor can shrink the memory under the device.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        except OSError as error:
            os.close(fd)
            raise OutOfSpace(
                f"the host has no room for a buffer of {length} bytes ({error.strerror})",
                "ask for less",
                errno=errno.ENOMEM,
            ) from error
        return Backing(fd, 0, length, self._map_offset(length))

    def adopt(self, fd: int, offset: int, length: int) -> Backing:
        """See :meth:`BackingStore.adopt`."""
        return Backing(_duplicate(fd), offset, length, self._map_offset(length))

    def export(self, backing: Backing) -> int:
        """See :meth:`BackingStore.export`."""
        return _duplicate(backing.fd)

    def release(self, backing: Backing) -> None:
        """See :meth:`BackingStore.release`."""
        os.close(backing.fd)

    def _map_offset(self, length: int) -> int:
        with self._lock:
            offset = self._next_offset
            self._next_offset += length
        return offset


def _duplicate(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)


class AddressAllocator:
    """Page-granular ranges of ``base``..``limit``: first fit over the holes, so that addresses are the same in every run."""

    def __init__(self, base: int = ADDRESS_BASE, limit: int = ADDRESS_LIMIT) -> None:
        self._starts = [base]
        self._ends = [limit]
        self._taken: dict[int, int] = {}
        self._lock = threading.Lock()

    def allocate(self, length: int, alignment: int = PAGE_SIZE) -> int:
        """Start of a free range of ``length`` bytes; :class:`OutOfSpace` (``ENOMEM``) if there is none."""
        length = page_align(length)
        with self._lock:
            for index, start in enumerate(self._starts):
                first = -(-start // alignment) * alignment
                if first + length <= self._ends[index]:
                    self._cut(index, first, first + length)
                    self._taken[first] = length
                    return first
        raise OutOfSpace(
            f"no {length} free bytes of device address space", "destroy buffers that are no longer used", errno=errno.ENOMEM
        )

    def free(self, start: int) -> None:
        """Takes back the range that :meth:`allocate` gave at ``start``."""
        with self._lock:
            end = start + self._taken.pop(start)
            index = bisect.bisect_left(self._starts, start)
            self._starts.insert(index, start)
            self._ends.insert(index, end)
            if index + 1 < len(self._starts) and self._starts[index + 1] == end:
                del self._starts[index + 1], self._ends[index]
            if index and self._ends[index - 1] == start:
                del self._starts[index], self._ends[index - 1]

    @property
    def taken(self) -> int:
        """Bytes handed out."""
        return sum(self._taken.values())

    def _cut(self, index: int, first: int, last: int) -> None:
        start, end = self._starts[index], self._ends[index]
        del self._starts[index], self._ends[index]
        for hole_start, hole_end in ((last, end), (start, first)):
            if hole_start < hole_end:
                self._starts.insert(index, hole_start)
                self._ends.insert(index, hole_end)


def write_backing(backing: Backing, data: bytes, offset: int = 0) -> None:
    """Copies ``data`` to byte ``offset`` of ``backing``."""
    os.pwrite(backing.fd, data, backing.offset + offset)
