"""MSI-X vectors as eventfds, masked while nobody waits."""

from __future__ import annotations

import os
import select
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fauxdna.bus import Bus, IrqIndex

from .registers import Registers

_ENTRY_SIZE: Final = 16
_ENTRY_CONTROL: Final = 12
_ENTRY_MASKED: Final = 1


class Vector:
    """One MSI-X vector. Any number of threads may wait; the table entry is unmasked only while one does.

    An interrupt that comes while the entry is masked sets its pending bit and is delivered on unmasking, so none is lost.
    """

    def __init__(self, bus: Bus, table: Registers, table_offset: int, index: int) -> None:
        self.index = index
        self._bus = bus
        self._table = table
        self._control = table_offset + index * _ENTRY_SIZE + _ENTRY_CONTROL
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._changed = threading.Condition()
        self._generation = 0
        self._leader = False
        self._waiters = 0
        bus.set_irqs(IrqIndex.MSIX, index, [self._eventfd])
        self._table.write(self._control, _ENTRY_MASKED)

    def wait(self, done: Callable[[], bool], deadline: float | None) -> bool:
        """Waits until ``done()``, which is asked again after every interrupt, or until ``deadline`` (``time.monotonic``)."""
        if done():
            return True
        with self._changed:
            self._waiters += 1
            if self._waiters == 1:
                self._table.write(self._control, 0)
        try:
            return self._wait(done, deadline)
        finally:
            with self._changed:
                self._waiters -= 1
                if not self._waiters:
                    self._table.write(self._control, _ENTRY_MASKED)

    def _wait(self, done: Callable[[], bool], deadline: float | None) -> bool:
        while True:
            with self._changed:
                seen = self._generation
            if done():
                return True
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return False
            with self._changed:
                if self._generation != seen:
                    continue
                if self._leader:
                    self._changed.wait(remaining)
                    continue
                self._leader = True
            # One waiter reads the eventfd and tells the others; a read by each would take the event from the rest.
            try:
                _poll(self._eventfd, remaining)
            finally:
                with self._changed:
                    self._leader = False
                    self._generation += 1
                    self._changed.notify_all()

    def close(self) -> None:
        """Disconnects the vector."""
        with suppress(OSError):
            self._bus.set_irqs(IrqIndex.MSIX, self.index, [None])
        os.close(self._eventfd)


def _poll(eventfd: int, timeout: float | None) -> None:
    poller = select.poll()
    poller.register(eventfd, select.POLLIN)
    if poller.poll(None if timeout is None else max(0, timeout * 1000)):
        with suppress(BlockingIOError):
            os.eventfd_read(eventfd)


def masked(entry: bytes) -> bool:
    """Whether a 16-byte MSI-X table entry is masked."""
    return bool(struct.unpack_from("<I", entry, _ENTRY_CONTROL)[0] & _ENTRY_MASKED)
