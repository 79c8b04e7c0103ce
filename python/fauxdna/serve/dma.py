"""What a host has mapped for a function: the ranges it sees, the files behind them, and memory by physical address."""

from __future__ import annotations

import bisect
import ctypes
import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import Final

from fauxdna.bus import BusError

_LIMIT: Final = 1 << 64
_SHARED_MEMORY: Final = {0x01021994: "tmpfs", 0x958458F6: "hugetlbfs"}
"""By ``statfs(2)``'s ``f_type``, file systems whose pages are memory: a page of another may wait for a disk or a FUSE process."""


class _Statfs(ctypes.Structure):
    """The start of ``struct statfs``, and room for the rest (120 bytes on x86-64)."""

    _fields_ = (("f_type", ctypes.c_long), ("rest", ctypes.c_byte * 248))


_libc = ctypes.CDLL(None, use_errno=True)


def check_shared_memory(fd: int) -> None:
    """``EINVAL`` unless ``fd`` is a file whose pages nobody can hold back from the engine: a memfd, or of tmpfs or hugetlbfs."""
    status = _Statfs()
    kind = status.f_type if _libc.fstatfs(fd, ctypes.byref(status)) == 0 else 0
    if not stat.S_ISREG(os.fstat(fd).st_mode) or status.f_type not in _SHARED_MEMORY:
        raise BusError(
            errno.EINVAL,
            f"DMA memory must be a memfd or a file of tmpfs or hugetlbfs, not of file system {kind or status.f_type:#x}; "
            "with QEMU use memory-backend-memfd with share=on",
        )


class DmaRanges:
    """Device addresses that are mapped, in order, with or without memory behind them. Not thread-safe."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._reachable: list[bool] = []
        self.reachable = 0
        """Ranges with memory behind them."""

    def __len__(self) -> int:
        return len(self._starts)

    def check(self, start: int, length: int) -> None:
        """``EINVAL`` or ``EOVERFLOW`` for what is no range, ``EEXIST`` if part of it is mapped."""
        if length <= 0 or start % 4096 or length % 4096:
            raise BusError(errno.EINVAL, f"{length:#x} bytes at {start:#x}: both must be multiples of 4096, and not 0")
        if start + length > _LIMIT:
            raise BusError(errno.EOVERFLOW, f"{length:#x} bytes at {start:#x} pass the last 64-bit address")
        at = bisect.bisect_right(self._ends, start)
        if at < len(self._starts) and self._starts[at] < start + length:
            raise BusError(
                errno.EEXIST,
                f"device addresses {start:#x}..{start + length:#x} overlap the mapping "
                f"{self._starts[at]:#x}..{self._ends[at]:#x}; unmap that first",
            )

    def add(self, start: int, length: int, reachable: bool) -> None:
        """Takes note of a range that :meth:`check` let pass."""
        at = bisect.bisect_left(self._starts, start)
        self._starts.insert(at, start)
        self._ends.insert(at, start + length)
        self._reachable.insert(at, reachable)
        self.reachable += reachable

    def remove(self, start: int, end: int) -> None:
        """Takes a range away, and splits what reaches beyond it."""
        first = bisect.bisect_right(self._ends, start)
        last = bisect.bisect_left(self._starts, end)
        if first >= last:
            return
        kept = []
        for at, low, high in ((first, self._starts[first], start), (last - 1, end, self._ends[last - 1])):
            if low < high:
                kept.append((low, high, self._reachable[at]))
        self.reachable += sum(reachable for *_, reachable in kept) - sum(self._reachable[first:last])
        self._starts[first:last] = [low for low, _, _ in kept]
        self._ends[first:last] = [high for _, high, _ in kept]
        self._reachable[first:last] = [reachable for *_, reachable in kept]


@dataclass(frozen=True)
class _Run:
    """Physical addresses ``start`` to ``end`` lie in ``file`` at ``start + delta``."""

    start: int
    end: int
    file: tuple[int, int]
    delta: int


class PhysicalMemory:
    """A guest's memory by its physical addresses, known from the maps that a VMM makes before the guest's IOMMU comes on.

    Until then device addresses are physical ones, and QEMU maps all memory. When the IOMMU comes on, QEMU takes every map away
    and makes others, which lie elsewhere in the files. From then on what was known stays as it is.
    """

    RUNS: Final = 512
    FILES: Final = 16
    """More than a guest's memory has; a client that maps and unmaps for ever pushes its own oldest runs out."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._files: dict[tuple[int, int], int] = {}
        self._translated = False

    def map(self, address: int, fd: int, offset: int, length: int, *, alone: bool) -> None:
        """Takes note of a map; ``alone`` says that no other map with memory exists."""
        status = os.fstat(fd)
        file, delta = (status.st_dev, status.st_ino), offset - address
        if alone and self._runs and all((run.file, run.delta) != (file, delta) for run in self._runs):
            self._translated = True
        if self._translated:
            return
        if file not in self._files:
            try:
                if len(self._files) < self.FILES:
                    self._files[file] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
            except OSError:
                pass
            if file not in self._files:
                return
        end = address + length
        kept = []
        for run in self._runs:
            for low, high in ((run.start, min(run.end, address)), (max(run.start, end), run.end)):
                if low < high:
                    kept.append(_Run(low, high, run.file, run.delta))
        self._runs = [*kept, _Run(address, end, file, delta)][-self.RUNS :]

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at a physical address; ``EFAULT`` if they are not all known."""
        data = bytearray()
        while len(data) < length:
            here = address + len(data)
            run = next((run for run in self._runs if run.start <= here < run.end), None)
            count = 0 if run is None else min(length - len(data), run.end - here)
            part = b"" if run is None else os.pread(self._files[run.file], count, here + run.delta)
            if not part:
                raise OSError(errno.EFAULT, f"no memory at physical address {here:#x}; map the guest's memory before its IOMMU")
            data += part
        return bytes(data)

    def close(self) -> None:
        """Lets the files go."""
        self._runs.clear()
        while self._files:
            os.close(self._files.popitem()[1])
