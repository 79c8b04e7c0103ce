"""What a host may map for a function, and a guest's memory by physical address."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import Final

from fauxdna.bus import BusError

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
