"""The bus inside one process: each verb is a call."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from . import BusError, MappedArea, Region, RegionInfo


class Served(Protocol):
    """A function that can be served: the bus's verbs, and what happens when its host lets go of it."""

    @property
    def bdf(self) -> str:
        """Its name."""
        ...

    def region_info(self, region: Region) -> RegionInfo:
        """See :class:`fauxdna.bus.Bus`."""
        ...

    def region_read(self, region: Region, offset: int, length: int) -> bytes:
        """See :class:`fauxdna.bus.Bus`."""
        ...

    def region_write(self, region: Region, offset: int, data: bytes) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        ...

    def region_map(self, region: Region) -> tuple[MappedArea, ...]:
        """See :class:`fauxdna.bus.Bus`."""
        ...

    def dma_map(self, iova: int, fd: int, offset: int, length: int, prot: int) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        ...

    def dma_unmap(self, iova: int, length: int) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        ...

    def set_irqs(self, index: int, start: int, fds: Sequence[int | None]) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        ...

    def reset(self) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        ...

    def release(self) -> None:
        """Disconnects interrupts, unmaps DMA, resets."""
        ...


class LocalBus:
    """A :class:`fauxdna.bus.Bus` for a function in this process. A context manager, and safe to close twice."""

    def __init__(self, function: Served, on_close: Callable[[], None]) -> None:
        self._function = function
        self._on_close = on_close
        self._closed = False
        self._areas: dict[Region, tuple[MappedArea, ...]] = {}
        self._lock = threading.Lock()

    @property
    def bdf(self) -> str:
        """The function's name."""
        return self._function.bdf

    def region_info(self, region: Region) -> RegionInfo:
        """See :class:`fauxdna.bus.Bus`."""
        return replace(self._open().region_info(region), areas=self.region_map(region))

    def region_read(self, region: Region, offset: int, length: int) -> bytes:
        """See :class:`fauxdna.bus.Bus`."""
        return self._open().region_read(region, offset, length)

    def region_write(self, region: Region, offset: int, data: bytes) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        self._open().region_write(region, offset, data)

    def region_map(self, region: Region) -> tuple[MappedArea, ...]:
        """See :class:`fauxdna.bus.Bus`. The descriptors are this bus's own: a removed function's stay good until it is closed."""
        with self._lock:
            function = self._open()
            areas = function.region_map(region)
            if areas and region not in self._areas:
                self._areas[region] = tuple(replace(area, fd=fcntl.fcntl(area.fd, fcntl.F_DUPFD_CLOEXEC, 0)) for area in areas)
            return self._areas[region] if areas else ()

    def dma_map(self, iova: int, fd: int, offset: int, length: int, prot: int) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        self._open().dma_map(iova, fd, offset, length, prot)

    def dma_unmap(self, iova: int, length: int) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        self._open().dma_unmap(iova, length)

    def set_irqs(self, index: int, start: int, fds: Sequence[int | None]) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        self._open().set_irqs(index, start, fds)

    def reset(self) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        self._open().reset()

    def close(self) -> None:
        """See :class:`fauxdna.bus.Bus`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._function.release()
        for area in (area for areas in self._areas.values() for area in areas):
            os.close(area.fd)
        self._on_close()

    def __enter__(self) -> LocalBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Served:
        if self._closed:
            raise BusError(errno.EBADF, f"the bus to {self._function.bdf} is closed; open the function again")
        return self._function
