"""The memory of a node's BOs: one sparse file per node of a sandbox, which the program maps itself."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
from typing import Final

from fauxdna.abi.drm import FILE_OFFSET_SIZE
from fauxdna.abi.uapi import MAP_OFFSET_BASE
from fauxdna.driver import Backing
from fauxdna.driver.memory import AddressAllocator
from fauxdna.errors import OutOfSpace, Unsupported

_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2
"""``FALLOC_FL_*`` of ``linux/falloc.h``."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class NodeStore:
    """A :class:`fauxdna.driver.BackingStore` in a node's file: a BO's mmap offset is its place in the file.

    Who releases memory has made sure that nobody maps it any more; then its place is used again, as Linux does. The program can
    shrink or fill its file at any time, so memory is emptied when it is handed out, too.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
        status = os.fstat(self.fd)
        self.identity = (status.st_dev, status.st_ino)
        self._places = AddressAllocator(MAP_OFFSET_BASE, MAP_OFFSET_BASE + FILE_OFFSET_SIZE)
        self._lock = threading.Lock()
        self._used = 0
        self._closed = False

    def allocate(self, length: int) -> Backing:
        """See :meth:`fauxdna.driver.BackingStore.allocate`; ``ENOSPC`` when mmap offsets run out (``drm_vma_offset_add``)."""
        try:
            offset = self._places.allocate(length)
        except OutOfSpace as error:
            raise OutOfSpace(f"no mmap offset for a BO of {length} bytes", "close BOs that are no longer used") from error
        with self._lock:
            if self._closed:
                self._places.free(offset)
                raise OutOfSpace("the node's file is closed", "open the node again", errno=errno.ENOMEM)
            self._used += 1
        backing = Backing(self.fd, offset, length, offset)
        try:
            self.reach(offset + length)
            self._punch(offset, length)
        except OSError as error:
            self.release(backing)
            raise OutOfSpace(
                f"the node's file has no room for a BO of {length} bytes ({error.strerror})", "ask for less", errno=errno.ENOMEM
            ) from error
        return backing

    def reach(self, end: int) -> None:
        """Makes the file at least ``end`` bytes long; it never becomes shorter by us."""
        with self._lock:
            if os.fstat(self.fd).st_size < end:
                os.ftruncate(self.fd, end)

    def adopt(self, fd: int, offset: int, length: int) -> Backing:
        """Refused: the program could not map memory that lies outside the node's file."""
        raise Unsupported("memory of another file can't appear in this node", "import a descriptor that this node exported")

    def export(self, backing: Backing) -> int:
        """Refused: a descriptor of the file would show every BO in it."""
        raise Unsupported("a BO in a node's file has no descriptor of its own", "export it by PRIME_HANDLE_TO_FD")

    def release(self, backing: Backing) -> None:
        """See :meth:`fauxdna.driver.BackingStore.release`."""
        try:
            self._punch(backing.offset, backing.length)
        finally:
            self._places.free(backing.offset)
            self._put()

    def close(self) -> None:
        """Nothing more is allocated; the file is closed when its last memory comes back."""
        with self._lock:
            self._closed = True
            self._used += 1
        self._put()

    def _put(self) -> None:
        with self._lock:
            self._used -= 1
            if self._used or not self._closed:
                return
            fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _punch(self, offset: int, length: int) -> None:
        if _libc.fallocate(self.fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
