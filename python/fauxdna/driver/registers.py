"""Register access: one BAR of a function as 32-bit words, and polling one until it says what is waited for."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable
from typing import Final

from fauxdna.bus import Bus, Region

from ..errors import DeviceGone, DeviceTimeout

POLL_TIMEOUT_S: Final = 1.0
"""``AIE_TIMEOUT`` and ``PSP_POLL_TIMEOUT`` of Linux 7.2."""
POLL_INTERVAL_S: Final = 0.02
"""``AIE_INTERVAL`` and ``PSP_POLL_INTERVAL``: Linux sleeps this long between two reads. We start shorter and grow to it."""
_FIRST_INTERVAL_S: Final = 50e-6
ALL_ONES: Final = 0xFFFF_FFFF


class Registers:
    """Aligned 32-bit access to ``region`` of ``bus``."""

    def __init__(self, bus: Bus, region: Region) -> None:
        self._bus = bus
        self.region = region

    def read(self, offset: int) -> int:
        """The word at byte ``offset``."""
        return int.from_bytes(self._bus.region_read(self.region, offset, 4), "little")

    def write(self, offset: int, value: int) -> None:
        """Writes ``value`` to the word at byte ``offset``."""
        self._bus.region_write(self.region, offset, struct.pack("<I", value))

    def read_block(self, offset: int, length: int) -> bytes:
        """``length`` bytes of memory (not registers) at ``offset``."""
        return self._bus.region_read(self.region, offset, length)

    def write_block(self, offset: int, data: bytes) -> None:
        """Writes ``data`` to memory (not registers) at ``offset``."""
        self._bus.region_write(self.region, offset, data)

    def poll(self, offset: int, wanted: Callable[[int], bool], what: str, *, timeout: float = POLL_TIMEOUT_S) -> int:
        """Reads the word at ``offset`` until ``wanted`` accepts it, and returns it.

        Raises:
            DeviceTimeout: ``ETIMEDOUT`` after ``timeout`` seconds; ``what`` names what did not happen.
            DeviceGone: ``ENODEV`` when the function reads all ones, as a removed one does.
        """
        return poll(lambda: self.read(offset), wanted, f"{what} ({self.region.name}+{offset:#x})", timeout=timeout)


def poll(read: Callable[[], int], wanted: Callable[[int], bool], what: str, *, timeout: float = POLL_TIMEOUT_S) -> int:
    """Calls ``read`` until ``wanted`` accepts its value, at growing intervals; errors as :meth:`Registers.poll`."""
    deadline = time.monotonic() + timeout
    interval = _FIRST_INTERVAL_S
    while True:
        late = time.monotonic() >= deadline
        value = read()
        if wanted(value):
            return value
        if late:
            if value == ALL_ONES:
                raise DeviceGone(f"{what}: the function reads all ones", "it was removed; enable it again through its PF")
            raise DeviceTimeout(
                f"{what}: still {value:#x} after {timeout:g} s",
                "look at the device's log; reset the function and probe again",
                errno=errno.ETIMEDOUT,
            )
        time.sleep(interval)
        interval = min(2 * interval, POLL_INTERVAL_S)
