"""Log buffers of micro-controllers: a ring of entries in host memory for each, which XRT turns into text.

A buffer starts with 32 bytes whose first 8 count the bytes ever logged; entries follow, and entry *n* lies at
``32 + (32 * n) % (size - 32)``. Sources: XRT ``core/common/uc_log.h`` (entry), ``buffer_dumper.cpp`` (ring), ``uc_log_schema.h``
(files and texts, version 0.26). Which of the texts are logged when, and with which time, is chosen.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ._declare import Field, Struct

HEADER_SIZE: Final = 32
BUFFER_MINIMUM: Final = 64
BUFFER_MAXIMUM: Final = 64 << 20

LOG_ENTRY: Final = Struct(
    "log_entry",
    32,
    [
        Field("length", "u32", doc="words that count: 6, 7 or 8"),
        Field("ts_high", "u32", doc="simulated nanoseconds since the context was created"),
        Field("ts_low", "u32"),
        Field("file_id", "u32"),
        Field("line_num", "u32"),
        Field("log_id", "u32"),
        Field("argument1", "u32"),
        Field("argument2", "u32"),
    ],
    source="XRT core/common/uc_log.h struct uc_log_entry",
)
WORDS_BEFORE_ARGUMENTS: Final = 6


class File(IntEnum):
    """Which part of the firmware speaks (``uc_log_schema.files``)."""

    MAIN = 0
    DPU_CONTROL = 1
    TASK_HANDLER = 5
    XRT_HANDLER = 9
    HOST_QUEUE = 10
    TRACE = 14


class Text(IntEnum):
    """What it says (``uc_log_schema.logs``)."""

    INVALID_PAGE = 4
    """``Invalid page %d``."""
    INVALID_OPCODE = 5
    """``Invalid opcode: 0x%x @ %x``."""
    DEADLOCK = 8
    """``WARN: Deadlock might have happened!! Last opcode PC: 0x%x page_idx: %d``."""
    EXCEPTION = 11
    """``Exception!! ESR: 0x%x EAR: 0x%x``; the first is the error of the completion word, the second 0."""
    END_JOB = 18
    """``[end] job: %u``."""
    TRACE = 25
    """``collect trace info at offset %d``; its number is that of the TRACE operation."""
    END_OF_CODE = 29
    """``[EOF] unfinished job number: %u``."""
    SAVE = 33
    """``save ...``."""
    RESTORE = 35
    """``restore ...``."""
    EXECUTE = 55
    """``executing control code ...``."""
    PACKET = 56
    """``Queue packet opcode: %u``."""
    PAGE_IN = 71
    """``Page-in to slot %u page offset 0x%x``."""
