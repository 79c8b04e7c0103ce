"""Takes each link of the line away by editing bytes, and nothing else: the result must then fail to appear.

The links are found in the generated ELF by the forms that ``abi`` declares, so a test fails if the link is not there to be cut.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from _patience import PATIENCE, PATIENCE_MS
from _program import IN_ZERO, OUT, SCALE, WEIGHTS, ZERO, expected, program, sample

import fauxdna
from fauxdna.abi import array, control_code, switch, tile_program
from fauxdna.abi.control_code import Opcode
from fauxdna.abi.host_queue import EXEC_BUF, HEADER_UNPADDED, PACKET, PACKET_SIZE, CompletionState, PacketOpcode
from fauxdna.abi.uapi import BoType
from fauxdna.accel import AccelFile
from fauxdna.artifact import elf
from fauxdna.artifact.program import ArrayStep, Program
from fauxdna.errors import CommandFailed
from fauxdna.runtime import Npu
from fauxdna.runtime._buffer import Buffer
from fauxdna.runtime._loader import Constants, LoadedKernel

Edit = Callable[[bytearray], int]
"""Changes bytes in place and tells how many places it found."""
UNTOUCHED = np.float32(-1)


@pytest.fixture
def npu() -> Iterator[Npu]:
    with fauxdna.open() as npu:
        yield npu


def edited(edit: Edit) -> Program:
    """The one-column matrix product with ``edit`` done to its control code (which carries BDs and tile programs)."""
    whole = program(1)
    (step,) = whole.steps
    assert isinstance(step, ArrayStep)
    code = elf.parse(step.elf).kernel().code
    at = step.elf.index(code)
    changed = bytearray(code)
    assert edit(changed) > 0, "the link to be cut was not found"
    assert changed != code
    return replace(whole, steps=(replace(step, elf=step.elf[:at] + changed + step.elf[at + len(code) :]),))


def words(code: bytearray) -> Iterator[tuple[int, int]]:
    """Byte offset and value of every aligned word."""
    for index, (word,) in enumerate(struct.iter_unpack("<I", code)):
        yield 4 * index, word


def write_32(code: bytearray, address: int, value: int) -> Iterator[int]:
    """Offsets of WRITE_32 ``address``, ``value``."""
    form = struct.pack("<III", Opcode.WRITE_32, address, value)
    at = code.find(form)
    while at >= 0:
        yield at
        at = code.find(form, at + 4)


def wrong_page(code: bytearray) -> int:
    code[0:2] = b"\0\0"
    return 1


def unknown_operation(code: bytearray) -> int:
    code[control_code.PAGE_HEADER_SIZE] = 0x77
    return 1


def cores_stay_off(code: bytearray) -> int:
    found = 0
    for row in range(array.FIRST_CORE_ROW, array.FIRST_CORE_ROW + array.CORE_ROWS):
        for at in write_32(code, array.tile_address(0, row, array.CORE_CONTROL), array.CORE_CONTROL_ENABLE):
            code[at + 8] = 0
            found += 1
    return found


def _instructions(code: bytearray, opcode: tile_program.Opcode) -> Iterator[int]:
    operation = tile_program.OPERATIONS[opcode]
    length = 1 + len(operation.words) + len(operation.addresses)
    for at, word in words(code):
        form = tile_program.INSTRUCTION.decode((word,))
        # An operand of 1 to 15 in the next word keeps other words that look like one out of the count.
        if form.opcode == opcode and form.length == length and form.argument == 0:
            yield at


def lock_never_opens(code: bytearray) -> int:
    """Every ACQUIRE of a core waits for one more than it did."""
    found = 0
    for at in list(_instructions(code, tile_program.Opcode.ACQUIRE)):
        lock, value = struct.unpack_from("<Ii", code, at + 4)
        if lock < array.CORE_LOCKS and value == -1:
            struct.pack_into("<i", code, at + 8, array.LOCK_MIN + 1)
            found += 1
    return found


def no_arithmetic(code: bytearray) -> int:
    """The cores halt where they would multiply."""
    found = 0
    operation = tile_program.OPERATIONS[tile_program.Opcode.CONV2D]
    for at, word in words(code):
        form = tile_program.INSTRUCTION.decode((word,))
        if form.opcode == tile_program.Opcode.CONV2D and form.length == 1 + len(operation.addresses) and form.argument:
            struct.pack_into("<I", code, at, tile_program.INSTRUCTION.encode(opcode=tile_program.Opcode.HALT, length=1)[0])
            found += 1
    return found


def _patched_bds() -> list[int]:
    (step,) = program(1).steps
    assert isinstance(step, ArrayStep)
    return sorted(
        {patch.offset for patches in elf.parse(step.elf).kernel().patches.values() for patch in patches if not patch.target}
    )


def bds_empty(code: bytearray) -> int:
    """Every shim BD (those that hold an address) is of no length."""
    length = array.SHIM_BD_WORDS.fields["length"]
    for offset in _patched_bds():
        struct.pack_into("<I", code, offset + 4 * length.word, 0)
    return len(_patched_bds())


def bds_short(code: bytearray) -> int:
    """Every shim BD moves one word only."""
    length = array.SHIM_BD_WORDS.fields["length"]
    for offset in _patched_bds():
        struct.pack_into("<I", code, offset + 4 * length.word, 1)
    return len(_patched_bds())


def no_tokens(code: bytearray) -> int:
    """No task asks for a task-complete token."""
    found = 0
    token = 1 << array.START_QUEUE.fields["token"].low
    for at, word in words(code):
        if word == Opcode.WRITE_32 and at + 12 <= len(code):
            address, value = struct.unpack_from("<II", code, at + 4)
            if address & 0xFFFFF & ~array.HALF_STRIDE == array.SHIM_S2MM_START and value & token:
                struct.pack_into("<I", code, at + 8, value & ~token)
                found += 1
    return found


def streams_cut(code: bytearray) -> int:
    """No stream-switch port is enabled any more: the blocks that configure them are all zero."""
    found = 0
    bases = {switch.CORE_SWITCH_MASTER, switch.MEM_SWITCH_MASTER, switch.SHIM_SWITCH_MASTER}
    for at, word in words(code):
        header = control_code.UC_BD.decode((word, 0, 0, 0))
        if at % 16 or not header.local_relative or at + 16 > len(code):
            continue
        _, local, low, high = struct.unpack_from("<4I", code, at)
        size = 4 * header.length
        if high == 0 and low & 0xFFFFF & ~array.HALF_STRIDE in bases and local > 0 and at + local + size <= len(code):
            code[at + local : at + local + size] = bytes(size)
            found += 1
    return found


@pytest.mark.parametrize(
    "edit",
    [
        wrong_page,
        unknown_operation,
        cores_stay_off,
        lock_never_opens,
        no_arithmetic,
        bds_empty,
        bds_short,
        no_tokens,
        streams_cut,
    ],
)
def test_without_a_link_there_is_no_result(npu: Npu, edit: Edit) -> None:
    with npu.context(edited(edit), timeout_s=PATIENCE) as context, pytest.raises(CommandFailed):
        context.run({"x": sample(0)})
    # The device is as good as before.
    with npu.context(program(1)) as context:
        np.testing.assert_array_equal(context.run({"x": sample(0)})["y"], expected(sample(0)))


def test_the_weights_that_count_are_those_in_the_file(npu: Npu) -> None:
    whole = program(1)
    (step,) = whole.steps
    assert isinstance(step, ArrayStep)
    (constant,) = elf.parse(step.elf).kernel().constants.values()
    at = step.elf.index(constant)
    # Weights come first: [out/16][in/4][16][4]. The first byte is the weight from input 0 to output 0.
    assert constant[0] == int(WEIGHTS[0, 0]) & 0xFF
    other = (int(WEIGHTS[0, 0]) + 100) % 128
    changed = step.elf[:at] + bytes([other]) + step.elf[at + 1 :]
    x = sample(0)
    weights = WEIGHTS.astype(np.float64)
    weights[0, 0] = other
    # The input's zero point is in the bias, which is as it was.
    product = weights @ x[:, :, 0].astype(np.float64) - WEIGHTS.astype(np.float64).sum(1, keepdims=True) * IN_ZERO
    wanted = np.clip(np.rint(product * float(SCALE)) + ZERO, 0, 255).astype(np.float32)[:, :, None]
    assert (wanted[0] != expected(x)[0]).any()
    with npu.context(replace(whole, steps=(replace(step, elf=changed),))) as context:
        np.testing.assert_array_equal(context.run({"x": x})["y"], wanted)


class Packets:
    """A context whose queue this test writes itself, byte for byte."""

    def __init__(self, file: AccelFile) -> None:
        self.queue = Buffer(file, 0x4000, BoType.CMD)
        self.word = Buffer(file, 64)
        at = HEADER_UNPADDED.size
        self.queue.bytes[:at] = np.frombuffer(
            HEADER_UNPADDED.pack(capacity=32, data_address=self.queue.address + 0x1000), np.uint8
        )
        self.context = file.create_hwctx(self.queue.handle, array.CORE_ROWS)
        self.doorbell = file.mmap(4096, self.context.umq_doorbell)
        self.file = file

    def execute(self, packet: bytes) -> int:
        """Writes one packet, then write_index, then the doorbell; the completion word."""
        self.queue.bytes[0x1000 : 0x1000 + PACKET_SIZE] = np.frombuffer(packet, np.uint8)
        self.queue.bytes[16:24].view("<u8")[0] = 1
        self.doorbell.memory[:4] = bytes(4)
        self.file.wait_cmd(self.context.handle, 0, PATIENCE_MS)
        return int(self.word.bytes[:4].view("<u4")[0])

    def close(self) -> None:
        self.file.destroy_hwctx(self.context.handle)
        self.queue.close()
        self.word.close()


@pytest.mark.parametrize("change", ["none", "opcode", "address", "count"])
def test_the_packet_is_what_starts_it(npu: Npu, change: str) -> None:
    (step,) = program(1).steps
    assert isinstance(step, ArrayStep)
    kernel = elf.parse(step.elf).kernel()
    x = Buffer(npu.file, sample(0).nbytes)
    y = Buffer(npu.file, 4 * expected(sample(0)).size)
    workspace = Buffer(npu.file, step.workspace)
    x.view(sample(0).shape, np.float32)[...] = sample(0)
    result = y.view(expected(sample(0)).shape, np.float32)
    result[...] = UNTOUCHED
    loaded = LoadedKernel(npu.file, Constants(npu.file, kernel, 1))
    for index, buffer in enumerate((x, y, workspace)):
        loaded.bind(index, buffer.address)
    ((uc, address),) = loaded.entry
    assert uc == 0
    if change == "address":
        address += 4
    payload = EXEC_BUF.pack(code_low=address & 0xFFFFFFFF, code_high=address >> 32)
    packets = Packets(npu.file)
    word = packets.execute(
        PACKET.pack(
            opcode=PacketOpcode.TEST if change == "opcode" else PacketOpcode.EXEC_BUF,
            count=8 if change == "count" else EXEC_BUF.size,
            completion_signal=packets.word.address,
            data=(*struct.unpack("<6I", payload), *(0,) * 6),
        )
    )
    state = CompletionState(word & 0xF)
    packets.close()
    if change == "none":
        assert state is CompletionState.COMPLETED
        np.testing.assert_array_equal(result, expected(sample(0)))
    else:
        assert state is (CompletionState.COMPLETED if change == "opcode" else CompletionState.ERROR)
        assert (result == UNTOUCHED).all()
    assert result.shape[0] == OUT
