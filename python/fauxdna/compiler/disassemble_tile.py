"""Tile programs and register writes as text."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..abi import array
from ..abi.tile_program import INSTRUCTION, OPERAND, OPERATIONS, Opcode

_KNOWN = {int(opcode): opcode for opcode in OPERATIONS}


def tile_program(program: bytes) -> Iterator[str]:
    """The instructions of a program, up to its HALT outside loops; descriptors as their fields that are not zero."""
    words = struct.unpack(f"<{len(program) // 4}I", program[: len(program) // 4 * 4])
    at, depth = 0, 0
    while at < len(words):
        fields = INSTRUCTION.decode([words[at]])
        opcode = _KNOWN.get(fields.opcode)
        if opcode is None or fields.length == 0 or at + fields.length > len(words):
            yield f"{at:#06x} .word {words[at]:#010x}"
            return
        depth -= opcode is Opcode.END_LOOP
        form, operands = OPERATIONS[opcode], words[at + 1 : at + fields.length]
        names = (*form.words, *form.addresses)
        text = [
            f"{name} {_operand(value) if index >= len(form.words) else _signed(value)}"
            for index, (name, value) in enumerate(zip(names, operands, strict=False))
        ]
        yield f"{at:#06x} {'  ' * depth}{opcode.name} {', '.join(text)}".rstrip()
        if form.descriptor is not None:
            yield f"       {'  ' * depth}{_descriptor(opcode, program, 4 * fields.argument)}"
        if opcode is Opcode.HALT:
            return
        depth += opcode is Opcode.LOOP
        at += fields.length


def _operand(value: int) -> str:
    fields = OPERAND.decode([value])
    return f"r{fields.base}+{fields.offset:#x}" if fields.base else f"{fields.offset:#x}"


def _signed(value: int) -> str:
    return str(value - (1 << 32) if value >> 31 else value)


def _descriptor(opcode: Opcode, program: bytes, at: int) -> str:
    form = OPERATIONS[opcode].descriptor
    assert form is not None
    if at + form.size > len(program):
        return f"{form.name} at {at:#x}: beyond the program"
    fields = form.unpack(program, at)
    text = ", ".join(f"{name} {value}" for name, value in fields.items() if value not in (0, (0,)))
    return f"{form.name}: {text}"


def describe_write(address: int, value: int) -> str:
    """What a single register write does, as far as this device's registers have names."""
    column, row = address >> array.COLUMN_SHIFT, address >> array.ROW_SHIFT & 31
    offset = address & (1 << array.ROW_SHIFT) - 1
    return f"column {column} row {row} {_register(row, offset, value)}".rstrip()


def _task(channel: str, value: int) -> str:
    fields = array.START_QUEUE.decode([value])
    token = ", token" if fields.token else ""
    return f"{channel} task: BD {fields.bd}, {fields.repeat + 1} runs{token}"


def _register(row: int, offset: int, value: int) -> str:
    half, inner = divmod(offset, array.HALF_STRIDE)
    if row == array.SHIM_ROW:
        starts = [
            (array.SHIM_S2MM_START, array.SHIM_S2MM_PER_HALF, "S2MM"),
            (array.SHIM_MM2S_START, array.SHIM_MM2S_PER_HALF, "MM2S"),
        ]
        locks, count = array.SHIM_LOCK_VALUE, array.SHIM_LOCKS
    elif row == array.MEM_ROW:
        starts = [
            (array.MEM_S2MM_START, array.MEM_S2MM_PER_HALF, "S2MM"),
            (array.MEM_MM2S_START, array.MEM_MM2S_PER_HALF, "MM2S"),
        ]
        locks, count = array.MEM_LOCK_VALUE, array.MEM_LOCKS_PER_HALF
    else:
        half, inner = 0, offset
        first = array.CORE_CHANNEL_CONTROL + 4
        starts = [(first, array.CORE_S2MM, "S2MM"), (first + 8 * array.CORE_S2MM, array.CORE_MM2S, "MM2S")]
        locks, count = array.CORE_LOCK_VALUE, array.CORE_LOCKS
        if offset == array.CORE_CONTROL:
            return "core enabled" if value & array.CORE_CONTROL_ENABLE else "core control"
    for start, channels, name in starts:
        index, rest = divmod(inner - start, 8)
        if rest == 0 and 0 <= index < channels:
            return _task(f"{name}{half * channels + index}", value)
    index, rest = divmod(inner - locks, array.LOCK_STRIDE)
    if rest == 0 and 0 <= index < count:
        return f"lock {half * count + index} = {_signed(value)}"
    return ""
