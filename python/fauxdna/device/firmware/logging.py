"""Messages that start and stop firmware's log and trace (protocol 5.24)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fauxdna import _core
from fauxdna.abi import firmware_ring as abi
from fauxdna.abi.firmware_ring import RingType
from fauxdna.abi.messages import Status
from fauxdna.abi.messages_5_24 import EventDestination, EventTimestamp, LogLevel

from .rings import attach_all
from .state import Refusal, Request

_TRACE_MINIMUM: Final = 128 << 10
"""``aie4_msg_start_event_trace_req``: a power of 2 between 128 KiB and 64 MiB."""


def start_log(request: Request) -> bytes:
    """Lines of firmware's log, of this level and more urgent ones, into a ring."""
    fields = request.fields
    if fields.log_level not in set(LogLevel) or fields.log_level == LogLevel.NONE:
        raise Refusal(f"log level {fields.log_level}; there are 1 to {LogLevel.DEBUG.value}")
    ring = _ring(request, fields.buff_addr, fields.buff_size, abi.BUFFER_MINIMUM, RingType.LOG)
    bdf = None if request.vf is None else request.function.bdf
    request.rings.start_log(ring, LogLevel(fields.log_level), request.firmware.journal, bdf)
    request.log.info(f"log of level {LogLevel(fields.log_level).name} at {fields.buff_addr:#x}")
    return request.answer()


def stop_log(request: Request) -> bytes:
    """Ends the log."""
    request.rings.stop_log()
    return request.answer()


def start_trace(request: Request) -> bytes:
    """Events of these categories into a ring."""
    fields = request.fields
    if fields.event_trace_dest != EventDestination.DRAM or fields.event_trace_timestamp != EventTimestamp.NS_OFFSET:
        raise Refusal("events go to memory, with nanoseconds", Status.NOTSUPP)
    if fields.dram_buffer_size & fields.dram_buffer_size - 1:
        raise Refusal(f"trace buffer of {fields.dram_buffer_size} bytes, which is no power of 2")
    rings = request.rings
    rings.trace = _ring(request, fields.dram_buffer_address, fields.dram_buffer_size, _TRACE_MINIMUM, RingType.TRACE)
    rings.categories = fields.event_trace_categories
    attach_all(request.firmware)
    return request.answer()


def stop_trace(request: Request) -> bytes:
    """Ends the trace."""
    request.rings.trace, request.rings.categories = None, 0
    attach_all(request.firmware)
    return request.answer()


def set_categories(request: Request) -> bytes:
    """Other events from now on."""
    if request.rings.trace is None:
        raise Refusal("no trace was started")
    request.rings.categories = request.fields.event_trace_categories
    attach_all(request.firmware)
    return request.answer()


def _ring(request: Request, address: int, size: int, least: int, kind: RingType) -> _core.FirmwareRing:
    if not least <= size <= abi.BUFFER_MAXIMUM:
        raise Refusal(f"buffer of {size} bytes; {least} to {abi.BUFFER_MAXIMUM} are taken")
    for place in (address, address + size - 4):
        request.read_memory(place, 4)
    return _core.FirmwareRing(request.function.space, address, size, kind, abi.PAYLOAD_VERSION)


HANDLERS: Final[Mapping[str, Callable[[Request], bytes]]] = {
    "DRAM_LOGGING_START": start_log,
    "DRAM_LOGGING_STOP": stop_log,
    "START_EVENT_TRACE": start_trace,
    "STOP_EVENT_TRACE": stop_trace,
    "SET_EVENT_TRACE_CATEGORIES": set_categories,
}
