"""What calls of an open file take and give back."""

from __future__ import annotations

from dataclasses import dataclass

from fauxdna.abi.uapi import Priority

from .gem import BufferObject


@dataclass(frozen=True)
class Qos:
    """``struct amdxdna_qos_info``: hints for the scheduler; 7.2 hands ``priority`` to firmware and ignores the rest."""

    gops: int = 0
    fps: int = 0
    dma_bandwidth: int = 0
    latency: int = 0
    frame_exec_time: int = 0
    priority: int = Priority.NORMAL


@dataclass(frozen=True)
class BoInfo:
    """What GET_BO_INFO returns."""

    map_offset: int
    """Offset for mmap of the node."""
    vaddr: int
    """User address, or all ones: map it first."""
    xdna_addr: int
    """Device address."""


@dataclass(frozen=True)
class ContextInfo:
    """What CREATE_HWCTX returns."""

    handle: int
    umq_doorbell: int
    """Offset of the doorbell page for mmap of the node."""
    syncobj_handle: int
    """0: AIE4 has none, use WAIT_CMD."""


@dataclass(frozen=True)
class MapTarget:
    """What mmap of the node shows: ``length`` bytes of ``fd`` from ``offset``, of a BO or (``bo`` None) a doorbell page."""

    fd: int
    offset: int
    length: int
    bo: BufferObject | None = None
