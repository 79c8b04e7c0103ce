"""Shim tasks against a plain enumeration of the bytes that jobs need, and control code against its page limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fauxdna.abi import control_code as abi
from fauxdna.compiler.control_code import ControlCode, Patch, Transfer, write
from fauxdna.compiler.disassemble import operations
from fauxdna.compiler.errors import CompileError
from fauxdna.compiler.patterns import Dimension, Operand, ShimTask, interleaved_tasks, job_tasks

small = st.integers(1, 5)


def visited(task: ShimTask) -> list[int]:
    """Word addresses in the order in which a shim DMA visits them, from the meaning of a BD's fields."""
    words = []
    for run in range(task.runs):
        at = task.address // 4 + run % task.iterations * task.iteration_step
        wraps = [wrap or 1 << 40 for wrap in task.wraps]
        for index in range(task.length):
            index, d0 = divmod(index, wraps[0])
            index, d1 = divmod(index, wraps[1])
            d3, d2 = divmod(index, wraps[2])
            words.append(at + d0 + d1 * task.steps[0] + d2 * task.steps[1] + d3 * task.steps[2])
    return words


def needed(operand: Operand, y: int, x: int, offset: int) -> list[int]:
    """Word addresses of one job, run after run."""
    start = operand.offset + y * operand.step_y + x * operand.step_x + offset
    ranges = [range(0, d.count * d.step, d.step) if d.step else [0] * d.count for d in reversed(operand.window)]
    starts = [start + sum(steps) for steps in itertools.product(*ranges)]
    return [(at + byte) // 4 for at in starts for byte in range(0, operand.run, 4)]


@given(small, small, small, small, small, st.lists(st.integers(0, 40), min_size=1, max_size=4), st.booleans())
def test_tasks_visit_what_jobs_need(
    run: int, columns: int, rows: int, tiles_y: int, tiles_x: int, passes: list[int], by_columns: bool
) -> None:
    pitch = 4 * run + 8
    row = 4096
    window = (Dimension(columns, pitch), Dimension(rows, row))
    operand = Operand("x", 64, 4 * run, window, rows * row, columns * pitch, tuple(4 * p for p in passes))
    tasks = job_tasks(operand, range(1, 1 + tiles_y), tiles_x, len(passes), by_columns=by_columns)
    tiles = [(y, x) for y in range(1, 1 + tiles_y) for x in range(tiles_x)]
    if by_columns:
        tiles.sort(key=lambda tile: tile[::-1])
    wanted = [word for offset in operand.passes for y, x in tiles for word in needed(operand, y, x, offset)]
    assert [word for task in tasks for word in visited(task)] == wanted


@given(st.integers(1, 600), st.integers(1, 3), st.integers(1, 30000))
def test_operands_take_turns(tiles_y: int, tiles_x: int, run: int) -> None:
    operands = [Operand(name, 0, 4 * run, (), 4 * run, 8 * run * tiles_y) for name in "ab"]
    chains = interleaved_tasks(operands, range(tiles_y), tiles_x)
    turns: list[tuple[int, int]] = []
    for chain in chains:
        steps = [[task.address + 4 * index * task.iteration_step for index in range(task.runs)] for task in chain]
        turns += zip(*steps, strict=True)
        assert all(task.length == run for task in chain)
    wanted = [x * 8 * run * tiles_y + y * 4 * run for x in range(tiles_x) for y in range(tiles_y)]
    assert turns == [(at, at) for at in wanted]


def test_what_is_not_of_whole_words_is_refused() -> None:
    with pytest.raises(CompileError, match="4-byte words"):
        job_tasks(Operand("x", 0, 6, (), 6, 0), range(3), 1, 1)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40), st.integers(0, 1 << 31))
def test_pages_hold_everything_once_and_in_order(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    code = ControlCode(2)
    written = []
    for index, size in enumerate(sizes):
        data = rng.integers(0, 256, 4 * size).astype(np.uint8).tobytes()
        patched = size < 100
        code.transfer([Transfer(0x100000 * index, data, (Patch(0, "7"),) if patched else ())])
        code.operate(write(4 * index, index))
        written.append((0x100000 * index, data))
    pages, references = code.finish()
    memory: dict[int, int] = {}
    values = []
    for number, page in enumerate(pages):
        whole = page.text + page.data
        header = abi.PAGE_HEADER.unpack(whole)
        assert len(whole) == header.length <= abi.PAGE_SIZE
        assert (header.page, header.next_length == 0) == (number, number + 1 == len(pages))
        for _, opcode, instruction in operations(whole):
            if opcode is abi.Opcode.WRITE_32:
                values.append(int.from_bytes(instruction[8:12], "little"))
            if opcode is abi.Opcode.UC_DMA_WRITE_DES_SYNC:
                at = int.from_bytes(instruction[2:4], "little") + abi.PAGE_HEADER_SIZE
                while True:
                    bd = abi.UC_BD.unpack(whole, at)
                    data = whole[at + bd.local : at + bd.local + 4 * bd.length]
                    memory |= dict(enumerate(data, bd.remote_low))
                    if not bd.next_bd:
                        break
                    at += abi.UC_BD.size
    assert values == list(range(len(sizes)))
    for address, data in written:
        assert bytes(memory[address + index] for index in range(len(data))) == data
    assert len(references) == sum(size < 100 for size in sizes)
