"""Tile programs, run by a few lines of Python: loops change their size and nothing else."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from fauxdna.abi.tile_program import FILL, INSTRUCTION, LOOP_DEPTH, Opcode
from fauxdna.compiler.tile_code import CoreLayout, Region, Step, program

LAYOUT = CoreLayout((0, 0), (512, 512), 1024, 2048)


def trace(code: bytes) -> list[tuple[Opcode, int]]:
    """Instructions in the order in which a core does them, loops apart, with the first byte of their descriptors."""
    words = struct.unpack(f"<{len(code) // 4}I", code)
    done: list[tuple[Opcode, int]] = []
    loops: list[tuple[int, int]] = []
    at = 0
    while True:
        fields = INSTRUCTION.decode([words[at]])
        opcode = Opcode(fields.opcode)
        following = at + fields.length
        if opcode is Opcode.HALT:
            return done
        if opcode is Opcode.LOOP:
            loops.append((following, words[at + 1]))
            assert len(loops) <= LOOP_DEPTH
        elif opcode is Opcode.END_LOOP:
            start, left = loops.pop()
            if left > 1:
                loops.append((start, left - 1))
                following = start
        else:
            done.append((opcode, words[fields.argument] if fields.argument else 0))
        at = following


def steps(kind: int) -> tuple[Step, ...]:
    """A job that can be told from others."""
    return (Step(Opcode.FILL, FILL.pack(rows=kind + 1, row_bytes=4, pitch=4), ((Region.INPUT, 0),)),)


@given(st.lists(st.lists(st.integers(0, 2), max_size=40), min_size=1, max_size=3), st.integers(1, 5))
def test_loops_do_what_the_jobs_say(passes: list[list[int]], times: int) -> None:
    jobs = [kinds * times for kinds in passes]
    code = program([[steps(kind) for kind in kinds] for kinds in jobs], LAYOUT, parameters=False)
    fills = [value for opcode, value in trace(code) if opcode is Opcode.FILL]
    assert fills == [kind + 1 for kinds in jobs for kind in kinds]


def test_rows_of_a_large_image_take_little_program() -> None:
    row = [0, 1, 1, 1, 1, 2]
    code = program([[steps(kind) for kind in row * 400]], LAYOUT, parameters=True)
    assert len(code) < 1000
