"""Rings in host memory that management firmware fills: its log, and the trace of its events.

A ring's last 4096 bytes are a footer; entries before it wrap around, and ``tail`` counts the bytes ever written. A log is lines
of text (``aie4_fw_log_parse``). A trace is records of a header, ``payload_words`` times 8 bytes that begin with :data:`EVENT`,
and a footer (XRT ``EventTracing/NPU3_EventTrace.md``). Which events there are, and their arguments, is chosen: AMD's table of
them is not public.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ._declare import Field, Struct

FOOTER_SIZE: Final = 4096
"""``AMDXDNA_DPT_FOOTER_SIZE``."""
BUFFER_SIZE: Final = 4 << 20
"""``fw_log_size`` and ``fw_trace_size`` of AMD's driver."""
BUFFER_MINIMUM: Final = 8192
BUFFER_MAXIMUM: Final = 64 << 20
"""Of an event trace (``aie4_msg_start_event_trace_req``)."""
VERSION_MAJOR: Final = 1
PAYLOAD_VERSION: Final = 0x04010100
"""Product, schema, major, minor, a byte each, as XRT shows them (``OO_FirmwareLogExamine``); the same for both."""
ALL_CATEGORIES: Final = 0xFFFF_FFFF
"""``AMDXDNA_DPT_FW_TRACE_MAX_DEFAULT``."""

FOOTER: Final = Struct(
    "footer",
    68,
    [
        Field("minor", "u8"),
        Field("major", "u8"),
        Field("type", "u8", doc=":class:`RingType`"),
        Field("reserved1", "u8"),
        Field("payload_version", "u32"),
        Field("reserved2", "u8", 56),
        Field("tail", "u32", doc="low word of the bytes ever written"),
    ],
    source="amd/xdna-driver amdxdna_dpt.h struct amdxdna_dpt_footer",
)
EVENT_MAGIC: Final = 0xCA
EVENT_MAGIC_END: Final = 0xBA
EVENT_HEADER: Final = Struct(
    "event_header",
    8,
    [Field("magic", "u8"), Field("payload_words", "u8"), Field("sequence", "u16"), Field("reserved", "u32")],
    source="XRT NPU3_EventTrace.md, EventTraceNpu3.cpp",
)
EVENT: Final = Struct(
    "event",
    12,
    [Field("timestamp", "u64", doc="nanoseconds since the trace began"), Field("event_id", "u32")],
    source="XRT NPU3_EventTrace.md; words of arguments follow",
)
EVENT_FOOTER: Final = Struct(
    "event_footer",
    8,
    [Field("reserved", "u8", 3), Field("sequence", "u16"), Field("payload_words", "u16"), Field("magic", "u8")],
    source="XRT NPU3_EventTrace.md",
)


class RingType(IntEnum):
    """What a footer says of the entries (chosen)."""

    LOG = 1
    TRACE = 2


class Category(IntEnum):
    """Bits of an event trace's categories."""

    CONTEXT = 0
    DOORBELL = 1
    COMMAND = 2
    POWER = 3
    MESSAGE = 4


class EventId(IntEnum):
    """What happened, with its words of arguments."""

    CONTEXT_CREATED = 1
    """Context, its first column, its columns."""
    CONTEXT_DESTROYED = 2
    """Context."""
    DOORBELL = 3
    """Context: its doorbell was found rung."""
    COMMAND_STARTED = 4
    """Context, sequence number (low, high)."""
    COMMAND_ENDED = 5
    """Context, sequence number (low, high), completion word, simulated nanoseconds of the context until then (low, high)."""
    DPM_LEVEL = 6
    """Level, H clock in MHz."""
    MESSAGE = 7
    """Opcode, status of the answer."""


_CONTEXT: Final = ("context", "uint32", "")
_SEQUENCE: Final = ("sequence", "uint64", "d")
EVENT_ARGUMENTS: Final[dict[EventId, tuple[Category, tuple[tuple[str, str, str], ...]]]] = {
    EventId.CONTEXT_CREATED: (Category.CONTEXT, (_CONTEXT, ("first_column", "uint32", ""), ("columns", "uint32", ""))),
    EventId.CONTEXT_DESTROYED: (Category.CONTEXT, (_CONTEXT,)),
    EventId.DOORBELL: (Category.DOORBELL, (_CONTEXT,)),
    EventId.COMMAND_STARTED: (Category.COMMAND, (_CONTEXT, _SEQUENCE)),
    EventId.COMMAND_ENDED: (
        Category.COMMAND,
        (_CONTEXT, _SEQUENCE, ("completion", "uint32", ""), ("simulated_ns", "uint64", "d")),
    ),
    EventId.DPM_LEVEL: (Category.POWER, (("level", "uint32", ""), ("h_clock_mhz", "uint32", ""))),
    EventId.MESSAGE: (Category.MESSAGE, (("opcode", "uint32", "x"), ("status", "uint32", ""))),
}
"""Category of each event, and name, type and format of its arguments as XRT's ``trace_events.json`` has them."""
