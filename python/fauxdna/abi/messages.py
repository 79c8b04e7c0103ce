"""Management messages, as one table for each protocol version.

A driver sends requests through its function's mailbox, and firmware answers each with a response that has the exact size of its
structure. A protocol is data: opcode, structures, and the states of a function in which the message is legal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Final

from ._declare import Field, Struct

_SOURCE = "Linux 7.2 aie4_msg_priv.h struct aie4_msg_"


class Status(IntEnum):
    """First word of every response (``enum aie4_msg_status``)."""

    SUCCESS = 0
    ERROR = 1
    NOTSUPP = 2


class State(IntFlag):
    """What a function's firmware is doing; one bit at a time in a function, several in a message's ``states`` (derived)."""

    PF_BOOTED = 1
    """Firmware runs and has no work buffer."""
    PF_READY = 2
    """It has a work buffer."""
    PF_VIRTUAL = 4
    """It has VFs."""
    PF_SUSPENDED = 8
    """It stopped on request; only a fresh start helps."""
    VF_IDLE = 16
    """The VF has no partition."""
    VF_PARTITIONED = 32
    """It has a partition and no contexts."""
    VF_ACTIVE = 64
    """It has contexts."""


PF_STATES: Final = State.PF_BOOTED | State.PF_READY | State.PF_VIRTUAL | State.PF_SUSPENDED
VF_STATES: Final = State.VF_IDLE | State.VF_PARTITIONED | State.VF_ACTIVE


class PriorityBand(IntEnum):
    """Scheduling bands of contexts (amd/xdna-driver ``enum aie4_msg_context_priority_band``)."""

    IDLE = 0
    NORMAL = 1
    FOCUS = 2
    REAL_TIME = 3


QOS_PRIORITY_BANDS: Final[Mapping[int, PriorityBand]] = MappingProxyType(
    {
        0x100: PriorityBand.REAL_TIME,
        0x180: PriorityBand.FOCUS,
        0x200: PriorityBand.NORMAL,
        0x280: PriorityBand.IDLE,
    }
)
"""Linux 7.2 sends the user's ``AMDXDNA_QOS_*_PRIORITY`` as it is; the bands are those of amd/xdna-driver ``aie4_pci.c``."""

WORK_BUFFER_MINIMUM: Final = 4 << 20
"""``AIE4_WORK_BUFFER_MIN_SIZE``."""
PASID_MASK: Final = 0xFFFFF
PASID_VALID: Final = 1 << 31
PASID_NONE: Final = 0xFFFFF
"""What a driver without shared virtual addressing sends in the PASID's 20 bits (``IOMMU_PASID_INVALID``, cut off)."""
TILES_PER_COLUMN: Final = 4
"""Compute tiles that ``request_num_tiles`` counts in one column (amd/xdna-driver ``aie4_msg_priv.h``)."""


@dataclass(frozen=True)
class Message:
    """One request and its response, and the states of a function in which it is legal."""

    name: str
    opcode: int
    request: Struct
    response: Struct
    states: State


@dataclass(frozen=True)
class Protocol:
    """All messages of one protocol version, by opcode."""

    major: int
    minor: int
    messages: Mapping[int, Message]

    def __getitem__(self, name: str) -> Message:
        """The message called ``name``; ``KeyError`` if this version has none."""
        for message in self.messages.values():
            if message.name == name:
                return message
        raise KeyError(name)


_STATUS = Field("status", "u32", doc=":class:`Status`")

STATUS_RESPONSE = Struct("status_response", 4, [_STATUS], source=_SOURCE + "suspend_resp, and all with a status only")
SUSPEND_REQUEST = Struct("suspend_request", 4, [Field("reserved", "u32")], source=_SOURCE + "suspend_req")
ATTACH_WORK_BUFFER_REQUEST = Struct(
    "attach_work_buffer_request",
    16,
    [Field("buffer_address", "u64"), Field("reserved", "u32"), Field("buffer_size", "u32")],
    source=_SOURCE + "attach_work_buffer_req",
)
CREATE_VFS_REQUEST = Struct("create_vfs_request", 4, [Field("vf_count", "u32")], source=_SOURCE + "create_vfs_req")
DESTROY_VFS_REQUEST = Struct("destroy_vfs_request", 4, [Field("reserved", "u32")], source=_SOURCE + "destroy_vfs_req")
CREATE_PARTITION_REQUEST = Struct(
    "create_partition_request",
    8,
    [Field("column_start", "u32"), Field("column_count", "u32")],
    source=_SOURCE + "create_partition_req",
)
CREATE_PARTITION_RESPONSE = Struct(
    "create_partition_response",
    8,
    [_STATUS, Field("partition_id", "u32", doc="not 0")],
    source=_SOURCE + "create_partition_resp",
)
DESTROY_PARTITION_REQUEST = Struct(
    "destroy_partition_request", 4, [Field("partition_id", "u32")], source=_SOURCE + "destroy_partition_req"
)
CREATE_HW_CONTEXT_REQUEST = Struct(
    "create_hw_context_request",
    24,
    [
        Field("partition_id", "u32"),
        Field("request_num_tiles", "u32"),
        Field("queue_address_high", "u32"),
        Field("queue_address_low", "u32"),
        Field("pasid", "u32", doc="bits 19:0, valid in bit 31"),
        Field("priority_band", "u32"),
    ],
    source=_SOURCE + "create_hw_context_req",
)
CREATE_HW_CONTEXT_RESPONSE = Struct(
    "create_hw_context_response",
    16,
    [
        _STATUS,
        Field("hw_context_id", "u32"),
        Field("doorbell_offset", "u32", doc="of the context's page, in BAR2"),
        Field("job_complete_msix_idx", "u32"),
    ],
    source=_SOURCE + "create_hw_context_resp",
)
DESTROY_HW_CONTEXT_REQUEST = Struct(
    "destroy_hw_context_request",
    8,
    [Field("hw_context_id", "u32"), Field("reserved", "u32")],
    source=_SOURCE + "destroy_hw_context_req",
)
TILE_INFO_REQUEST = Struct("tile_info_request", 4, [Field("reserved", "u32")], source=_SOURCE + "aie4_tile_info_req")
TILE_INFO_RESPONSE = Struct(
    "tile_info_response",
    48,
    [
        _STATUS,
        Field("size", "u32", doc="bytes of a column's register space"),
        Field("major", "u16"),
        Field("minor", "u16"),
        Field("cols", "u16"),
        Field("rows", "u16"),
        Field("core_rows", "u16"),
        Field("mem_rows", "u16"),
        Field("shim_rows", "u16"),
        Field("core_row_start", "u16"),
        Field("mem_row_start", "u16"),
        Field("shim_row_start", "u16"),
        Field("core_dma_channels", "u16"),
        Field("mem_dma_channels", "u16"),
        Field("shim_dma_channels", "u16"),
        Field("core_locks", "u16"),
        Field("mem_locks", "u16"),
        Field("shim_locks", "u16"),
        Field("core_events", "u16"),
        Field("mem_events", "u16"),
        Field("shim_events", "u16"),
        Field("reserved", "u16"),
    ],
    source=_SOURCE + "aie4_tile_info_resp",
)


def _protocol(major: int, minor: int, *messages: Message) -> Protocol:
    return Protocol(major, minor, MappingProxyType({message.opcode: message for message in messages}))


def extend(protocol: Protocol, minor: int, *messages: Message) -> Protocol:
    """A later minor version of ``protocol``: its messages, and more."""
    return _protocol(protocol.major, minor, *protocol.messages.values(), *messages)


_PARTITION = State.VF_PARTITIONED | State.VF_ACTIVE

PROTOCOL_5_10: Final = _protocol(
    5,
    10,
    Message("SUSPEND", 0x10003, SUSPEND_REQUEST, STATUS_RESPONSE, State.PF_BOOTED | State.PF_READY | State.PF_VIRTUAL),
    Message(
        "ATTACH_WORK_BUFFER",
        0x1000D,
        ATTACH_WORK_BUFFER_REQUEST,
        STATUS_RESPONSE,
        State.PF_BOOTED | State.PF_READY,
    ),
    Message("CREATE_VFS", 0x20001, CREATE_VFS_REQUEST, STATUS_RESPONSE, State.PF_READY),
    Message("DESTROY_VFS", 0x20002, DESTROY_VFS_REQUEST, STATUS_RESPONSE, State.PF_VIRTUAL),
    Message("CREATE_PARTITION", 0x30001, CREATE_PARTITION_REQUEST, CREATE_PARTITION_RESPONSE, State.VF_IDLE),
    Message("DESTROY_PARTITION", 0x30002, DESTROY_PARTITION_REQUEST, STATUS_RESPONSE, _PARTITION),
    Message("CREATE_HW_CONTEXT", 0x30003, CREATE_HW_CONTEXT_REQUEST, CREATE_HW_CONTEXT_RESPONSE, _PARTITION),
    Message("DESTROY_HW_CONTEXT", 0x30004, DESTROY_HW_CONTEXT_REQUEST, STATUS_RESPONSE, State.VF_ACTIVE),
    Message("AIE_TILE_INFO", 0x30006, TILE_INFO_REQUEST, TILE_INFO_RESPONSE, VF_STATES),
)
"""Every message of Linux 7.2 ``aie4_msg_priv.h``."""
