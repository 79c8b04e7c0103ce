"""AMD's own aiebu-dump reads what we compile and sees the operations that our disassembler sees; we read what aiebu-asm makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from _trixie import TrixieRoot, our_operations

from fauxdna.abi.tile_program import ElementType
from fauxdna.artifact import elf
from fauxdna.compiler import codegen, ir
from fauxdna.compiler.disassemble import disassemble, operations
from fauxdna.compiler.ir import Layout, OutputStage, Tensor

pytestmark = pytest.mark.trixie


def generated() -> bytes:
    """A few layers on three columns, with weights, windows and passes."""
    rng = np.random.default_rng(0)
    x = Tensor("x", 40, 60, 8, ElementType.F32, Layout.PLANES)
    a, b, c = (Tensor(name, 40, 60, n, ElementType.U8) for name, n in (("a", 8), ("b", 24), ("c", 240)))
    y = Tensor("y", 40, 60, 240, ElementType.F32, Layout.PLANES)
    stage = OutputStage(np.array([0.001], np.float32), 128, 0, 255)

    def weights(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
        return rng.integers(-128, 128, shape).astype(np.int8)

    layers = (
        ir.Convert("in", (x,), a),
        ir.Conv("one", (a,), b, weights=weights(24, 8, 1, 1), stage=stage),
        ir.Conv("three", (b,), c, weights=weights(240, 24, 3, 3), stage=stage, pads=(1, 1, 1, 1)),
        ir.Convert("out", (c,), y),
    )
    return codegen.generate(ir.Segment("net", (x,), (y,), layers)).elf


def test_aiebu_dump_sees_the_same_operations(trixie_root: TrixieRoot, tmp_path: Path) -> None:
    image = generated()
    ours = our_operations(image)
    assert trixie_root.operations(image, tmp_path) == ours
    assert len(ours) > 100
    listed = " ".join(disassemble(image))
    assert all(listed.count(f" {name} ") >= ours.count(name) for name in ("WRITE_32", "WAIT_TCTS"))


@pytest.mark.parametrize("merged", [False, True])
def test_we_read_what_aiebu_asm_makes(trixie_root: TrixieRoot, tmp_path: Path, merged: bool) -> None:
    target = ".target aie4\n.aie_row_topology 1-1-4-0\n.partition 3column\n" if merged else ""
    source = "START_JOB 0\nuC_DMA_WRITE_DES_SYNC @bd0\nEND_JOB\nSTART_JOB 1\nAPPLY_OFFSET_57 @data0, 1, 2\nEND_JOB\nEOF\n"
    data = ".align 16\nbd0:\n UC_DMA_BD 0, 0x18000, @data0, 9, 0, 0\n.align 4\ndata0:\n" + " .long 0x01\n" * 9
    (tmp_path / "k.asm").write_text(target + ".attach_to_group 0\n" + source + data)
    argument = {"name": "a", "type": "char *", "offset": "0x0"}
    instance = [{"id": "inst0", "ctrl_code_file": "k.asm"}]
    kernels = [{"name": "DPU", "arguments": [argument] * 2, "instance": instance}]
    (tmp_path / "config.json").write_text(json.dumps({"xrt-kernels": kernels}))
    command = ["aiebu-asm", "-t", "aie4_config", "-j", "config.json", "-o", "k.elf", "-f", "disabledump"]
    done = trixie_root.run(*command, folder=tmp_path)
    assert (tmp_path / "k.elf").exists(), done.stdout + done.stderr
    kernel = elf.parse((tmp_path / "k.elf").read_bytes()).kernel("DPU:inst0")
    assert kernel.arguments == 2
    assert [(part.uc, part.offset) for part in kernel.ranges] == [(0, 0)]
    names = [op.name for _, op, _ in operations(kernel.code)]
    jobs = "START_JOB UC_DMA_WRITE_DES_SYNC END_JOB START_JOB APPLY_OFFSET_57 END_JOB EOF"
    assert names == jobs.split()
    # The patched words are those of data0: nine words of 1.
    (patch,) = kernel.patches["2"]
    assert kernel.code[patch.offset : patch.offset + 36] == (1).to_bytes(4, "little") * 9
