"""Nodes whose driver runs in this process."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Mapping as Values
from typing import Protocol, Self

from fauxdna.abi.uapi import DRIVER_MAJOR, DRIVER_MINOR
from fauxdna.abi.uapi_next import Level
from fauxdna.bus import BusError
from fauxdna.driver import BackingStore, Client, Function, next_level
from fauxdna.errors import DeviceError, Unsupported

from . import Mapping, Version


class Telemetry(Protocol):
    """What a simulated die's owner can do and tell beside the bus, by function (BDF) and firmware's context id."""

    def show_doorbell(self, bdf: str, context: int, fd: int, offset: int) -> None:
        """See :meth:`LocalFile.show_doorbell`."""
        ...

    def cost(self, bdf: str, context: int, sequence: int) -> Values[str, int]:
        """See :meth:`AccelFile.cost`."""
        ...

    def failure(self, bdf: str, context: int) -> str:
        """See :meth:`AccelFile.failure`."""
        ...

    def trace(self, bdf: str, context: int, enabled: bool) -> None:
        """See :meth:`AccelFile.trace`."""
        ...

    def take_trace(self, bdf: str, context: int) -> list[tuple[int, str, str]]:
        """See :meth:`AccelFile.take_trace`."""
        ...


def attributes(function: Function, level: Level) -> dict[str, str]:
    """What sysfs shows of ``function`` where the driver is that of ``level``."""
    return next_level.attributes(function) if level is Level.NEXT else function.attributes()


class LocalFile(Client):
    """An open file of the node of ``function``: an :class:`~fauxdna.accel.AccelFile` whose ioctls are the driver's.

    Args:
        function: The probed function.
        store: Allocates the file's BOs; by default each is a memfd.
        kick_fd: The eventfd that wakes the function's engine, where there is one.
        pid: Whom the file belongs to; by default this process.
        telemetry: Figures of the simulated die, which do not come over the bus.
        level: Whose driver it behaves as.
    """

    def __init__(
        self,
        function: Function,
        *,
        store: BackingStore | None = None,
        kick_fd: int | None = None,
        pid: int | None = None,
        telemetry: Telemetry | None = None,
        level: Level = Level.LINUX_7_2,
    ) -> None:
        super().__init__(function, store, pid, next_level.NextOperations if level is Level.NEXT else None)
        self.level = level
        self._kick_fd = kick_fd
        self._telemetry = telemetry

    @property
    def name(self) -> str:
        """BDF of the function."""
        return self.function.name

    @property
    def kick_fd(self) -> int | None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        return self._kick_fd

    def version(self) -> Version:
        """Linux 7.2's driver version."""
        return Version(DRIVER_MAJOR, DRIVER_MINOR, 0, "amdxdna_accel_driver")

    def attributes(self) -> dict[str, str]:
        """See :func:`attributes`."""
        return attributes(self.function, self.level)

    def mmap(self, length: int, offset: int) -> Mapping:
        """See :class:`~fauxdna.accel.AccelFile`; errors as :meth:`fauxdna.driver.Client.map_target`."""
        target = self.map_target(offset, length)
        memory = _Memory(target.fd, target.length, offset=target.offset)
        if target.bo is not None:
            manager = self.function.memory
            weakref.finalize(memory, manager.drop, manager.get(target.bo))
        return Mapping(memory, target.fd, target.offset)

    def show_doorbell(self, hwctx: int, fd: int, offset: int) -> None:
        """Has a context's doorbell page in one page of ``fd``, for a client that can't map BAR 2 (the ioctl door's).

        Raises:
            Unsupported: ``EOPNOTSUPP`` where the die's owner can't do that.
            DeviceError: the page can't be mapped, or the context has gone.
        """
        if self._telemetry is None:
            raise Unsupported(f"doorbell pages of {self.name} are in BAR 2 alone", "let the die's owner serve the program")
        try:
            self._telemetry.show_doorbell(self.name, self.firmware_context(hwctx), fd, offset)
        except BusError as error:
            raise DeviceError(f"no doorbell ({error.strerror})", "create the context again", errno=error.errno) from error

    def cost(self, hwctx: int, sequence: int) -> Values[str, int]:
        """See :class:`~fauxdna.accel.AccelFile`."""
        if self._telemetry is None:
            return {}
        return self._telemetry.cost(self.name, self.firmware_context(hwctx), sequence)

    def failure(self, hwctx: int) -> str:
        """See :class:`~fauxdna.accel.AccelFile`."""
        return "" if self._telemetry is None else self._telemetry.failure(self.name, self.firmware_context(hwctx))

    def trace(self, hwctx: int, enabled: bool) -> None:
        """See :class:`~fauxdna.accel.AccelFile`."""
        if self._telemetry is not None:
            self._telemetry.trace(self.name, self.firmware_context(hwctx), enabled)

    def take_trace(self, hwctx: int) -> list[tuple[int, str, str]]:
        """See :class:`~fauxdna.accel.AccelFile`."""
        if self._telemetry is None:
            return []
        return self._telemetry.take_trace(self.name, self.firmware_context(hwctx))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Memory(mmap.mmap):
    """A mapping whose end can be noticed: views (numpy arrays, memoryviews) keep it."""
