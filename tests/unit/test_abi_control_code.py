"""Declared instruction forms against bytes that Debian's aiebu-asm wrote (recorded; the system test assembles them again)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fauxdna.abi import control_code
from fauxdna.abi.control_code import OPERATIONS, Opcode

RECORD = json.loads((Path(__file__).parent / "data" / "control_code.json").read_text())
PAGE = bytes.fromhex(RECORD["page"])
REJECTED_BY_THE_ASSEMBLER = {Opcode.UC_DMA_MASK_POLL_EXT, Opcode.APPLY_OFFSET_PL}
AROUND_JOBS = {Opcode.START_JOB, Opcode.START_JOB_DEFERRED, Opcode.START_COND_JOB_PREEMPT, Opcode.END_JOB, Opcode.EOF}


@pytest.mark.parametrize("line", RECORD["instructions"], ids=lambda line: line["text"])
def test_operands_lie_where_the_assembler_puts_them(line: dict[str, object]) -> None:
    raw = bytes.fromhex(str(line["bytes"]))
    operation = OPERATIONS[Opcode(raw[0])]
    assert (len(raw), raw[1]) == (operation.size, 0)
    operands = {o.name: int.from_bytes(raw[o.offset : o.offset + o.size], "little") for o in operation.operands}
    assert operands == line["operands"]
    covered = {0, 1} | {o.offset + byte for o in operation.operands for byte in range(o.size)}
    assert all(raw[byte] == 0 for byte in set(range(len(raw))) - covered), "an operand was overlooked"


def test_every_instruction_was_recorded() -> None:
    recorded = {Opcode(bytes.fromhex(line["bytes"])[0]) for line in RECORD["instructions"]}
    assert recorded == set(OPERATIONS) - REJECTED_BY_THE_ASSEMBLER - AROUND_JOBS
    assert set(OPERATIONS) == set(Opcode)


def test_a_page_walks_from_its_header_to_eof() -> None:
    header = control_code.PAGE_HEADER.unpack(PAGE)
    assert (header.magic, header.page, header.length, header.next_length) == (0xFFFF, 0, len(PAGE), 0)
    at = control_code.PAGE_HEADER_SIZE
    walked = []
    jobs = {}
    while PAGE[at] != Opcode.EOF:
        operation = OPERATIONS[Opcode(PAGE[at])]
        walked.append(operation.opcode)
        if operation.opcode in AROUND_JOBS and operation.operands:
            job, size = (int.from_bytes(PAGE[at + o.offset : at + o.offset + o.size], "little") for o in operation.operands)
            jobs[job] = at + size
        at += operation.size
        if walked[-1] == Opcode.END_JOB:
            assert at in jobs.values(), "a job's size counts from its START_JOB up to and including its END_JOB"
    assert set(jobs) == {1, 0x102, 9}
    assert PAGE[at:].startswith(bytes([Opcode.EOF, 0, 0, 0]))


def test_uc_descriptors_decode() -> None:
    # UC_DMA_BD 0x12, 0x021A05C0, @table, 8, 0, 1 and 0x11, 0x021A0600, @table, 9, 1, 0; table is 0x20 after the first.
    at = control_code.PAGE_HEADER_SIZE + 0x130
    first, second = (control_code.UC_BD.unpack(PAGE, at + 16 * index) for index in (0, 1))
    assert (first.length, first.next_bd, first.external, first.local_relative, first.local) == (8, 1, 0, 1, 0x20)
    assert (first.remote_high, first.remote_low) == (0x12, 0x021A05C0)
    assert (second.length, second.next_bd, second.external, second.local_relative, second.local) == (9, 0, 1, 1, 0x10)
