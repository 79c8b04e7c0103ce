"""The bus: how a host reaches one function of a die, with vfio-user's verbs.

A driver is given a :class:`Bus` and can't tell whether the function behind it lives in this process, behind a socket, or on a
card. Region and interrupt numbers, and the meaning of each verb, are VFIO's (``linux/vfio.h``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Protocol

__all__ = ["Bus", "BusError", "DmaAccess", "Host", "IrqIndex", "MappedArea", "Region", "RegionInfo"]


class Region(IntEnum):
    """A function's regions, by VFIO's numbers."""

    BAR0 = 0
    BAR1 = 1
    BAR2 = 2
    BAR3 = 3
    BAR4 = 4
    BAR5 = 5
    ROM = 6
    CONFIG = 7


class IrqIndex(IntEnum):
    """Kinds of interrupt, by VFIO's numbers. An AIE4 function has MSI-X only; ERROR is how VFIO tells a host of lost devices."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERROR = 3


class DmaAccess(IntFlag):
    """What the device may do to mapped memory, by VFIO's numbers."""

    READ = 1
    WRITE = 2


class BusError(OSError):
    """An access the bus refuses: ``errno`` as VFIO or Linux would return it, and a sentence that says why."""


@dataclass(frozen=True)
class MappedArea:
    """Bytes ``offset`` to ``offset + length`` of a region are ``fd`` at ``fd_offset``, and may be mapped (shared)."""

    offset: int
    length: int
    fd: int
    fd_offset: int


@dataclass(frozen=True)
class RegionInfo:
    """Size in bytes of a region (0: the function has none), what may be done to it, and its mappable areas."""

    size: int
    readable: bool
    writable: bool
    areas: tuple[MappedArea, ...] = ()


class Bus(Protocol):
    """One function. Every verb may be called from any thread and raises :class:`BusError`.

    A function that was removed (a VF whose PF cleared VF Enable) reads all ones and drops writes, as on PCI.
    """

    def region_info(self, region: Region) -> RegionInfo:
        """What ``region`` is like."""
        ...

    def region_read(self, region: Region, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``.

        Registers are read by aligned 32-bit words (else ``EINVAL``), config space and SRAM by any size.
        """
        ...

    def region_write(self, region: Region, offset: int, data: bytes) -> None:
        """Writes ``data`` at ``offset``.

        What a register write starts in firmware is done before any later access, to this function or another, is answered.
        """
        ...

    def region_map(self, region: Region) -> tuple[MappedArea, ...]:
        """Areas of ``region`` that the caller may map. The file descriptors stay the bus's: do not close them."""
        ...

    def dma_map(self, iova: int, fd: int, offset: int, length: int, prot: int) -> None:
        """Lets the function reach ``fd`` from ``offset`` at device address ``iova``.

        All are page-aligned; ``prot`` is :class:`DmaAccess`. The bus keeps its own reference to ``fd``. ``EEXIST`` if part of the
        range is mapped already.
        """
        ...

    def dma_unmap(self, iova: int, length: int) -> None:
        """Takes every mapping inside the range away; a range with none is no error. On return the device no longer touches it."""
        ...

    def set_irqs(self, index: int, start: int, fds: Sequence[int | None]) -> None:
        """Connects vectors ``start`` and following to eventfds.

        ``None`` disconnects one, and no ``fds`` at all disconnects every vector. As in VFIO, connecting a vector enables MSI-X
        and unmasks the vector's table entry; BAR1 and config space can mask it again.
        """
        ...

    def reset(self) -> None:
        """Function-level reset. DMA mappings and eventfds stay; all device state goes."""
        ...

    def close(self) -> None:
        """Gives the function back: disconnects interrupts, unmaps DMA, resets it. May be called twice."""
        ...


class Host(Protocol):
    """What enumerates functions, as a PCI bus does."""

    def functions(self) -> tuple[str, ...]:
        """BDFs (``0000:05:00.0``) of the functions present now, the PF first.

        VFs come and go with their PF's VF Enable.
        """
        ...

    def open(self, bdf: str) -> Bus:
        """The function at ``bdf``: ``ENODEV`` if there is none, ``EBUSY`` if it is open already."""
        ...
