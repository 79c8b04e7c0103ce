"""The accel UAPI beyond Linux 7.2's: what XRT 2.25 asks for and AMD's newer driver serves. Values and structures are those of
amd/xdna-driver ``amdxdna_accel.h``; what both headers have is in :mod:`fauxdna.abi.uapi`.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum, StrEnum
from typing import Final

from ._declare import Field, Struct
from .messages_5_24 import TELEMETRY
from .uapi import HWCTX_ENTRY

_SOURCE = "amd/xdna-driver src/include/uapi/drm_local/amdxdna_accel.h"


class Level(StrEnum):
    """Whose driver a file behaves as."""

    LINUX_7_2 = "7.2"
    """Linux 7.2's, exactly."""
    NEXT = "next"
    """Linux 7.2's, and the queries and settings that AMD's newer driver serves on AIE4."""


class NextInfo(IntEnum):
    """What GET_INFO may be asked for besides :class:`fauxdna.abi.uapi.InfoParam`."""

    CERT_FIRMWARE_VERSION = 14


class NextArray(IntEnum):
    """What GET_ARRAY may be asked for besides :class:`fauxdna.abi.uapi.ArrayParam`."""

    HW_CONTEXT_BY_ID = 1
    FW_LOG = 3
    FW_TRACE = 4
    AIE_COREDUMP = 5
    FW_LOG_CONFIG = 7
    FW_TRACE_CONFIG = 8
    AIE_TILE_READ = 9


class NextState(IntEnum):
    """What SET_STATE may set besides :class:`fauxdna.abi.uapi.StateParam`."""

    FW_LOG = 5
    FW_TRACE = 6
    AIE_TILE_WRITE = 7


class FirmwareBuffer(IntEnum):
    """``AMDXDNA_FW_BUF_*``: what a debug buffer is for."""

    DEBUG = 0
    TRACE = 1
    DEBUG_QUEUE = 2
    LOG = 3


class ErrorNumber(IntEnum):
    """``enum amdxdna_error_num`` (``amdxdna_error.h``), of those that AIE4 contexts have."""

    KDS_CU = 13
    KDS_EXEC = 14


_ERROR_DRIVER_AIE, _ERROR_CRITICAL, _ERROR_MODULE_AIE_CORE, _ERROR_CLASS_AIE = 4, 3, 3, 2


def error_code(number: ErrorNumber) -> int:
    """``AMDXDNA_CRITICAL_ERROR_CODE_BUILD`` with the module that AIE4 context errors have."""
    place = _ERROR_DRIVER_AIE << 16 | _ERROR_CRITICAL << 24 | _ERROR_MODULE_AIE_CORE << 32 | _ERROR_CLASS_AIE << 40
    return number | place


MAX_ELEMENTS: Final = 1024
"""``AMDXDNA_MAX_NUM_ELEMENT``."""
MAX_ELEMENT_SIZE: Final = 100 << 20
"""``AMDXDNA_MAX_ELEMENT_SIZE``."""
TILE_ACCESS_MOST: Final = 1 << 20
"""Bytes of a tile's address range: more can't be read or written at once."""
PROCESS_NAME_LENGTH: Final = 16
"""``AMDXDNA_HWCTX_PROC_NAME_LEN``."""

NEXT_HWCTX_ENTRY: Final = Struct(
    "amdxdna_drm_hwctx_entry", 160, [*HWCTX_ENTRY.fields, Field("name", "u8", PROCESS_NAME_LENGTH)], source=_SOURCE
)
"""7.2's 144 bytes and the process's name; XRT 2.25 takes 144."""
FW_BUFFER_METADATA: Final = Struct(
    "amdxdna_fw_buffer_metadata",
    16,
    [
        Field("buf_type", "u8", doc=":class:`FirmwareBuffer`"),
        Field("num_ucs", "u8"),
        Field("pad", "u8", 2),
        Field("bo_handle", "u32"),
        Field("command_id", "u64"),
    ],
    source=_SOURCE,
)
"""Followed by ``num_ucs`` times :data:`UC_INFO_ENTRY`."""
UC_INFO_ENTRY: Final = Struct("amdxdna_uc_info_entry", 8, [Field("index", "u32"), Field("size", "u32")], source=_SOURCE)
AIE_TILE_ACCESS: Final = Struct(
    "amdxdna_drm_aie_tile_access",
    32,
    [
        Field("pid", "u64"),
        Field("context_id", "u32"),
        Field("col", "u32"),
        Field("row", "u32"),
        Field("addr", "u32"),
        Field("size", "u32", doc="4: a register; more: memory"),
        Field("type", "u8"),
        Field("pad", "u8", 3),
    ],
    source=_SOURCE,
)
AIE_COREDUMP: Final = Struct(
    "amdxdna_drm_aie_coredump", 16, [Field("pid", "u64"), Field("context_id", "u32"), Field("pad", "u32")], source=_SOURCE
)


FW_DATA: Final = Struct(
    "amdxdna_dpt_metadata",
    16,
    [
        Field("offset", "u64", doc="bytes ever read; the answer's is where to go on"),
        Field("size", "u32", doc="bytes before this structure, which stands at the buffer's end; the answer's, of data"),
        Field("watch", "u8", doc="wait until there is data"),
        Field("reserved", "u8", 3),
    ],
    source=_SOURCE,
)
SET_FW_STATE: Final = Struct(
    "amdxdna_drm_set_dpt_state",
    16,
    [Field("action", "u32", doc="0: off"), Field("config", "u32", doc="log level, or categories"), Field("reserved", "u64")],
    source=_SOURCE,
)
GET_FW_STATE: Final = Struct(
    "amdxdna_drm_get_dpt_state",
    16,
    [
        Field("version", "u32", doc="of the entries"),
        Field("status", "u32", doc="1: on"),
        Field("config", "u32", doc="log level, or categories"),
        Field("reserved", "u32"),
    ],
    source=_SOURCE,
)


TELEMETRY_CONTEXTS: Final = 6
"""Contexts that XRT 2.25 shows preemptions of, by the number that firmware gave them (``AIE4_TOTAL_NUM_UC`` of its shim)."""


def _aligned(struct: Struct) -> Struct:
    """``struct`` with the padding that a C compiler puts in front of 64-bit fields, unless told to pack, and fewer contexts."""
    fields: list[Field] = []
    at = 0
    for declared in struct.fields:
        field = replace(declared, count=TELEMETRY_CONTEXTS) if declared.name.startswith("preemption_") else declared
        if field.type == "u64" and at % 8:
            fields.append(Field(f"alignment{at}", "u8", 8 - at % 8))
            at += 8 - at % 8
        fields.append(field)
        at += field.size
    return Struct(struct.name, at, fields, source="XRT 2.25's shim, as compiled by Debian")


NEXT_TELEMETRY: Final = _aligned(TELEMETRY)
"""Firmware's telemetry as XRT 2.25's shim reads it: not packed, from the buffer's start."""
