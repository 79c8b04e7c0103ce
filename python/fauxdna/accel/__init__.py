"""The accel UAPI of Linux 7.2's amdxdna as a Python protocol, with two nodes behind it: our driver's, or a real one.

What runs over :class:`AccelFile` can't tell :mod:`fauxdna.accel.local` from :mod:`fauxdna.accel.real`.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping as Values
from dataclasses import dataclass
from typing import Protocol, Self

from fauxdna.abi.uapi import BoType, CommandType, SyncDirection
from fauxdna.driver import BoInfo, ContextInfo, Qos

__all__ = ["AccelFile", "BoInfo", "ContextInfo", "Mapping", "Qos", "Version"]


@dataclass(frozen=True)
class Version:
    """What DRM's VERSION returns."""

    major: int
    minor: int
    patch: int
    name: str


@dataclass(frozen=True, eq=False)
class Mapping:
    """A mapping of a BO or a doorbell page. The BO lives while ``memory``, or a view of it, does."""

    memory: mmap.mmap
    fd: int
    """What was mapped, for a second mapping by native code; valid while the file and the BO's handle are open."""
    fd_offset: int


class AccelFile(Protocol):
    """An open file of a node: one method per ioctl, and mmap. Errors are :class:`fauxdna.errors.FauxdnaError`."""

    @property
    def name(self) -> str:
        """BDF or path of the node."""
        ...

    @property
    def kick_fd(self) -> int | None:
        """An eventfd that wakes a sleeping engine, or None where hardware watches its doorbells."""
        ...

    def version(self) -> Version:
        """VERSION."""
        ...

    def attributes(self) -> dict[str, str]:
        """Attributes in sysfs of the function (``device_type``, ``vbnv``, ``fw_version``...), without line ends."""
        ...

    def create_bo(self, size: int, type_: BoType = BoType.SHARE, *, flags: int = 0) -> int:
        """CREATE_BO: a handle."""
        ...

    def create_bo_from_fd(self, fd: int) -> int:
        """CREATE_BO over a dma-buf: a handle of a BO that can't be exported."""
        ...

    def get_bo_info(self, handle: int) -> BoInfo:
        """GET_BO_INFO."""
        ...

    def sync_bo(self, handle: int, direction: SyncDirection, offset: int, size: int) -> None:
        """SYNC_BO."""
        ...

    def gem_close(self, handle: int) -> None:
        """GEM_CLOSE."""
        ...

    def prime_handle_to_fd(self, handle: int) -> int:
        """PRIME_HANDLE_TO_FD: a descriptor that the caller closes."""
        ...

    def prime_fd_to_handle(self, fd: int) -> int:
        """PRIME_FD_TO_HANDLE: a handle."""
        ...

    def create_hwctx(self, umq_bo: int, num_tiles: int, qos: Qos | None = None) -> ContextInfo:
        """CREATE_HWCTX."""
        ...

    def destroy_hwctx(self, handle: int) -> None:
        """DESTROY_HWCTX."""
        ...

    def config_hwctx(self, handle: int, param: int, value: bytes | int) -> None:
        """CONFIG_HWCTX."""
        ...

    def exec_cmd(self, hwctx: int, command: int, arguments: tuple[int, ...] = (), type_: int = CommandType.EXEC_BUF) -> int:
        """EXEC_CMD: a sequence number."""
        ...

    def wait_cmd(self, hwctx: int, sequence: int, timeout_ms: int = 0) -> None:
        """WAIT_CMD; 0 ms waits without end."""
        ...

    def get_info(self, param: int, size: int, data: bytes = b"") -> bytes:
        """GET_INFO: at most ``size`` bytes, from a buffer that held ``data``."""
        ...

    def aie_status(self, size: int) -> tuple[bytes, int]:
        """GET_INFO of AIE_STATUS: status of columns in at most ``size`` bytes, and a bit map of which they are."""
        ...

    def get_array(self, param: int, element_size: int, count: int, data: bytes = b"") -> tuple[int, int, bytes]:
        """GET_ARRAY: element size, number of elements, and their bytes, from a buffer that held ``data``."""
        ...

    def set_state(self, param: int, data: bytes) -> None:
        """SET_STATE."""
        ...

    def mmap(self, length: int, offset: int) -> Mapping:
        """Maps ``length`` bytes at ``offset`` of the node: a BO's map_offset, or a context's doorbell."""
        ...

    def cost(self, hwctx: int, sequence: int) -> Values[str, int]:
        """A finished command's simulated cost: ``simulated_ns``, ``energy_pj``, ``bytes``, ``macs``; nothing on hardware."""
        ...

    def failure(self, hwctx: int) -> str:
        """Why a context's last failed command failed, with page, opcode and BD; "" where the device does not say."""
        ...

    def trace(self, hwctx: int, enabled: bool) -> None:
        """Starts or stops recording simulated events of a context; hardware records none."""
        ...

    def take_trace(self, hwctx: int) -> list[tuple[int, str, str]]:
        """Events since the last call: (simulated ns, kind, text)."""
        ...

    def close(self) -> None:
        """Closes the file; may be called twice."""
        ...

    def __enter__(self) -> Self:
        """The file."""
        ...

    def __exit__(self, *error: object) -> None:
        """Closes the file."""
        ...
