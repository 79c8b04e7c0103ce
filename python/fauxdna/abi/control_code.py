"""The control-code instruction set of a CERT micro-controller, its pages, and its DMA descriptors.

Source: Xilinx/aiebu ``specification/aie2ps/isa-spec.yaml``, and measurement with Debian's aiebu-asm 2.25.
Operand offsets count bytes from the instruction's first byte; byte 0 is the opcode and byte 1 is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ._declare import Bits, Field, Struct, Words

_SOURCE = "aiebu isa-spec.yaml"

PAGE_SIZE: Final = 8192
PAGE_HEADER_SIZE: Final = 16
PAGE_MAGIC: Final = 0xFFFF
FILLER: Final = 0xA5
JOB_REGISTERS: Final = 8
SHARED_REGISTERS: Final = 16
LOCAL_BARRIERS: Final = 16
UC_PER_COLUMN: Final = 2
MAX_UC: Final = 6
NO_ARGUMENT_OFFSET: Final = 0xFFFF
REMOTE_BARRIER_BASE: Final = 1
"""REMOTE_BARRIER's id counts from rb0 = 1."""
REMOTE_BARRIERS: Final = 64
REMOTE_BARRIER_PREEMPT: Final = 0
"""Chosen: the id of the barrier that ends a conditional job; no program can name it."""
REMOTE_BARRIER_POINT: Final = REMOTE_BARRIER_BASE + REMOTE_BARRIERS
"""Chosen: the id of the barriers within PREEMPT; no program can name it."""
WRITE_ADDRESS_IMMEDIATE: Final = 1 << 0
"""WRITE_32_D's flag: the address is immediate, else a register's number."""
WRITE_VALUE_IMMEDIATE: Final = 1 << 1
UC_DMA_QUEUE_DEPTH: Final = 16
"""Chosen: transfers a micro-controller's DMA holds, the running one included."""
NESTING_MAX: Final = 4
"""Chosen: how deep LOAD_PDI, LOAD_CORES and PREEMPT may nest."""
PAGES_MAX: Final = 1 << 16
"""Chosen: pages one EXEC_BUF may run on one micro-controller, nested ones included."""
START_QUEUE_MAX: Final = 32
"""Chosen: EXEC_BUFs waiting on one micro-controller."""

PAGE_HEADER = Struct(
    "page_header",
    PAGE_HEADER_SIZE,
    [
        Field("magic", "u16"),
        Field("page", "u16"),
        Field("out_of_order_length_1", "u16"),
        Field("out_of_order_length_2", "u16"),
        Field("length", "u16", doc="bytes of this page in use, header included"),
        Field("next_length", "u16", doc="length of the next page in order; 0 on the last"),
        Field("reserved", "u32"),
    ],
    source=_SOURCE,
)

UC_BD = Words(
    "uc_bd",
    4,
    [
        Bits("length", 0, 14, 0, doc="in words"),
        Bits("next_bd", 0, 16, 16),
        Bits("external", 0, 17, 17),
        Bits("local_relative", 0, 18, 18),
        Bits("local", 1, 31, 0, doc="bytes from this BD to the data"),
        Bits("remote_low", 2, 31, 0),
        Bits("remote_high", 3, 31, 0),
    ],
    source=_SOURCE,
)


class Opcode(IntEnum):
    """Control-code opcodes."""

    START_JOB = 0x00
    UC_DMA_WRITE_DES = 0x01
    WAIT_UC_DMA = 0x02
    MASK_WRITE_32 = 0x03
    LOAD_CORES = 0x04
    WRITE_32 = 0x05
    WAIT_TCTS = 0x06
    END_JOB = 0x07
    YIELD = 0x08
    UC_DMA_WRITE_DES_SYNC = 0x09
    WRITE_32_D = 0x0B
    READ_32 = 0x0C
    READ_32_D = 0x0D
    APPLY_OFFSET_57 = 0x0E
    ADD = 0x0F
    MOV = 0x10
    LOCAL_BARRIER = 0x11
    REMOTE_BARRIER = 0x12
    POLL_32 = 0x13
    MASK_POLL_32 = 0x14
    TRACE = 0x15
    NOP = 0x16
    START_JOB_DEFERRED = 0x17
    LAUNCH_JOB = 0x18
    PREEMPT = 0x19
    LOAD_PDI = 0x1A
    LOAD_LAST_PDI = 0x1B
    SAVE_TIMESTAMPS = 0x1C
    SLEEP = 0x1D
    SAVE_REGISTER = 0x1E
    START_COND_JOB_PREEMPT = 0x1F
    LOAD_CORES_CP = 0x20
    REL_ACQ_SYNC = 0x21
    UC_DMA_MASK_POLL_EXT = 0x22
    APPLY_OFFSET_PL = 0x23
    EOF = 0xFF


@dataclass(frozen=True)
class Operand:
    """One operand: ``size`` bytes at byte ``offset``."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Operation:
    """Form of one control-code instruction."""

    opcode: Opcode
    size: int
    operands: tuple[Operand, ...] = ()


def _operation(opcode: Opcode, size: int, *operands: tuple[str, int, int]) -> Operation:
    return Operation(opcode, size, tuple(Operand(*operand) for operand in operands))


_JOB = (("job", 2, 2), ("size", 4, 2))

OPERATIONS: Final = {
    operation.opcode: operation
    for operation in (
        _operation(Opcode.START_JOB, 8, *_JOB),
        _operation(Opcode.START_JOB_DEFERRED, 8, *_JOB),
        _operation(Opcode.START_COND_JOB_PREEMPT, 8, *_JOB),
        _operation(Opcode.LAUNCH_JOB, 4, ("job", 2, 2)),
        _operation(Opcode.END_JOB, 4),
        _operation(Opcode.EOF, 4),
        _operation(Opcode.YIELD, 4),
        _operation(Opcode.NOP, 4),
        _operation(Opcode.UC_DMA_WRITE_DES, 8, ("register", 2, 1), ("bd", 4, 2)),
        _operation(Opcode.WAIT_UC_DMA, 4, ("register", 2, 1)),
        _operation(Opcode.UC_DMA_WRITE_DES_SYNC, 4, ("bd", 2, 2)),
        _operation(Opcode.WRITE_32, 12, ("address", 4, 4), ("value", 8, 4)),
        _operation(Opcode.MASK_WRITE_32, 16, ("address", 4, 4), ("mask", 8, 4), ("value", 12, 4)),
        _operation(Opcode.WRITE_32_D, 12, ("flags", 2, 1), ("address", 4, 4), ("value", 8, 4)),
        _operation(Opcode.READ_32, 8, ("register", 2, 1), ("address", 4, 4)),
        _operation(Opcode.READ_32_D, 4, ("address_register", 2, 1), ("register", 3, 1)),
        _operation(Opcode.ADD, 8, ("register", 2, 1), ("value", 4, 4)),
        _operation(Opcode.MOV, 8, ("register", 2, 1), ("value", 4, 4)),
        _operation(Opcode.LOCAL_BARRIER, 4, ("id", 2, 1), ("count", 3, 1)),
        _operation(Opcode.REMOTE_BARRIER, 8, ("id", 2, 1), ("mask", 4, 4)),
        _operation(Opcode.POLL_32, 12, ("address", 4, 4), ("value", 8, 4)),
        _operation(Opcode.MASK_POLL_32, 16, ("address", 4, 4), ("mask", 8, 4), ("value", 12, 4)),
        _operation(Opcode.WAIT_TCTS, 8, ("tile", 2, 2), ("actor", 4, 1), ("count", 6, 1)),
        _operation(Opcode.APPLY_OFFSET_57, 8, ("table", 2, 2), ("count", 4, 2), ("offset", 6, 2)),
        _operation(Opcode.PREEMPT, 8, ("id", 2, 2), ("save_page", 4, 2), ("restore_page", 6, 2)),
        _operation(Opcode.LOAD_PDI, 12, ("pdi", 4, 4), ("page", 8, 2)),
        _operation(Opcode.LOAD_CORES, 12, ("id", 4, 4), ("page", 8, 2)),
        _operation(Opcode.LOAD_CORES_CP, 8, ("id", 4, 4)),
        _operation(Opcode.LOAD_LAST_PDI, 4),
        _operation(Opcode.SAVE_TIMESTAMPS, 8, ("id", 4, 4)),
        _operation(Opcode.SAVE_REGISTER, 12, ("address", 4, 4), ("id", 8, 4)),
        _operation(Opcode.SLEEP, 8, ("microseconds", 4, 4)),
        _operation(Opcode.TRACE, 4, ("info", 2, 2)),
        _operation(Opcode.REL_ACQ_SYNC, 12, ("release", 4, 4), ("acquire", 8, 4)),
        # The last two are in the opcode list only (aiebu-asm rejects both): operands and meaning are chosen.
        _operation(
            Opcode.UC_DMA_MASK_POLL_EXT,
            20,
            ("address_low", 4, 4),
            ("address_high", 8, 4),
            ("mask", 12, 4),
            ("value", 16, 4),
        ),
        _operation(Opcode.APPLY_OFFSET_PL, 8, ("table", 2, 2), ("count", 4, 2), ("offset", 6, 2)),
    )
}


class DtraceKind(IntEnum):
    """What a :data:`DTRACE_RECORD` tells."""

    TIMESTAMP = 0
    """SAVE_TIMESTAMPS; value is the simulated clock in cycles."""
    REGISTER = 1
    """SAVE_REGISTER; value is the register's."""
    TRACE = 2
    """TRACE; id is its operand, value the simulated clock in cycles."""


DTRACE_MAGIC: Final = 0x41544446
"""``FDTA``: without it at its start a trace buffer is left alone (its real format is not public)."""
DTRACE_HEADER = Struct(
    "dtrace_header",
    16,
    [
        Field("magic", "u32"),
        Field("capacity", "u32", doc="records the host made room for"),
        Field("count", "u32", doc="records written; records past capacity are dropped"),
        Field("reserved", "u32"),
    ],
    source="chosen",
)
DTRACE_RECORD = Struct(
    "dtrace_record",
    16,
    [Field("kind", "u16", doc="DtraceKind"), Field("uc", "u16"), Field("id", "u32"), Field("value", "u64")],
    source="chosen",
)


SAVED_REGISTER = Struct(
    "saved_register",
    8,
    [Field("id", "u32"), Field("value", "u32")],
    source="XRT TestGemm.cpp: a debug buffer holds pairs of number and cycle count",
)
"""What SAVE_REGISTER leaves in the debug buffer of a context's micro-controller; a packet's first at its start (chosen)."""


class Relocation(IntEnum):
    """ELF relocation schemas: how an argument's address is patched in."""

    UC_DMA_REMOTE_POINTER = 1
    SHIM_DMA_57 = 2
    SCALAR_32 = 3
    CONTROL_PACKET_48 = 4
    SHIM_DMA_48 = 5
    SHIM_DMA_57_AIE4 = 6
    CONTROL_PACKET_57 = 7
    ADDRESS_64 = 8
    CONTROL_PACKET_57_AIE4 = 9
