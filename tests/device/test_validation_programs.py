"""The test programs of ``fauxdna smi validate-archive``: what they compute, what they count, and the archive they lie in."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from _doors import HandMadeQueue
from test_cli import as_json, fauxdna
from test_uc_log import ASSIGN, DEBUG, allocate, describe, run

from fauxdna.abi import array, timing, uapi_next
from fauxdna.abi.uapi_next import Level, NextArray
from fauxdna.accel.machine import Machine
from fauxdna.artifact import archive, elf
from fauxdna.compiler import validation
from fauxdna.firmware import image_loader
from fauxdna.serve import LocalDie

CORES = 12


def test_the_product_is_computed_and_counted() -> None:
    """2 * 64 * 128 * 128 operations a core, which XRT takes for granted; 512 multiply-accumulates a cycle are AMD's figure."""
    assert 2 * validation.ROWS * validation.INNER * validation.COLUMNS == 2_097_152
    with (
        LocalDie() as die,
        Machine(die, image_loader(), kick_fd=die.kick_fd) as machine,
        machine.open(level=Level.NEXT) as file,
    ):
        queue = HandMadeQueue(file, padded=True, tiles=CORES)
        kernel = elf.parse(validation.gemm()).kernel("DPU")
        _, _, code = allocate(file, kernel.code)
        debug, mapping, _ = allocate(file, b"", 4096)
        file.config_hwctx(queue.handle, ASSIGN, describe(file, DEBUG, debug, [(0, 8 * CORES)]))
        for _ in range(2):
            mapping.memory[: 8 * CORES] = bytes(8 * CORES)
            assert run(file, queue, code) == 4
            pairs = list(struct.iter_unpack("<2I", mapping.memory[: 8 * CORES]))
            # From one event to the next: the event itself, and the product.
            cycles = 64 * 128 * 128 // 512 + 2 * timing.INSTRUCTION_CYCLES
            assert pairs == [(core, cycles) for core in range(CORES)]
        size = 4 * validation.ROWS * validation.COLUMNS
        for column in range(array.COLUMNS):
            for row in range(array.CORE_ROWS):
                request = uapi_next.AIE_TILE_ACCESS.pack(
                    pid=os.getpid(), context_id=queue.handle, col=column, row=2 + row, addr=validation.C, size=size, type=1
                )
                _, _, data = file.get_array(NextArray.AIE_TILE_READ, size + len(request), 1, request)
                assert (np.frombuffer(data, "<i4") == 128 * 3 * -2).all()


def test_binutils_reads_the_archive(tmp_path: Path) -> None:
    if shutil.which("ar") is None:
        pytest.skip("ar is not installed (apt install binutils)")
    members = {"a": b"1", "fifteen-letters": b"22", "a-name-of-more-than-15-letters.json": b"333", "another-such-name.json": b""}
    (tmp_path / "x.a").write_bytes(archive.write(members))
    listed = subprocess.run(["ar", "t", "x.a"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert listed == list(members)
    for name, data in members.items():
        assert subprocess.run(["ar", "p", "x.a", name], cwd=tmp_path, capture_output=True, check=True).stdout == data


def test_the_command_leaves_another_archive_alone(tmp_path: Path) -> None:
    path = tmp_path / "amdxdna/bins/xrt_smi_npu3.a"
    assert as_json("smi", "validate-archive", tmp_path) == {"archive": str(path)}
    assert path.read_bytes() == validation.build()
    path.write_bytes(path.read_bytes() + b"an older version's")
    fauxdna("smi", "validate-archive", tmp_path)
    assert path.read_bytes() == validation.build()
    path.write_bytes(archive.write({"nop.elf": b"AMD's"}))
    assert "is another archive" in fauxdna("smi", "validate-archive", tmp_path, status=1).stderr
    assert path.read_bytes() == archive.write({"nop.elf": b"AMD's"})
