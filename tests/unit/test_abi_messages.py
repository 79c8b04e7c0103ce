"""Management messages of protocol 5.10: opcodes, sizes and offsets of Linux 7.2 ``aie4_msg_priv.h`` as gcc lays it out."""

from __future__ import annotations

import pytest

from fauxdna.abi import messages
from fauxdna.abi.messages import PF_STATES, PROTOCOL_5_10, VF_STATES, State, Status


@pytest.mark.parametrize(
    ("name", "opcode", "request_size", "response_size"),
    [
        ("SUSPEND", 0x10003, 4, 4),
        ("ATTACH_WORK_BUFFER", 0x1000D, 16, 4),
        ("CREATE_VFS", 0x20001, 4, 4),
        ("DESTROY_VFS", 0x20002, 4, 4),
        ("CREATE_PARTITION", 0x30001, 8, 8),
        ("DESTROY_PARTITION", 0x30002, 4, 4),
        ("CREATE_HW_CONTEXT", 0x30003, 24, 16),
        ("DESTROY_HW_CONTEXT", 0x30004, 8, 4),
        ("AIE_TILE_INFO", 0x30006, 4, 48),
    ],
)
def test_opcodes_and_sizes(name: str, opcode: int, request_size: int, response_size: int) -> None:
    """``enum aie4_msg_opcode``; sizeof of each struct."""
    message = PROTOCOL_5_10[name]
    assert message.opcode == opcode
    assert PROTOCOL_5_10.messages[opcode] is message
    assert message.request.size == request_size
    assert message.response.size == response_size
    assert message.response.offsets["status"] == 0


def test_nothing_else_is_in_the_table() -> None:
    """``enum aie4_msg_opcode`` has nine entries."""
    assert len(PROTOCOL_5_10.messages) == 9
    assert (PROTOCOL_5_10.major, PROTOCOL_5_10.minor) == (5, 10)
    with pytest.raises(KeyError):
        PROTOCOL_5_10["IDENTIFY"]


@pytest.mark.parametrize(
    ("struct", "field", "offset"),
    [
        (messages.ATTACH_WORK_BUFFER_REQUEST, "buffer_size", 12),
        (messages.CREATE_HW_CONTEXT_REQUEST, "queue_address_high", 8),
        (messages.CREATE_HW_CONTEXT_REQUEST, "queue_address_low", 12),
        (messages.CREATE_HW_CONTEXT_REQUEST, "pasid", 16),
        (messages.CREATE_HW_CONTEXT_REQUEST, "priority_band", 20),
        (messages.CREATE_HW_CONTEXT_RESPONSE, "doorbell_offset", 8),
        (messages.CREATE_HW_CONTEXT_RESPONSE, "job_complete_msix_idx", 12),
        (messages.TILE_INFO_RESPONSE, "cols", 12),
        (messages.TILE_INFO_RESPONSE, "core_row_start", 22),
        (messages.TILE_INFO_RESPONSE, "core_dma_channels", 28),
        (messages.TILE_INFO_RESPONSE, "core_locks", 34),
        (messages.TILE_INFO_RESPONSE, "shim_events", 44),
    ],
)
def test_offsets(struct: messages.Struct, field: str, offset: int) -> None:
    """offsetof, by gcc."""
    assert struct.offsets[field] == offset


def test_values() -> None:
    """``enum aie4_msg_status``, AIE4_WORK_BUFFER_MIN_SIZE, AIE4_MSG_PASID; QoS values of ``amdxdna_accel.h``."""
    assert [status.value for status in Status] == [0, 1, 2]
    assert messages.WORK_BUFFER_MINIMUM == 4 * 1024 * 1024
    assert messages.PASID_MASK == 0xFFFFF
    assert messages.PASID_VALID == 0x80000000
    assert {value: int(band) for value, band in messages.QOS_PRIORITY_BANDS.items()} == {0x100: 3, 0x180: 2, 0x200: 1, 0x280: 0}


def test_every_message_belongs_to_one_kind_of_function() -> None:
    """The PF manages and cannot compute."""
    for message in PROTOCOL_5_10.messages.values():
        assert bool(message.states & PF_STATES) != bool(message.states & VF_STATES), message.name
        assert State.PF_SUSPENDED not in message.states
