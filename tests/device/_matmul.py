"""An int8 matrix product in assembly for AMD's aiebu-asm: one column, one core, no compiler of ours.

``data/matmul.asm`` is what :func:`assembly` gives, and ``data/matmul.elf`` is what Debian's aiebu-asm 2.25 made of it, by
``aiebu-asm -t aie4_config -j matmul.json -o matmul.elf -f disabledump``.

A (M, K) and B (K, N) stream through shim MM2S0 and the mem tile's switch to the first core; the core packs B, multiplies, and
streams C (M, N) int32 back. A lock counts the matrices that came in, another says that C is there.
"""

from __future__ import annotations

import struct
from pathlib import Path

from fauxdna.abi import array, tile_program
from fauxdna.abi.array import CORE_BD_WORDS, SHIM_BD_WORDS, START_QUEUE, SWITCH_MASTER, SWITCH_SLAVE, TileKind
from fauxdna.abi.switch import SWITCHES
from fauxdna.abi.tile_program import Opcode

DATA = Path(__file__).parent / "data"
M, K, N = 32, 64, 32
A_AT, B_AT, PACKED_AT, C_AT = 0x0, 0x1000, 0x2000, 0x4000
"""Where the core keeps them in its data memory."""
FULL, DONE = 0, 1
"""The core's locks."""


def _core(offset: int) -> int:
    return array.tile_address(0, array.FIRST_CORE_ROW, offset)


def _instruction(opcode: Opcode, *words: int, descriptor: int = 0) -> list[int]:
    head = tile_program.INSTRUCTION.encode(opcode=int(opcode), length=1 + len(words), argument=descriptor)[0]
    return [head, *(word & 0xFFFFFFFF for word in words)]


def _tile_program() -> list[int]:
    pack = tile_program.PACK.pack(inner=K, outer=N, in_pitch=N)
    product = tile_program.CONV2D.pack(
        out_height=1,
        out_width=M,
        out_channels=N,
        in_channels=K,
        kernel_height=1,
        kernel_width=1,
        stride_height=1,
        stride_width=1,
        dilation_height=1,
        dilation_width=1,
        in_row_pitch=M * K,
        in_pixel_pitch=K,
        out_row_pitch=4 * M * N,
        out_pixel_pitch=4 * N,
        in_type=tile_program.ElementType.S8,
        out_type=tile_program.ElementType.S32,
        clamp_low=-(1 << 31),
        clamp_high=(1 << 31) - 1,
    )
    code: list[int] = []
    for length in (0, 1):
        at = len(code) * length
        code = [
            *_instruction(Opcode.ACQUIRE, FULL, -2),
            *_instruction(Opcode.PACK, B_AT, PACKED_AT, descriptor=at),
            *_instruction(Opcode.CONV2D, A_AT, PACKED_AT, 0, C_AT, descriptor=at + len(pack) // 4),
            *_instruction(Opcode.RELEASE, DONE, 1),
            *_instruction(Opcode.HALT),
        ]
    return [*code, *struct.unpack(f"<{(len(pack) + len(product)) // 4}I", pack + product)]


def _routes() -> list[tuple[int, int]]:
    switches = ((array.SHIM_ROW, TileKind.SHIM), (array.MEM_ROW, TileKind.MEM), (array.FIRST_CORE_ROW, TileKind.CORE))
    ports = (
        ((array.SHIM_MASTER_NORTH[0], array.SHIM_SLAVE_DMA), (array.SHIM_MASTER_DMA[0], array.SHIM_SLAVE_NORTH)),
        ((array.MEM_MASTER_NORTH, array.MEM_SLAVE_SOUTH[0]), (array.MEM_MASTER_SOUTH[0], array.MEM_SLAVE_NORTH[0])),
        ((array.CORE_MASTER_DMA, array.CORE_SLAVE_SOUTH), (array.CORE_MASTER_SOUTH[0], array.CORE_SLAVE_DMA)),
    )
    writes = []
    for (row, kind), pairs in zip(switches, ports, strict=True):
        switch = SWITCHES[kind]
        for master, slave in pairs:
            writes.append((array.tile_address(0, row, switch.master(master)), SWITCH_MASTER.encode(enable=1, select=slave)[0]))
            writes.append((array.tile_address(0, row, switch.slave(slave)), SWITCH_SLAVE.encode(enable=1)[0]))
    return writes


def assembly() -> str:
    """The text of ``matmul.asm``."""
    program = _tile_program()
    tables = [("shim_a", SHIM_BD_WORDS.encode(length=M * K // 4))]
    tables += [("shim_b", SHIM_BD_WORDS.encode(length=K * N // 4))]
    tables += [("shim_c", SHIM_BD_WORDS.encode(length=M * N))]
    arrival = {"release_id": FULL, "release_value": 1}
    tables += [
        ("core_a", CORE_BD_WORDS.encode(address=A_AT // 4, length=M * K // 4, use_next_bd=1, next_bd=1, **arrival)),
        ("core_b", CORE_BD_WORDS.encode(address=B_AT // 4, length=K * N // 4, **arrival)),
        (
            "core_c",
            CORE_BD_WORDS.encode(address=C_AT // 4, length=M * N, acquire_enable=1, acquire_id=DONE, acquire_value=-1),
        ),
    ]
    places = [array.tile_address(0, array.SHIM_ROW, array.SHIM_BD + bd * array.SHIM_BD_STRIDE) for bd in range(3)]
    places += [_core(array.CORE_BD + bd * array.CORE_BD_STRIDE) for bd in range(3)]
    first = [*_routes(), *((_core(array.CORE_LOCK_VALUE + lock * array.LOCK_STRIDE), 0) for lock in (FULL, DONE))]
    starts = [
        (_core(array.CORE_CHANNEL_CONTROL + 4), START_QUEUE.encode(bd=0)[0]),
        (_core(array.CORE_CHANNEL_CONTROL + 0x14), START_QUEUE.encode(bd=2)[0]),
        (array.SHIM_S2MM_START, START_QUEUE.encode(bd=2, token=1)[0]),
        (_core(array.CORE_CONTROL), array.CORE_CONTROL_ENABLE),
        (array.SHIM_MM2S_START, START_QUEUE.encode(bd=0)[0]),
        (array.SHIM_MM2S_START, START_QUEUE.encode(bd=1)[0]),
    ]
    lines = [".target aie4", ".aie_row_topology 1-1-4-0", ".partition 1column", ".attach_to_group 0", "START_JOB 0"]
    lines += [f"  WRITE_32 {address:#x}, {value:#x}" for address, value in first]
    lines += ["  UC_DMA_WRITE_DES_SYNC @load_program"]
    lines += [f"  APPLY_OFFSET_57 @{name}, 1, {argument}" for argument, (name, _) in enumerate(tables[:3])]
    lines += ["  UC_DMA_WRITE_DES_SYNC @load_bds"]
    lines += [f"  WRITE_32 {address:#x}, {value:#x}" for address, value in starts]
    lines += ["  WAIT_TCTS TILE_0_0, SHIM_S2MM_0, 1", "END_JOB", "EOF", ".align 16"]
    lines += ["load_program:", f"  UC_DMA_BD 0, {_core(array.CORE_PROGRAM):#x}, @program, {len(program)}, 0, 0", "load_bds:"]
    for place, (name, words) in zip(places, tables, strict=True):
        lines.append(f"  UC_DMA_BD 0, {place:#x}, @{name}, {len(words)}, 0, {int(name != tables[-1][0])}")
    lines.append(".align 4")
    for name, words in (("program", tuple(program)), *tables):
        lines += [f"{name}:", *(f"  .long {word:#010x}" for word in words)]
    return "\n".join([*lines, ".eop", ""])


CONFIGURATION = {
    "xrt-kernels": [
        {
            "name": "matmul",
            "arguments": [{"name": name, "type": "char *", "offset": hex(8 * i)} for i, name in enumerate("abc")],
            "instance": [{"id": "int8", "ctrl_code_file": "matmul.asm"}],
        }
    ]
}
"""What ``matmul.json`` holds."""
