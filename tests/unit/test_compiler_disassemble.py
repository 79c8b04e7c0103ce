"""The disassembler on an ELF of ours, and on damaged ones."""

from __future__ import annotations

import contextlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fauxdna.abi.tile_program import ElementType
from fauxdna.artifact.elf import ElfError
from fauxdna.compiler import codegen, ir
from fauxdna.compiler.disassemble import disassemble
from fauxdna.compiler.ir import Layout, OutputStage, Tensor

X = Tensor("x", 9, 12, 4, ElementType.F32, Layout.PLANES)
A, B = Tensor("a", 9, 12, 4, ElementType.U8), Tensor("b", 9, 12, 20, ElementType.U8)
Y = Tensor("y", 9, 12, 20, ElementType.F32, Layout.PLANES)
WEIGHTS = np.arange(20 * 4 * 9, dtype=np.uint8).view(np.int8).reshape(20, 4, 3, 3)
STAGE = OutputStage(np.array([0.01], np.float32), 128, 0, 255)
LAYERS = (
    ir.Convert("in", (X,), A),
    ir.Conv("conv", (A,), B, weights=WEIGHTS, stage=STAGE, pads=(1, 1, 1, 1)),
    ir.Convert("out", (B,), Y),
)
IMAGE = codegen.generate(ir.Segment("net", (X,), (Y,), LAYERS), columns=1).elf


def test_control_code_descriptors_and_tile_programs_are_named() -> None:
    text = "\n".join(disassemble(IMAGE))
    for part in (
        ".kernel DPU:inst0 (3 arguments)",
        ".constant .ctrlpkt-weights",
        "TRACE info 0x1",
        "core enabled",
        "patched with 0",
        "CONV2D input r1+",
        "tile_conv2d: out_height",
        "shim_bd: ",
        "lock 4 = 0",
    ):
        assert part in text, part
    # 9 rows with one of padding on each side: the first job fills above, the last below.
    assert text.count("FILL output") >= 2


@given(st.lists(st.tuples(st.integers(0, len(IMAGE) - 1), st.integers(0, 255)), min_size=1, max_size=5))
def test_damaged_elfs_give_text_or_a_named_error(edits: list[tuple[int, int]]) -> None:
    damaged = bytearray(IMAGE)
    for at, value in edits:
        damaged[at] = value
    with contextlib.suppress(ElfError):
        assert all(isinstance(line, str) for line in disassemble(bytes(damaged)))
