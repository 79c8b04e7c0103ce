"""Messages of VFs about partitions and hardware contexts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fauxdna.abi import bars
from fauxdna.abi.firmware_ring import EventId
from fauxdna.abi.host_queue import HEADER_UNPADDED
from fauxdna.abi.messages import (
    PASID_MASK,
    PASID_NONE,
    PASID_VALID,
    QOS_PRIORITY_BANDS,
    TILES_PER_COLUMN,
    PriorityBand,
)

from .rings import attach_new, note_context
from .state import Context, FirmwareState, Partition, Refusal, Request, VfState

_CLEAR_PAGE: Final = bytes(bars.PAGE_SIZE)


def create_partition(request: Request) -> bytes:
    """Columns for the VF's contexts. VFs share columns in time, so partitions of different VFs may overlap."""
    fields, firmware = request.fields, request.firmware
    if fields.column_count < 1 or fields.column_start + fields.column_count > firmware.columns:
        raise Refusal(
            f"{fields.column_count} columns from {fields.column_start}; the array has columns 0 to {firmware.columns - 1}"
        )
    firmware.partitions_made += 1
    request.counters.partitions += 1
    partition = Partition(firmware.partitions_made, fields.column_start, fields.column_count)
    request.sender.partition = partition
    return request.answer(partition_id=partition.id)


def destroy_partition(request: Request) -> bytes:
    """Gives the columns back; contexts on them end."""
    vf = request.sender
    _partition(vf, request.fields.partition_id)
    destroy_all(request.firmware, vf)
    vf.partition = None
    return request.answer()


def create_hw_context(request: Request) -> bytes:
    """A context on the least used columns of the partition, with a doorbell page and an interrupt vector."""
    fields, firmware, vf = request.fields, request.firmware, request.sender
    partition = _partition(vf, fields.partition_id)
    columns = -(-fields.request_num_tiles // TILES_PER_COLUMN)
    if not 1 <= columns <= partition.columns:
        raise Refusal(
            f"{fields.request_num_tiles} tiles; the partition has 1 to {partition.columns * TILES_PER_COLUMN}, "
            f"{TILES_PER_COLUMN} in a column"
        )
    pasid = fields.pasid & PASID_MASK
    if fields.pasid & PASID_VALID and pasid != PASID_NONE:
        request.log.debug(f"PASID {pasid} not used: DMA goes through the function's own mappings")
    if not request.function.config.master_enabled:
        raise Refusal("bus mastering is off, so its queue can't be read; set COMMAND bit 2")
    slot = _free_slot(vf, min(firmware.context_limit, bars.DOORBELL_PAGES))
    column = _least_used(vf, partition, columns)
    doorbell = bars.DOORBELLS + slot * bars.PAGE_SIZE
    vector = bars.CONTEXT_VECTORS[slot % len(bars.CONTEXT_VECTORS)]
    vf.function.sram.write(doorbell, _CLEAR_PAGE)
    queue = fields.queue_address_high << 32 | fields.queue_address_low
    try:
        if firmware.stale_queue is not None:
            _make_stale(request, queue, *firmware.stale_queue)
        handle = firmware.engine.create_context(
            vf.function.space,
            queue_address=queue,
            column=column,
            columns=columns,
            doorbell_fd=vf.function.sram.fd,
            doorbell_offset=doorbell,
            interrupts=vf.function.interrupts,
            vector=vector,
            priority=_band(fields.priority_band),
            owner=firmware.contexts_made,
        )
    except OSError as error:
        raise Refusal(str(error.strerror)) from None
    # Each context is its own owner: a VF serves several processes, so tiles are scrubbed between any two of its contexts.
    firmware.contexts_made += 1
    request.counters.contexts += 1
    vf.contexts[slot + 1] = Context(handle, slot, column, columns)
    if firmware.failing[0]:
        firmware.engine.set_failing(handle, *firmware.failing)
    if firmware.preempts(vf):
        firmware.engine.set_force_preempt(handle, True)
    firmware.follow_modes()
    attach_new(firmware, vf, slot + 1)
    note_context(firmware, vf, slot + 1, EventId.CONTEXT_CREATED, column, columns)
    request.log.info(f"context {slot + 1}: columns {column} to {column + columns - 1}, doorbell {doorbell:#x}, vector {vector}")
    return request.answer(hw_context_id=slot + 1, doorbell_offset=doorbell, job_complete_msix_idx=vector)


def destroy_hw_context(request: Request) -> bytes:
    """Ends a context."""
    vf, identifier = request.sender, request.fields.hw_context_id
    context_of(request, identifier)
    _destroy(request.firmware, vf, identifier)
    return request.answer()


def destroy_all(firmware: FirmwareState, vf: VfState) -> None:
    """Ends every context of a VF."""
    for identifier in list(vf.contexts):
        _destroy(firmware, vf, identifier)


def _destroy(firmware: FirmwareState, vf: VfState, identifier: int) -> None:
    context = vf.contexts.pop(identifier)
    try:
        state = firmware.engine.context_state(context.handle)
        vf.note_failure(identifier, state)
        for retired in (vf.retired, firmware.retired):
            context.add_work(state, retired)
        if state["message"]:
            vf.log.error(f"context {identifier} met {state['errors']} errors, the last: {state['message']}")
        firmware.engine.destroy_context(context.handle)
    except OSError as error:
        vf.log.error(f"context {identifier} did not end in order: {error.strerror}")
    vf.function.sram.write(bars.DOORBELLS + context.slot * bars.PAGE_SIZE, _CLEAR_PAGE)
    note_context(firmware, vf, identifier, EventId.CONTEXT_DESTROYED)
    firmware.follow_modes()


def context_of(request: Request, identifier: int) -> Context:
    """The sender's context of that id; :class:`Refusal` if it has none."""
    context = request.sender.contexts.get(identifier)
    if context is None:
        known = ", ".join(map(str, request.sender.contexts))
        raise Refusal(f"context {identifier} does not exist; the VF has {known}")
    return context


def _make_stale(request: Request, queue: int, read: int, write: int) -> None:
    """Writes a queue's indices where Linux 7.2 looks for them, as if the memory had been another queue's."""
    request.function.write_memory(queue + HEADER_UNPADDED.offsets["read_index"], read.to_bytes(8, "little"))
    request.function.write_memory(queue + HEADER_UNPADDED.offsets["write_index"], write.to_bytes(8, "little"))
    request.log.warning(f"the new context's read_index is {read}, its write_index {write}: stale-queue")


def _partition(vf: VfState, identifier: int) -> Partition:
    if vf.partition is None or vf.partition.id != identifier:
        own = "none" if vf.partition is None else str(vf.partition.id)
        raise Refusal(f"partition {identifier} is not this VF's; it has {own}")
    return vf.partition


def _free_slot(vf: VfState, limit: int) -> int:
    taken = {context.slot for context in vf.contexts.values()}
    for slot in range(limit):
        if slot not in taken:
            return slot
    raise Refusal(f"the VF has {limit} contexts, which is its limit; destroy one")


def _least_used(vf: VfState, partition: Partition, columns: int) -> int:
    """First column of the run that fewest contexts of the VF lie on; the leftmost of several."""
    starts = range(partition.column, partition.column + partition.columns - columns + 1)

    def use(start: int) -> int:
        return sum(
            context.column < start + columns and start < context.column + context.columns for context in vf.contexts.values()
        )

    return min(starts, key=use)


def _band(value: int) -> PriorityBand:
    """Linux 7.2 sends the user's QoS value; drivers that know the bands send those. Anything else is normal."""
    if value in QOS_PRIORITY_BANDS:
        return QOS_PRIORITY_BANDS[value]
    return PriorityBand(value) if value in set(PriorityBand) else PriorityBand.NORMAL


HANDLERS: Final[Mapping[str, Callable[[Request], bytes]]] = {
    "CREATE_PARTITION": create_partition,
    "DESTROY_PARTITION": destroy_partition,
    "CREATE_HW_CONTEXT": create_hw_context,
    "DESTROY_HW_CONTEXT": destroy_hw_context,
}
