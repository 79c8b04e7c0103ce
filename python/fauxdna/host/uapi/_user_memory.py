"""BOs over memory that exists: the caller's own pages, or an exported BO. Mirrors ``amdxdna_gem_create_ubuf_object`` and
``amdxdna_ubuf.c``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from fauxdna.abi import uapi
from fauxdna.abi.uapi import INVALID_ADDRESS
from fauxdna.driver import Backing, BufferObject
from fauxdna.driver.memory import PAGE_SIZE
from fauxdna.errors import Busy, InvalidArgument, OutOfSpace, Unsupported

from ._hub import PinnedPages
from ._prime import import_token
from ._processes import LinuxCapability, areas, capable, lock_limit
from ._request import ADDRESS_MASK, Request, fault

_ENTRIES_MOST: Final = 1 << 20
"""Entries of one table; Linux stops at 2 GiB of them (``kvzalloc``), or where memory ends. Both are ``ENOMEM``."""
_PAGES_MOST: Final = 1 << 28
"""Pages whose addresses fit into ``kvmalloc``'s 2 GiB."""


class UserMemory:
    """A :class:`fauxdna.driver.BackingStore` for one BO over a process's memory, by way of its ``/proc/PID/mem``."""

    def __init__(self, fd: int, pinned: PinnedPages, pid: int, length: int) -> None:
        self._fd = fd
        self._pinned, self._pid, self._length = pinned, pid, length

    def allocate(self, length: int) -> Backing:
        """Refused: there is one BO."""
        raise Unsupported("a user-pointer BO has one memory", "create another")

    def adopt(self, fd: int, offset: int, length: int) -> Backing:
        """Refused, as :meth:`allocate`."""
        raise Unsupported("a user-pointer BO has one memory", "create another")

    def export(self, backing: Backing) -> int:
        """Refused: ``private_buffer``."""
        raise Unsupported("a BO made from the caller's memory is private", "share the memory that it was made from")

    def release(self, backing: Backing) -> None:
        """The device no longer reaches the memory."""
        os.close(self._fd)
        self._pinned.add(self._pid, -self._length)


def create_from_table(request: Request, address: int, *, internal: bool) -> int:
    """CREATE_BO with a ``va_tbl`` at ``address``: a handle. Linux calls a bad pointer to the table ``EINVAL``."""
    file = request.file
    table = uapi.VA_TABLE.unpack(request.read(address, uapi.VA_TABLE.size, "va_tbl", errno.EINVAL))
    if table.num_entries:
        bo = _over_pages(request, address + uapi.VA_TABLE.size & ADDRESS_MASK, table.num_entries)
    else:
        bo = import_token(request, table.dmabuf_fd)
    bo.internal = internal
    bo.exportable = False
    return file.local.add_bo(bo)


def _over_pages(request: Request, address: int, count: int) -> BufferObject:
    """``amdxdna_get_ubuf``, in its order."""
    call, file = request.call, request.file
    limit, privileged = lock_limit(call.pid), capable(call.tid, LinuxCapability.IPC_LOCK)
    if not limit and not privileged:
        raise Busy("RLIMIT_MEMLOCK is 0", "raise it: ulimit -l", errno=errno.EPERM)
    if count > _ENTRIES_MOST:
        raise OutOfSpace(f"a va_tbl of {count} entries", f"give at most {_ENTRIES_MOST}", errno=errno.ENOMEM)
    raw = request.read(address, count * uapi.VA_ENTRY.size, "va_entries", errno.EINVAL)
    entries = [uapi.VA_ENTRY.unpack(raw, at) for at in range(0, len(raw), uapi.VA_ENTRY.size)]
    total = 0
    for entry in entries:
        if entry.vaddr % PAGE_SIZE or entry.len % PAGE_SIZE:
            raise InvalidArgument(f"va entry of {entry.len:#x} bytes at {entry.vaddr:#x}", f"align both to {PAGE_SIZE}")
        total += entry.len
        if total > ADDRESS_MASK:
            raise InvalidArgument("the va entries' lengths exceed 64 bits", "ask for less")
    ranges = [(entry.vaddr, entry.len) for entry in entries]
    with ExitStack() as undo:
        pinned = file.hub.pinned.add(call.pid, total)
        undo.callback(file.hub.pinned.add, call.pid, -total)
        if pinned // PAGE_SIZE > limit // PAGE_SIZE and not privileged:
            raise OutOfSpace(
                f"{pinned} bytes of user-pointer BOs exceed RLIMIT_MEMLOCK ({limit})", "raise it: ulimit -l", errno=errno.ENOMEM
            )
        if total > _PAGES_MOST * PAGE_SIZE:
            raise OutOfSpace(f"user memory of {total} bytes", f"give at most {_PAGES_MOST} pages", errno=errno.ENOMEM)
        if not total:
            raise InvalidArgument("the va entries have no bytes", "give at least one page")
        _check_pages(request, ranges)
        try:
            fd = call.memory_fd()
        except OSError as error:
            raise fault("memory of the caller", ranges[0][0], total) from error
        undo.pop_all()
    pieces = [Backing(fd, start, length, INVALID_ADDRESS) for start, length in ranges if length]
    store = UserMemory(fd, file.hub.pinned, call.pid, total)
    return file.local.function.memory.map_memory(store, pieces, map_offset=INVALID_ADDRESS)


def _check_pages(request: Request, ranges: Sequence[tuple[int, int]]) -> None:
    """``pin_user_pages_fast`` for writing: ``EFAULT`` if an entry's first page fails, ``ENOMEM`` if a later one does."""
    writable: list[tuple[int, int]] = []
    for area in areas(request.call.pid):
        if not area.writable:
            continue
        if writable and writable[-1][1] == area.start:
            writable[-1] = writable[-1][0], area.end
        else:
            writable.append((area.start, area.end))
    for start, length in ranges:
        if not length:
            continue
        end = next((end for first, end in writable if first <= start < end), 0)
        if not end:
            raise fault("writable memory of the caller", start, length)
        if end < start + length:
            raise OutOfSpace(
                f"user memory at {start:#x} ends after {end - start} of {length} bytes", "map all of it", errno=errno.ENOMEM
            )
