"""BAR2: the SRAM of a function, shared memory that hosts may map. What lies in it is theirs to change at any moment."""

from __future__ import annotations

import fcntl
import mmap
import os

from fauxdna.abi import bars
from fauxdna.bus import MappedArea


def allocate(size: int) -> int:
    """A descriptor of ``size`` bytes of sealed shared memory: it can't be shrunk under us. The caller closes it."""
    fd = os.memfd_create("fauxdna-sram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(fd)
        raise
    return fd


class Sram:
    """``size`` bytes of shared memory: its own, or what a host brings from :func:`allocate`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._own = allocate(size)
        self._own_view = mmap.mmap(self._own, size)
        self._view = self._own_view
        self.fd = self._own
        """The memory that is in use."""

    def borrow(self, fd: int) -> None:
        """Lies in ``fd`` from now on, which stays its owner's. What is below the doorbells moves along; all else is zero."""
        view = mmap.mmap(fd, self.size)
        view.madvise(mmap.MADV_REMOVE)
        view[: bars.DOORBELLS] = self._view[: bars.DOORBELLS]
        self._use(view, fd)

    def give_back(self) -> None:
        """Lies in its own memory again, zeroed."""
        self._own_view.madvise(mmap.MADV_REMOVE)
        self._use(self._own_view, self._own)

    def read(self, offset: int, length: int) -> bytes:
        """A copy: what the host changes afterwards is not seen."""
        return self._view[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        """Writes ``data``."""
        self._view[offset : offset + len(data)] = data

    def areas(self) -> tuple[MappedArea, ...]:
        """All of it may be mapped."""
        return (MappedArea(0, self.size, self.fd, 0),)

    def clear(self) -> None:
        """Zeroes it, as a reset does, and gives the pages back (memfds support hole punching)."""
        self._view.madvise(mmap.MADV_REMOVE)

    def close(self) -> None:
        """Gives the memory back; mappings that hosts made live on."""
        self._use(self._own_view, self._own)
        self._own_view.close()
        os.close(self._own)

    def _use(self, view: mmap.mmap, fd: int) -> None:
        if self._view is not self._own_view:
            self._view.close()
        self._view, self.fd = view, fd
