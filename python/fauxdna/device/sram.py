"""BAR2: the SRAM of a function, shared memory that hosts may map. What lies in it is theirs to change at any moment."""

from __future__ import annotations

import fcntl
import mmap
import os

from fauxdna.bus import MappedArea


class Sram:
    """``size`` bytes of sealed shared memory: it can't be shrunk under us."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.fd = os.memfd_create("fauxdna-sram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._view = mmap.mmap(self.fd, size)

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
        self._view.close()
        os.close(self.fd)
