"""The host queue: header (both layouts), packets, EXEC_BUF payload, completion word.

Sources: Linux 7.2 ``aie4_host_queue.h`` (unpadded header); XRT 2.25 and amd/xdna-driver ``src/shim/umq`` (padded header,
packets).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ._declare import Bits, Field, Struct, Words

_XRT = "amd/xdna-driver src/shim/umq host_queue.h"

CAPACITY_MAX: Final = 32
"""Linux 7.2 ``CTX_MAX_CMDS``."""
PACKET_SIZE: Final = 64
PACKET_DATA_SIZE: Final = 48
DOORBELL_PAGE_SIZE: Final = 4096
DOORBELL_ARMED: Final = 0xFFFFFFFF
"""What the device leaves in a doorbell page; the host rings by writing :data:`DOORBELL_RING`."""
DOORBELL_RING: Final = 0
DOORBELL_SLEEPING: Final = 0x40
"""Offset in a doorbell page of a word that is not 0 while the engine sleeps and needs a kick. Ours, unknown to XRT and Linux."""
DOORBELL_KICKS: Final = 0x80
"""Offset of a word in which a client that kicks the engine's eventfd says so by writing 1. Ours."""
INDIRECT_MAX: Final = 6
"""Entries of an indirect packet (XRT ``HSA_MAX_LEVEL1_INDIRECT_ENTRIES``)."""

HEADER_UNPADDED = Struct(
    "header_unpadded",
    32,
    [
        Field("read_index", "u64"),
        Field("major", "u16"),
        Field("minor", "u16"),
        Field("capacity", "u32"),
        Field("write_index", "u64"),
        Field("data_address", "u64"),
    ],
    source="Linux 7.2 aie4_host_queue.h struct host_queue_header",
)
HEADER_PADDED = Struct(
    "header_padded",
    128,
    [
        Field("read_index", "u64"),
        Field("major", "u16"),
        Field("minor", "u16"),
        Field("capacity", "u32"),
        Field("reserved0", "u64", count=6),
        Field("write_index", "u64"),
        Field("reserved1", "u64", count=6),
        Field("data_address", "u64"),
    ],
    source=_XRT,
)
PADDED_MAJOR: Final = 1
"""``major`` of a padded header; an unpadded one has 0."""
MIRROR_WRITE_INDEX: Final = 0x10
"""Where the device mirrors a padded header's write_index, for Linux 7.2's WAIT_CMD."""


class PacketType(IntEnum):
    """Packet types."""

    VENDOR = 0


class PacketOpcode(IntEnum):
    """Packet opcodes."""

    EXEC_BUF = 1
    TEST = 2
    EXIT = 3


PACKET = Struct(
    "packet",
    PACKET_SIZE,
    [
        Field("type", "u8"),
        Field("reserved", "u8"),
        Field("opcode", "u8"),
        Field("chain", "u8", doc="1: another packet of the chain follows"),
        Field("count", "u16", doc="bytes of data in use"),
        Field("distribute", "u8", doc="1: to several uCs"),
        Field("indirect", "u8", doc="1: data is a list of indirect entries"),
        Field("completion_signal", "u64", doc="address of the completion word, or 0"),
        Field("data", "u32", count=12),
    ],
    source=_XRT,
)
EXEC_BUF = Struct(
    "exec_buf",
    24,
    [
        Field("dtrace_low", "u32"),
        Field("code_low", "u32"),
        Field("code_high", "u32"),
        Field("args_length", "u16"),
        Field("dtrace_high", "u16"),
        Field("args_low", "u32"),
        Field("args_high", "u32"),
    ],
    source=_XRT,
)
INDIRECT_ENTRY = Words(
    "indirect_entry",
    2,
    [Bits("address_low", 0, 31, 0), Bits("address_high", 1, 24, 0), Bits("uc", 1, 31, 25)],
    source=_XRT,
)
INDIRECT_PAYLOAD = Struct(
    "indirect_payload",
    32,
    [
        Field("type", "u8"),
        Field("reserved", "u8"),
        Field("opcode", "u8"),
        Field("chain", "u8"),
        Field("count", "u16"),
        Field("distribute", "u8"),
        Field("indirect", "u8"),
        *EXEC_BUF.fields,
    ],
    source=_XRT,
)


class CompletionState(IntEnum):
    """Low nibble of a completion word (the ERT command states)."""

    NEW = 1
    COMPLETED = 4
    ERROR = 5
    ABORT = 6
    TIMEOUT = 8


class ContextError(IntEnum):
    """Error e of ``e << 4 | ERROR``; those from NO_PDI on are added to 100 * uC index."""

    EXIT = 0
    NO_PDI = 1
    PDI_LOAD = 2
    INVALID_OPCODE = 3
    INVALID_PACKET = 4
    INVALID_PAGE = 5
    TIMEOUT = 6
