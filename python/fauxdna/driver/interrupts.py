"""MSI-X vectors as eventfds, masked while nobody waits."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from fauxdna._core import Completions
from fauxdna.bus import Bus, IrqIndex

from ..errors import DeviceGone
from .registers import Registers

_ENTRY_SIZE: Final = 16
_ENTRY_CONTROL: Final = 12
_ENTRY_MASKED: Final = 1


class Vector:
    """One MSI-X vector. Any number of threads may wait; the table entry is masked when nobody has waited for a while.

    An interrupt that comes while the entry is masked sets its pending bit and is delivered on unmasking, so none is lost.
    """

    def __init__(self, bus: Bus, table: Registers, table_offset: int, index: int, completions: Completions | None = None) -> None:
        self.index = index
        self._bus = bus
        self._completions = completions or Completions()
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        bus.set_irqs(IrqIndex.MSIX, index, [self._eventfd])
        control = table_offset + index * _ENTRY_SIZE + _ENTRY_CONTROL
        table.write(control, _ENTRY_MASKED)
        self.id = self._completions.add_vector(self._eventfd, partial(_arm, table, control))
        """What ``completions`` calls it."""

    def wait(self, done: Callable[[], bool], deadline: float | None) -> bool:
        """Waits until ``done()``, which is asked again after every interrupt, or until ``deadline`` (``time.monotonic``).

        Raises:
            DeviceGone: ``ENODEV``, the vector was closed.
        """
        # A device in this process has answered by the time its register was written.
        while not done():
            with _closed(self.index):
                seen = self._completions.generation(self.id)
            if done():
                return True
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return False
            with _closed(self.index):
                self._completions.wait_interrupt(self.id, seen, remaining)
        return True

    def close(self) -> None:
        """Disconnects the vector. Who still waits gets :class:`DeviceGone`."""
        self._completions.remove_vector(self.id)
        with suppress(OSError):
            self._bus.set_irqs(IrqIndex.MSIX, self.index, [None])
        os.close(self._eventfd)


@contextmanager
def _closed(index: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeviceGone(f"MSI-X vector {index} was closed", "probe the function again") from error


def _arm(table: Registers, control: int, armed: bool) -> None:
    # The function may be gone, and with it whatever was waited for.
    with suppress(OSError):
        table.write(control, 0 if armed else _ENTRY_MASKED)


def masked(entry: bytes) -> bool:
    """Whether a 16-byte MSI-X table entry is masked."""
    return bool(struct.unpack_from("<I", entry, _ENTRY_CONTROL)[0] & _ENTRY_MASKED)
