"""Sync objects. Mirrors the objects of ``drm_syncobj.c``.

No ioctl of an AIE4 node makes a fence that is signalled later: contexts have no syncobj, and foreign sync files are refused. So
every fence here is signalled from the start, a timeline is its highest point (``dma_fence_chain_walk`` drops what is signalled),
and what can be waited for is that somebody sets a fence at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from fauxdna._core import Interrupts
from fauxdna.errors import InvalidArgument


@dataclass(frozen=True)
class Fence:
    """A signalled fence: plain, or (with a ``point``) the newest link of a timeline."""

    point: int | None = None
    previous: int = 0
    """The point before it in the same timeline (``prev_seqno``)."""

    def reaches(self, point: int) -> bool:
        """Whether ``dma_fence_chain_find_seqno`` finds ``point``."""
        return not point or (self.point is not None and self.point >= point)

    def at(self, point: int) -> Fence:
        """The fence that it finds: this one, or a plain one where the link itself is gone already."""
        return self if not point or self.previous < point else SIGNALLED


SIGNALLED = Fence()


class Syncobj:
    """``struct drm_syncobj``."""

    def __init__(self, fence: Fence | None = None) -> None:
        self._fence = fence
        self._listeners: list[tuple[int, Callable[[], None]]] = []
        self._lock = threading.Lock()

    @property
    def fence(self) -> Fence | None:
        """The fence now."""
        return self._fence

    def reaches(self, point: int) -> bool:
        """Whether a fence for ``point`` was submitted."""
        fence = self._fence
        return fence is not None and fence.reaches(point)

    def replace(self, fence: Fence | None) -> None:
        """``drm_syncobj_replace_fence``."""
        self._set(lambda _: fence)

    def add_point(self, point: int) -> None:
        """``drm_syncobj_add_point``: a lower point than the last does not take the timeline back (``dma_fence_chain_init``)."""

        def link(last: Fence | None) -> Fence:
            if last is None or last.point is None:
                return Fence(point)
            return Fence(point, last.point) if point > last.point else Fence(last.point)

        self._set(link)

    def listen(self, point: int, listener: Callable[[], None]) -> None:
        """Calls ``listener`` once ``point`` is submitted: at once, if it is."""
        with self._lock:
            if not self.reaches(point):
                self._listeners.append((point, listener))
                return
        listener()

    def forget(self, listener: Callable[[], None]) -> None:
        """Does not call ``listener`` any more."""
        with self._lock:
            self._listeners = [item for item in self._listeners if item[1] is not listener]

    def _set(self, change: Callable[[Fence | None], Fence | None]) -> None:
        with self._lock:
            self._fence = change(self._fence)
            due = [item for item in self._listeners if self.reaches(item[0])]
            self._listeners = [item for item in self._listeners if not self.reaches(item[0])]
        for _, listener in due:
            listener()


class SyncobjTable:
    """A file's handles of syncobjs, from 1 on (``XA_FLAGS_ALLOC1``)."""

    def __init__(self) -> None:
        self._known: dict[int, Syncobj] = {}
        self._lock = threading.Lock()
        self._free = 1
        """No handle below it is free."""

    def __len__(self) -> int:
        return len(self._known)

    def add(self, syncobj: Syncobj) -> int:
        """The lowest free handle."""
        with self._lock:
            handle = self._free
            while handle in self._known:
                handle += 1
            self._known[handle] = syncobj
            self._free = handle + 1
            return handle

    def find(self, handle: int) -> Syncobj | None:
        """The syncobj of a handle."""
        return self._known.get(handle)

    def remove(self, handle: int) -> None:
        """``drm_syncobj_destroy``."""
        with self._lock:
            if self._known.pop(handle, None) is None:
                raise InvalidArgument(f"syncobj handle {handle} is not open", "destroy each once")
            self._free = min(self._free, handle)

    def close(self) -> None:
        """The file is closed."""
        with self._lock:
            self._known.clear()


class Eventfd:
    """A program's eventfd; ``fd`` is ours, and let go of with the last reference."""

    def __init__(self, fd: int) -> None:
        self._interrupts = Interrupts(1)
        try:
            self._interrupts.set(0, fd)
        finally:
            os.close(fd)

    @staticmethod
    def is_one(fd: int) -> bool:
        """Whether a descriptor is an eventfd."""
        return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventfd]"

    def signal(self) -> None:
        """Adds 1, as ``eventfd_signal`` of the kernel: a full counter holds nobody up."""
        self._interrupts.trigger(0)
