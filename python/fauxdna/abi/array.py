"""The AIE4 array as control code sees it: tile addresses, register map, buffer descriptors, locks and streams.

Values marked *derived* in ``docs/fidelity.md`` come from the public AIE4 register backend (Xilinx/aie-codegen, MIT); those
marked *chosen* are not public and are this device's own. An address is ``column << 25 | row << 20 | offset``, with the column
counted from the first column of the partition.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ._declare import Bits, Words

_REGISTERS = "aie-codegen xaie4mdsgbl_reginit.c, XAIE4GBL_* register values"
_AIEML = "AM025 (AIE-ML register reference), taken over for AIE4"

# --- Geometry -----------------------------------------------------------------------------------------------------------
COLUMN_SHIFT: Final = 25
ROW_SHIFT: Final = 20
COLUMNS: Final = 3
"""Columns of a die; Linux 7.2 ``AIE4_TOTAL_COLUMN``."""
SHIM_ROW: Final = 0
MEM_ROW: Final = 1
FIRST_CORE_ROW: Final = 6
"""Address row of the first core tile: array row 2 is addressed as row 6 (0x600000)."""
CORE_ROWS: Final = 4
HALF_STRIDE: Final = 0x40000
"""Registers of the second half ("app B") of a shim or mem tile lie this far above those of the first."""

CORE_DATA_SIZE: Final = 128 * 1024
CORE_PROGRAM_SIZE: Final = 32 * 1024
MEM_TILE_SIZE: Final = 3 * 1024 * 1024
UC_PROGRAM_SIZE: Final = 32 * 1024
UC_PRIVATE_SIZE: Final = 16 * 1024
UC_SHARED_SIZE: Final = 32 * 1024


class TileKind(IntEnum):
    """What stands at a tile address."""

    SHIM = 0
    MEM = 1
    CORE = 2


def tile_id(column: int, row: int) -> int:
    """``column << 5 | row``, the form WAIT_TCTS takes; the tile's address is this shifted left by 20."""
    return column << (COLUMN_SHIFT - ROW_SHIFT) | row


def tile_address(column: int, row: int, offset: int = 0) -> int:
    """Register-space address of ``offset`` in a tile."""
    return column << COLUMN_SHIFT | row << ROW_SHIFT | offset


# --- Core tile ----------------------------------------------------------------------------------------------------------
CORE_DATA: Final = 0x00000
CORE_PROGRAM: Final = 0x80000
CORE_CONTROL: Final = 0xA3000
CORE_STATUS: Final = 0xA3004
"""Chosen: bit 0 enabled, bit 1 in reset, bit 16 halted (program ended), bit 17 fault."""
CORE_PC: Final = 0xA3008
"""Chosen: the program word of the next instruction."""
CORE_FAULT: Final = 0xA300C
"""Chosen: low 16 bits the fault code, high 16 bits the program word where it happened."""
CORE_CONTROL_ENABLE: Final = 1 << 0
CORE_CONTROL_RESET: Final = 1 << 1
CORE_STATUS_ENABLED: Final = 1 << 0
CORE_STATUS_RESET: Final = 1 << 1
CORE_STATUS_HALTED: Final = 1 << 16
CORE_STATUS_FAULT: Final = 1 << 17
CORE_COUNTER_CONTROL: Final = 0xA2500
"""Events of performance counters 0 and 1; those of the next two are 4 above. Place chosen: as far below the core's control as in
AIE-ML."""
CORE_COUNTER: Final = 0xA2520
CORE_COUNTERS: Final = 12
CORE_BD: Final = 0xAC000
CORE_BD_STRIDE: Final = 0x20
CORE_BDS: Final = 16
CORE_CHANNEL_CONTROL: Final = 0xACE00
"""S2MM0; S2MM1 is 8 above, MM2S0 16 above. Each channel's start queue follows its control register."""
CORE_CHANNEL_STATUS: Final = 0xACF00
"""S2MM0, S2MM1 at +4, MM2S0 at +0x10 (chosen, as AIE-ML orders them)."""
CORE_S2MM: Final = 2
CORE_MM2S: Final = 1
CORE_LOCK_VALUE: Final = 0xAE000
CORE_LOCK_REQUEST: Final = 0xB0000
CORE_LOCKS: Final = 16

# --- Mem tile -----------------------------------------------------------------------------------------------------------
MEM_DATA: Final = 0x00000
"""Host view of the first 0x8000 bytes of mem tile memory; the rest is reached through :data:`MEM_WINDOW` only (chosen)."""
MEM_DATA_SIZE: Final = 0x8000
MEM_BD_S2MM: Final = 0x08000
MEM_BD_MM2S: Final = 0x08C00
MEM_BD_STRIDE: Final = 0x30
MEM_BDS_PER_CHANNEL: Final = 16
MEM_CHANNEL_BD_STRIDE: Final = 0x300
MEM_S2MM_CONTROL: Final = 0x9E00
MEM_S2MM_START: Final = 0x9E04
MEM_MM2S_CONTROL: Final = 0x9E60
MEM_MM2S_START: Final = 0x9E64
MEM_CHANNEL_STRIDE: Final = 8
MEM_S2MM_STATUS: Final = 0x9ED0
MEM_MM2S_STATUS: Final = 0x9F00
MEM_S2MM: Final = 8
MEM_MM2S: Final = 10
MEM_S2MM_PER_HALF: Final = 4
MEM_MM2S_PER_HALF: Final = 5
MEM_LOCK_VALUE: Final = 0x10000
MEM_LOCK_REQUEST: Final = 0x18000
MEM_LOCKS_PER_HALF: Final = 32
MEM_LOCKS: Final = 64
"""They count through both halves: 32-63 are the second half's."""
MEM_LOCK_WINDOW: Final = 0x1C0
"""A mem tile BD's id of its own tile's lock 0, as :data:`MEM_WINDOW` is the address of its memory."""
MEM_WINDOW: Final = 0x2000000
"""A mem tile DMA's byte address of its own tile's memory."""

# --- Shim tile ----------------------------------------------------------------------------------------------------------
SHIM_BD: Final = 0x18000
SHIM_BD_STRIDE: Final = 0x30
SHIM_BDS: Final = 16
"""Per half; shared by the channels of that half."""
SHIM_S2MM_CONTROL: Final = 0x18540
SHIM_S2MM_START: Final = 0x18544
SHIM_MM2S_CONTROL: Final = 0x18550
SHIM_MM2S_START: Final = 0x18554
SHIM_CHANNEL_STRIDE: Final = 8
SHIM_S2MM_STATUS: Final = 0x18570
SHIM_MM2S_STATUS: Final = 0x18580
"""Of MM2S0; MM2S1 is 4 above (aiebu's ``test/aie4-ctrlcode/compile_time`` waits there for what it started)."""
SHIM_S2MM_PER_HALF: Final = 1
SHIM_MM2S_PER_HALF: Final = 2
SHIM_S2MM: Final = 2
SHIM_MM2S: Final = 4
SHIM_LOCK_VALUE: Final = 0x10000
SHIM_LOCK_REQUEST: Final = 0x14000
SHIM_LOCKS: Final = 16
SHIM_ADDRESS_OFFSET: Final = 0x80000000
"""XRT adds this to every address it patches into a shim BD; the shim takes it off when the address is at or above it."""

LOCK_STRIDE: Final = 0x10
LOCK_REQUEST_STRIDE: Final = 0x400
LOCK_REQUEST_ACQUIRE: Final = 0x200
LOCK_MIN: Final = -64
LOCK_MAX: Final = 63

START_QUEUE_DEPTH: Final = 16
"""Tasks a channel holds besides the running one; aie-codegen ``StartQSizeMax``."""

# --- Stream switches: port numbers (aie-codegen Aie4*StrmSw*PortMap); switch.py has their registers -----------------------
SWITCH_PORTS: Final = 32
SWITCH_SLOTS: Final = 4
CORE_MASTER_DMA: Final = 2
CORE_MASTER_SOUTH: Final = (6, 7, 9, 10)
CORE_MASTER_NORTH: Final = 16
CORE_SLAVE_DMA: Final = 1
CORE_SLAVE_SOUTH: Final = 5
CORE_SLAVE_NORTH: Final = (17, 18, 20, 21)
MEM_MASTER_DMA: Final = 0
MEM_MASTER_SOUTH: Final = (10, 11, 13, 14)
MEM_MASTER_NORTH: Final = 16
MEM_SLAVE_DMA: Final = (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)
MEM_SLAVE_SOUTH: Final = (14, 15, 18, 19)
MEM_SLAVE_NORTH: Final = (22, 23, 25, 26)
SHIM_MASTER_DMA: Final = (0, 2)
"""1 and 3 are the halves' trace DMA."""
SHIM_MASTER_NORTH: Final = (16, 17, 19, 20)
SHIM_SLAVE_DMA: Final = 0
SHIM_SLAVE_NORTH: Final = 18
# Towards the neighbouring columns: shim and core tiles only, two ports each way.
SWITCH_LATERAL: Final = 2
CORE_MASTER_WEST: Final = 12
CORE_MASTER_EAST: Final = 24
CORE_SLAVE_WEST: Final = 13
CORE_SLAVE_EAST: Final = 23
SHIM_MASTER_WEST: Final = 12
SHIM_MASTER_EAST: Final = 22
SHIM_SLAVE_WEST: Final = 14
SHIM_SLAVE_EAST: Final = 22

SWITCH_MASTER = Words(
    "switch_master",
    1,
    [Bits("enable", 0, 31, 31), Bits("packet", 0, 30, 30), Bits("drop_header", 0, 7, 7), Bits("select", 0, 6, 0)],
    source=_AIEML,
)
"""``select`` is the slave port (circuit), or msel_mask << 3 | arbiter (packet)."""
SWITCH_SLAVE = Words("switch_slave", 1, [Bits("enable", 0, 31, 31), Bits("packet", 0, 30, 30)], source=_AIEML)
SWITCH_SLOT = Words(
    "switch_slot",
    1,
    [
        Bits("id", 0, 28, 24),
        Bits("mask", 0, 20, 16),
        Bits("enable", 0, 8, 8),
        Bits("msel", 0, 5, 4),
        Bits("arbiter", 0, 2, 0),
    ],
    source=_AIEML,
)
"""Each slave has :data:`SWITCH_SLOTS`; the first whose ``id == packet.id & mask`` routes the packet."""
PACKET_HEADER = Words(
    "stream_packet_header",
    1,
    [
        Bits("id", 0, 4, 0),
        Bits("out_of_order_id", 0, 9, 5, doc="BD that an out-of-order S2MM channel puts the packet in (place chosen)"),
        Bits("type", 0, 14, 12),
        Bits("row", 0, 20, 16),
        Bits("column", 0, 27, 21),
        Bits("parity", 0, 31, 31, doc="odd parity of the other bits"),
    ],
    source=_AIEML,
)

COUNTER_CONTROL = Words(
    "counter_control",
    1,
    [Bits("start", 0, 7, 0), Bits("stop", 0, 15, 8), Bits("second_start", 0, 23, 16), Bits("second_stop", 0, 31, 24)],
    source="aie-codegen Aie4TilePerfCnt: two counters a register, 16 bits each; places in the 16 bits as in AIE-ML",
)


class CoreEvent(IntEnum):
    """Events of a core that counters take (aie-codegen ``xaie_events_aie4.h``)."""

    ACTIVE = 55
    DISABLED = 56
    INSTRUCTION_0 = 62
    """EVENT 0 of a tile program; EVENT 1 to 5 follow."""
    INSTRUCTION_5 = 67


# --- Channels -----------------------------------------------------------------------------------------------------------
START_QUEUE = Words(
    "start_queue",
    1,
    [Bits("token", 0, 31, 31), Bits("repeat", 0, 27, 16), Bits("bd", 0, 3, 0)],
    source=_AIEML,
)
"""``repeat`` is the number of extra runs of the BD chain; ``token`` asks for a task-complete token at the task's end."""
CHANNEL_CONTROL = Words(
    "channel_control",
    1,
    [Bits("controller_id", 0, 15, 8), Bits("packet_type", 0, 18, 16), Bits("out_of_order", 0, 3, 3), Bits("reset", 0, 1, 1)],
    source=_AIEML,
)
CHANNEL_STATUS = Words(
    "channel_status",
    1,
    [
        Bits("status", 0, 1, 0, doc="0 idle, 1 starting, 2 running"),
        Bits("stalled_lock_acquire", 0, 2, 2),
        Bits("stalled_lock_release", 0, 3, 3),
        Bits("stalled_stream", 0, 4, 4),
        Bits("stalled_token", 0, 5, 5),
        Bits("error_bd_unavailable", 0, 10, 10),
        Bits("error_bd_invalid", 0, 11, 11),
        Bits("queue_overflow", 0, 18, 18),
        Bits("running", 0, 19, 19),
        Bits("queue_size", 0, 24, 20),
        Bits("current_bd", 0, 29, 26),
    ],
    source=_AIEML,
)

# Actor ids of WAIT_TCTS, by channel number (control-code facts, measured with aiebu-asm; gaps filled by the same rule).
SHIM_ACTOR_S2MM: Final = (0, 2)
SHIM_ACTOR_MM2S: Final = (6, 7, 8, 9)
SHIM_ACTOR_CTRL_MM2S: Final = (0x10, 0x11)
MEM_ACTOR_S2MM: Final = (0, 1, 2, 3, 4, 5, 6, 7)
MEM_ACTOR_MM2S: Final = (0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19)
CORE_ACTOR_S2MM: Final = (0, 1)
CORE_ACTOR_MM2S: Final = (6,)

# --- Buffer descriptors -------------------------------------------------------------------------------------------------
# Lengths, steps and addresses count 32-bit words. Steps and wraps are stored as they are (wrap 0 = the dimension takes all that
# is left), an iteration wrap less one, and there is no valid bit (aie-codegen's xaie_dma_aie4.c; so are the BDs that aiebu-asm
# itself adds for PREEMPT). A length counts words on the stream, so zero padding is part of it. Chains, iteration of shim BDs and
# mem tile locks are where AMD's control code has them (aiebu ``test/aie4-ctrlcode/compile_time``). Where nothing public names a
# position the field's place is chosen, or AIE-ML's.
SHIM_BD_WORDS = Words(
    "shim_bd",
    9,
    [
        Bits("address_high", 0, 24, 0),
        Bits("address_low", 1, 31, 0),
        Bits("length", 2, 31, 0),
        Bits("d1_wrap", 3, 11, 0),
        Bits("d2_wrap", 3, 23, 12),
        Bits("burst", 3, 25, 24),
        Bits("acquire_enable", 3, 26, 26),
        Bits("acquire_id", 3, 31, 27),
        Bits("acquire_value", 4, 6, 0, signed=True),
        Bits("release_id", 4, 11, 7),
        Bits("release_value", 4, 18, 12, signed=True),
        Bits("d0_wrap", 4, 30, 19),
        Bits("d1_step", 5, 21, 0),
        Bits("axi_qos", 5, 25, 22, doc="no effect here"),
        Bits("use_next_bd", 5, 26, 26),
        Bits("next_bd", 5, 30, 27),
        Bits("enable_packet", 5, 31, 31),
        Bits("d2_step", 6, 21, 0),
        Bits("iteration_current", 6, 27, 22),
        Bits("tlast_suppress", 6, 30, 30),
        Bits("iteration_step", 7, 21, 0),
        Bits("iteration_wrap", 7, 27, 22),
        Bits("axi_cache", 7, 31, 28, doc="no effect here"),
        Bits("packet_id", 8, 4, 0),
        Bits("out_of_order_id", 8, 9, 6),
        Bits("d3_step", 8, 31, 10),
    ],
    source=_REGISTERS,
)
MEM_BD_WORDS = Words(
    "mem_bd",
    11,
    [
        Bits("address", 0, 23, 0, doc="in words, from the DMA's address zero: the tile's own memory starts at MEM_WINDOW / 4"),
        Bits("length", 1, 24, 0),
        Bits("acquire_value", 1, 31, 25, signed=True),
        Bits("acquire_enable", 2, 0, 0),
        Bits("release_id", 2, 10, 1),
        Bits("release_value", 2, 17, 11, signed=True),
        Bits("acquire_id", 2, 29, 20),
        Bits("d1_step", 3, 21, 0),
        Bits("d2_step", 4, 21, 0),
        Bits("d3_step", 5, 21, 0),
        Bits("iteration_step", 6, 21, 0),
        Bits("tlast_suppress", 6, 31, 31),
        Bits("d0_pad_before", 7, 7, 0),
        Bits("d0_pad_after", 7, 15, 8),
        Bits("iteration_current", 7, 23, 16),
        Bits("packet_id", 7, 28, 24),
        Bits("enable_packet", 7, 31, 31),
        Bits("d1_pad_before", 8, 7, 0),
        Bits("d1_pad_after", 8, 15, 8),
        Bits("d2_pad_before", 8, 23, 16),
        Bits("d2_pad_after", 8, 31, 24),
        Bits("out_of_order_id", 9, 4, 0),
        Bits("d0_wrap", 9, 16, 5),
        Bits("d1_wrap", 9, 28, 17),
        Bits("d2_wrap", 10, 11, 0),
        Bits("iteration_wrap", 10, 19, 12),
        Bits("use_next_bd", 10, 26, 26),
        Bits("next_bd", 10, 30, 27),
    ],
    source=_REGISTERS,
)
CORE_BD_WORDS = Words(
    "core_bd",
    6,
    [
        Bits("length", 0, 15, 0),
        Bits("address", 0, 31, 16),
        Bits("packet_id", 1, 4, 0),
        Bits("packet_type", 1, 7, 5),
        Bits("enable_packet", 1, 8, 8),
        Bits("out_of_order_id", 1, 12, 9),
        Bits("d1_step", 2, 15, 0),
        Bits("d2_step", 3, 15, 0),
        Bits("d0_wrap", 3, 24, 16),
        Bits("iteration_current", 3, 30, 25),
        Bits("iteration_step", 4, 15, 0),
        Bits("d1_wrap", 4, 24, 16),
        Bits("iteration_wrap", 4, 30, 25),
        Bits("acquire_id", 5, 4, 0),
        Bits("acquire_value", 5, 11, 5, signed=True),
        Bits("acquire_enable", 5, 12, 12),
        Bits("release_id", 5, 17, 13),
        Bits("release_value", 5, 24, 18, signed=True),
        Bits("use_next_bd", 5, 26, 26),
        Bits("next_bd", 5, 30, 27),
        Bits("tlast_suppress", 5, 31, 31),
    ],
    source=_REGISTERS,
)
