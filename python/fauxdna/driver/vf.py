"""A virtual function: partition, contexts, doorbells, waits. Mirrors the VF's half of ``aie4_pci.c``, and ``aie4_ctx.c``."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fauxdna._core import Completions
from fauxdna.abi import bars
from fauxdna.abi._declare import Record
from fauxdna.abi.array import COLUMNS
from fauxdna.abi.host_queue import HEADER_UNPADDED
from fauxdna.abi.messages import PASID_NONE, PASID_VALID
from fauxdna.abi.uapi import QUERY_AIE_METADATA, PowerMode
from fauxdna.bus import Bus, Region
from fauxdna.log import Log

from ..errors import DeviceError, DeviceGone, DeviceTimeout, FauxdnaError, InvalidArgument, Unsupported
from .function import DeviceInfo, Function
from .gem import BufferObject
from .interrupts import Vector
from .memory import PAGE_SIZE
from .open_files import HardwareContext

_TIMEOUT_MAX_MS: Final = 0xFFFF_FFFF
"""WAIT_CMD's timeout has 32 bits."""


@dataclass(frozen=True)
class DoorbellPage:
    """Where a context's doorbell page can be mapped: one page of ``fd`` at ``offset``."""

    fd: int
    offset: int


class Vf(Function):
    """A running VF with a partition of all columns."""

    def __init__(self, bus: Bus, name: str, info: DeviceInfo, log: Log, completions: Completions | None = None) -> None:
        super().__init__(bus, name, info, log, completions)
        self.tile_info: Record | None = None
        self.power_mode = PowerMode.DEFAULT
        self._partition = 0

    def start(self) -> None:
        """Mailbox, tile information, partition (``aie4_vf_hw_start``)."""
        self.start_management()
        self.tile_info = self.management.call("AIE_TILE_INFO")
        self._partition = self.management.call("CREATE_PARTITION", column_start=0, column_count=COLUMNS).partition_id
        self.log.info(f"{self.info.vbnv}: partition {self._partition}, {self.tile_info.cols} columns")

    def metadata(self) -> bytes:
        """``struct amdxdna_drm_query_aie_metadata`` (``aie4_query_aie_metadata``)."""
        info = self.tile_info
        if info is None:
            raise DeviceGone(f"{self.name} is not started", "probe it")
        fields = {
            "col_size": info.size,
            "cols": info.cols,
            "rows": info.rows,
            "version_major": info.major,
            "version_minor": info.minor,
        }
        for tile in ("core", "mem", "shim"):
            fields[f"{tile}_row_count"] = info[f"{tile}_rows"]
            fields[f"{tile}_row_start"] = info[f"{tile}_row_start"]
            fields[f"{tile}_dma_channel_count"] = info[f"{tile}_dma_channels"]
            fields[f"{tile}_lock_count"] = info[f"{tile}_locks"]
            fields[f"{tile}_event_reg_count"] = info[f"{tile}_events"]
        return QUERY_AIE_METADATA.pack(**fields)

    def create_context(self, queue: BufferObject, num_tiles: int, priority: int) -> HardwareContext:
        """Asks firmware for a context over the host queue in ``queue``, of which it takes a reference.

        Raises:
            InvalidArgument: ``EINVAL`` for 0 tiles, or a BO too small for a queue header.
            MessageRefused: ``EINVAL`` when firmware refuses; its log names the limit.
        """
        if queue.size < HEADER_UNPADDED.size:
            raise InvalidArgument(f"queue BO of {queue.size} bytes; a header takes {HEADER_UNPADDED.size}", "create a larger BO")
        if not self._partition or num_tiles <= 0:
            raise InvalidArgument(
                f"context of {num_tiles} tiles in partition {self._partition}", "ask for at least 1 tile (4 are a column)"
            )
        with self.lock:
            response = self.management.call(
                "CREATE_HW_CONTEXT",
                partition_id=self._partition,
                request_num_tiles=num_tiles,
                queue_address_high=queue.address >> 32,
                queue_address_low=queue.address & 0xFFFF_FFFF,
                pasid=PASID_NONE | PASID_VALID,
                priority_band=priority,
            )
            try:
                vector = self.vector(response.job_complete_msix_idx)
                completion = self._watch(queue, vector)
            except FauxdnaError:
                self.management.call("DESTROY_HW_CONTEXT", hw_context_id=response.hw_context_id)
                raise
        self.memory.get(queue)
        self.log.debug(f"context {response.hw_context_id}: {num_tiles} tiles, queue at {queue.address:#x}")
        return HardwareContext(response.hw_context_id, response.doorbell_offset, vector, queue, completion)

    def destroy_context(self, context: HardwareContext) -> None:
        """Takes the context from firmware and drops the queue's reference, whatever firmware says. Waits for it end."""
        self.completions.remove(context.completion)
        with self.lock, suppress(FauxdnaError):
            self.management.call("DESTROY_HW_CONTEXT", hw_context_id=context.id)
        self.memory.put(context.queue)

    def wait(self, context: HardwareContext, sequence: int, timeout_ms: int) -> None:
        """Waits until command ``sequence`` (its write_index) is done; ``timeout_ms`` 0 waits without end.

        Raises:
            DeviceTimeout: ``ETIME``; also for a command that was never submitted.
            InvalidArgument: ``EINVAL``, the context was destroyed meanwhile.
            DeviceGone: ``ENODEV``, the function was stopped meanwhile.
        """
        try:
            if self.completions.wait(context.completion, sequence, min(timeout_ms, _TIMEOUT_MAX_MS)):
                return
            read, write = self.completions.indices(context.completion)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise DeviceGone(f"{self.name} was stopped during a wait", "probe the function again") from error
            raise InvalidArgument(
                f"context {context.id} was destroyed, or its queue's memory is gone", "wait for its commands before"
            ) from error
        raise DeviceTimeout(
            f"command {sequence} of context {context.id} is not done after {timeout_ms} ms "
            f"(read index {read}, write index {write})",
            "submit it first, ring the doorbell, or wait longer",
        )

    def doorbell_page(self, offset: int) -> DoorbellPage:
        """The page at ``offset`` of the doorbell BAR. ``EOPNOTSUPP`` where the bus can't map it."""
        for area in self.bus.region_map(Region(bars.SRAM_BAR)):
            if area.offset <= offset and offset + PAGE_SIZE <= area.offset + area.length:
                return DoorbellPage(area.fd, area.fd_offset + offset - area.offset)
        raise Unsupported(
            f"doorbell page {offset:#x} of {self.name} can't be mapped through this bus", "use a bus that maps BAR 2"
        )

    def _watch(self, queue: BufferObject, vector: Vector) -> int:
        try:
            return self.completions.add(queue.backing.fd, queue.backing.offset, queue.size, vector.id)
        except OSError as error:
            raise DeviceError(f"the queue BO can't be watched ({error.strerror})", "create another", errno=error.errno) from error

    def stop(self) -> None:
        """DESTROY_PARTITION (``aie4_vf_hw_stop``)."""
        if self._partition:
            with suppress(FauxdnaError):
                self.management.call("DESTROY_PARTITION", partition_id=self._partition)
            self._partition = 0
