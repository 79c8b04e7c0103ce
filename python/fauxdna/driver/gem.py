"""Buffer objects of one function: memory, device address, references, export and import. Mirrors ``amdxdna_gem.c``.

Choices: memory is coherent, so SYNC_BO checks its arguments and has nothing to flush; a BO has its device address from creation
(Linux maps it when the first handle opens).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from fauxdna.abi.uapi import BoType
from fauxdna.bus import Bus, BusError, DmaAccess

from ..errors import DeviceError, InvalidArgument, NotFound, OutOfSpace, Unsupported
from .memory import PAGE_SIZE, AddressAllocator, Backing, BackingStore, MemfdStore, page_align

_READ_WRITE = DmaAccess.READ | DmaAccess.WRITE
_Identity = tuple[int, int, int]


class BufferObject:
    """One BO. It lives while a handle, a mapping or a context holds a reference."""

    def __init__(self, type_: BoType, store: BackingStore, backing: Backing, address: int, *, internal: bool) -> None:
        self.type = type_
        self.store = store
        self.backing = backing
        self.address = address
        """Where the device sees it."""
        self.internal = internal
        """Counted as the runtime's own in the BO usage (created with type CMD)."""
        self.imported = False
        self.exportable = True
        self.references = 1
        status = os.fstat(backing.fd)
        self.identity: _Identity = (status.st_dev, status.st_ino, backing.offset)
        """What tells two memories apart."""

    @property
    def size(self) -> int:
        """Bytes, a multiple of the page size."""
        return self.backing.length


class _Thread(threading.local):
    """How many calls of a manager this thread is in."""

    depth = 0


class BufferManager:
    """All BOs of one function."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._addresses = AddressAllocator()
        self._own = MemfdStore()
        self._objects: dict[_Identity, BufferObject] = {}
        self._lock = threading.Lock()
        self._attached = True
        self._imports = 0
        self._dropped: deque[BufferObject] = deque()
        self._thread = _Thread()

    @property
    def count(self) -> int:
        """BOs alive."""
        return len(self._objects)

    @property
    def mapped_bytes(self) -> int:
        """Bytes of device address space in use."""
        return self._addresses.taken

    def create(self, size: int, type_: BoType, store: BackingStore) -> BufferObject:
        """A zeroed BO of ``size`` bytes, rounded up to pages, with one reference.

        Raises:
            InvalidArgument: ``EINVAL`` for a type that AIE4 has no memory for: there is no device heap.
            OutOfSpace: ``ENOSPC`` for size 0 (as Linux's mmap-offset allocator), ``ENOMEM`` when memory or addresses run out.
        """
        if type_ in (BoType.DEV_HEAP, BoType.DEV):
            raise InvalidArgument(f"BO type {type_.name}: an AIE4 function has a device heap of 0 bytes", "use type SHARE")
        if type_ not in (BoType.SHARE, BoType.CMD):
            raise InvalidArgument(f"BO type {int(type_)} is none of SHARE and CMD", "use type SHARE")
        if size <= 0:
            raise OutOfSpace(f"a BO of {size} bytes has no pages", "ask for at least 1 byte")
        if size >= 1 << 47:
            raise OutOfSpace(f"a BO of {size} bytes exceeds the 47-bit device address space", "ask for less", errno=errno.ENOMEM)
        with self._call():
            backing = store.allocate(page_align(size))
            return self._add(BoType.SHARE, store, backing, internal=type_ is BoType.CMD)

    def import_memory(self, fd: int, store: BackingStore) -> BufferObject:
        """The BO behind an exported descriptor, or a new one over the memory of ``fd`` (a memfd), with one more reference.

        Raises:
            InvalidArgument: ``EBADF`` for a closed descriptor, ``EINVAL`` for one that is no memory (Linux: no dma-buf).
        """
        try:
            status = os.fstat(fd)
        except OSError as error:
            raise InvalidArgument(f"file descriptor {fd} is not open", "pass one from an export", errno=errno.EBADF) from error
        if not stat.S_ISREG(status.st_mode) or not status.st_size or status.st_size % PAGE_SIZE:
            raise InvalidArgument(
                f"file descriptor {fd} is no exported buffer (a memfd of whole pages)", "pass one that prime_handle_to_fd made"
            )
        with self._call():
            with self._lock:
                known = self._objects.get((status.st_dev, status.st_ino, 0))
                if known is not None:
                    known.references += 1
                    return known
            return self._add(BoType.SHARE, store, store.adopt(fd, 0, status.st_size), internal=False, imported=True)

    def map_memory(self, store: BackingStore, pieces: Sequence[Backing], *, map_offset: int) -> BufferObject:
        """An imported BO over memory that others own: ``pieces`` follow each other in one range of device addresses.

        ``store`` stands for all of them: its ``release`` is called once, with the last reference, or when this fails.
        """
        with self._call():
            length = sum(piece.length for piece in pieces)
            try:
                address = self._map_pieces(pieces, length)
            except Exception:
                store.release(pieces[0])
                raise
            whole = Backing(pieces[0].fd, pieces[0].offset, length, map_offset)
            bo = BufferObject(BoType.SHARE, store, whole, address, internal=False)
            bo.imported = True
            with self._lock:
                # Each import is an object of its own, whatever memory it shows.
                self._imports += 1
                bo.identity = (-1, self._imports, 0)
                self._objects[bo.identity] = bo
            return bo

    def export(self, bo: BufferObject) -> int:
        """A new descriptor of ``bo``'s memory. ``EOPNOTSUPP`` for a BO made of someone's own memory, as in Linux."""
        if not bo.exportable:
            raise Unsupported("a BO made from the caller's memory is private", "export the memory it was made from")
        return bo.store.export(bo.backing)

    def get(self, bo: BufferObject) -> BufferObject:
        """Takes one more reference. ``ENOENT`` if the last one went while the caller looked it up."""
        with self._call(), self._lock:
            if not bo.references:
                raise NotFound("the BO was closed meanwhile", "keep a handle while it is used")
            bo.references += 1
        return bo

    def put(self, bo: BufferObject) -> None:
        """Drops a reference; the last one unmaps the BO from the device and gives its memory back."""
        with self._call():
            with self._lock:
                bo.references -= 1
                if bo.references:
                    return
                del self._objects[bo.identity]
            self._unmap(bo.address, bo.size)
            bo.store.release(bo.backing)

    def drop(self, bo: BufferObject) -> None:
        """:meth:`put` for finalizers: one that runs inside another call of its thread takes effect when that call ends."""
        self._dropped.append(bo)
        if not self._thread.depth:
            self._sweep()

    def detach(self) -> None:
        """The function is gone, and with it every DMA mapping; what still has references is freed as they end."""
        self._attached = False

    @contextmanager
    def driver_memory(self, length: int, alignment: int = PAGE_SIZE) -> Iterator[tuple[Backing, int]]:
        """Memory for the driver's own use (firmware images, work buffer), with its device address, for the block's duration."""
        with self._call():
            backing = self._own.allocate(page_align(length))
        try:
            with self._call():
                address = self._map(backing, alignment)
            try:
                yield backing, address
            finally:
                with self._call():
                    self._unmap(address, backing.length)
        finally:
            self._own.release(backing)

    def _add(
        self, type_: BoType, store: BackingStore, backing: Backing, *, internal: bool, imported: bool = False
    ) -> BufferObject:
        try:
            address = self._map(backing, PAGE_SIZE)
        except Exception:
            store.release(backing)
            raise
        bo = BufferObject(type_, store, backing, address, internal=internal)
        bo.imported = imported
        with self._lock:
            known = self._objects.setdefault(bo.identity, bo)
            if known is bo:
                return bo
            known.references += 1
        # Another thread imported the same memory meanwhile.
        self._unmap(address, backing.length)
        store.release(backing)
        return known

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Marks this thread as inside a call; the outermost one ends with what finalizers dropped meanwhile."""
        self._thread.depth += 1
        try:
            yield
        finally:
            self._thread.depth -= 1
            if self._dropped and not self._thread.depth:
                self._sweep()

    def _sweep(self) -> None:
        self._thread.depth += 1
        try:
            # Another thread may take the last one between a look and a pop.
            with suppress(IndexError):
                while True:
                    self.put(self._dropped.popleft())
        finally:
            self._thread.depth -= 1

    def _unmap(self, address: int, length: int) -> None:
        if self._attached:
            self._bus.dma_unmap(address, length)
        self._addresses.free(address)

    def _map(self, backing: Backing, alignment: int) -> int:
        return self._map_pieces((backing,), backing.length, alignment)

    def _map_pieces(self, pieces: Sequence[Backing], length: int, alignment: int = PAGE_SIZE) -> int:
        address = self._addresses.allocate(length, alignment)
        at = address
        try:
            for piece in pieces:
                self._bus.dma_map(at, piece.fd, piece.offset, piece.length, _READ_WRITE)
                at += piece.length
        except BusError as error:
            if at > address:
                self._bus.dma_unmap(address, at - address)
            self._addresses.free(address)
            raise DeviceError(
                f"the bus did not map {length} bytes at device address {address:#x} ({error.strerror})",
                "close buffers that are no longer used",
                errno=error.errno,
            ) from error
        return address
