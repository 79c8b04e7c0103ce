"""Control code that AMD's assembler made, end to end; and that its result hangs on every link of the chain."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pytest
from _doors import HandMadeQueue
from _matmul import DATA, DONE, FULL, K, M, N, assembly
from _patience import PATIENCE, PATIENCE_MS

import fauxdna
from fauxdna.abi import array, control_code, tile_program
from fauxdna.abi.array import CORE_BD_WORDS, SHIM_BD_WORDS, SWITCH_MASTER, TileKind
from fauxdna.abi.control_code import Opcode
from fauxdna.abi.switch import SWITCHES
from fauxdna.accel import AccelFile
from fauxdna.artifact import elf
from fauxdna.errors import CommandFailed, FauxdnaError
from fauxdna.runtime import Buffer, Npu

ELF = (DATA / "matmul.elf").read_bytes()
RNG = np.random.default_rng(2)
A = RNG.integers(-128, 128, (M, K)).astype(np.int8)
B = RNG.integers(-128, 128, (K, N)).astype(np.int8)
WANTED = A.astype(np.int64) @ B.astype(np.int64)
Edit = Callable[[bytearray], None]


@pytest.fixture(scope="module")
def npu() -> Iterator[Npu]:
    with fauxdna.open() as npu:
        yield npu


def product(npu: Npu, image: bytes = ELF) -> npt.NDArray[np.int32]:
    c = np.zeros((M, N), np.int32)
    npu.run_elf(image, [A, B, c], timeout_s=PATIENCE)
    return c


def test_the_recorded_source_is_what_the_declarations_give() -> None:
    assert (DATA / "matmul.asm").read_text() == assembly()


def test_the_product_is_exact(npu: Npu) -> None:
    np.testing.assert_array_equal(product(npu), WANTED)


def _replace(code: bytearray, old: bytes, new: bytes, *, step: int = 4) -> None:
    places = [at for at in range(0, len(code) - len(old) + 1, step) if code[at : at + len(old)] == old]
    assert len(places) == 1, f"{old.hex()} stands at {places}"
    code[places[0] : places[0] + len(old)] = new


def _words(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def _nop(opcode: Opcode, count: int) -> Edit:
    """Makes the ``count``-th instruction with ``opcode`` a row of NOPs."""

    def edit(code: bytearray) -> None:
        at, seen = control_code.PAGE_HEADER_SIZE, 0
        while True:
            size = control_code.OPERATIONS[Opcode(code[at])].size
            seen += code[at] == opcode
            if seen == count:
                code[at : at + size] = _words(int(Opcode.NOP)) * (size // 4)
                return
            at += size

    return edit


def _core_bd(release: int) -> Edit:
    fields = {"address": 0x1000 // 4, "length": K * N // 4, "release_id": FULL}
    old, new = CORE_BD_WORDS.encode(release_value=1, **fields), CORE_BD_WORDS.encode(release_value=release, **fields)
    return lambda code: _replace(code, _words(*old), _words(*new))


def _shim_bd(**fields: int) -> Edit:
    old, new = SHIM_BD_WORDS.encode(length=M * N), SHIM_BD_WORDS.encode(**fields)
    return lambda code: _replace(code, _words(*old), _words(*new))


def _route(select: int) -> Edit:
    at = array.tile_address(0, array.MEM_ROW, SWITCHES[TileKind.MEM].master(array.MEM_MASTER_NORTH))
    old, new = (SWITCH_MASTER.encode(enable=1, select=slave)[0] for slave in (array.MEM_SLAVE_SOUTH[0], select))
    return lambda code: _replace(code, _words(at, old), _words(at, new))


def _tile(old: tuple[int, ...], new: tuple[int, ...]) -> Edit:
    return lambda code: _replace(code, _words(*old), _words(*new))


def _instruction(opcode: tile_program.Opcode, length: int) -> int:
    return tile_program.INSTRUCTION.encode(opcode=int(opcode), length=length)[0]


_ACQUIRE = _instruction(tile_program.Opcode.ACQUIRE, 3)
_RELEASE = _instruction(tile_program.Opcode.RELEASE, 3)
_HALT = _instruction(tile_program.Opcode.HALT, 1)

LINKS: dict[str, Edit] = {
    "page": lambda code: code.__setitem__(slice(0, 2), b"\0\0"),
    "start of the job": lambda code: code.__setitem__(16, int(Opcode.EOF)),
    "uC-DMA that loads the tile program": _nop(Opcode.UC_DMA_WRITE_DES_SYNC, 1),
    "uC-DMA that loads the BDs": _nop(Opcode.UC_DMA_WRITE_DES_SYNC, 2),
    "write of a route": _nop(Opcode.WRITE_32, 5),
    "route to another port": _route(array.MEM_SLAVE_SOUTH[1]),
    "start of the core": _nop(Opcode.WRITE_32, 18),
    "start of the shim's DMA": _nop(Opcode.WRITE_32, 20),
    "BD has no length": _shim_bd(length=0),
    "BD is too short": _shim_bd(length=M * N // 2),
    "lock is not released by the DMA": _core_bd(0),
    "lock is not released by the core": _tile((_RELEASE, DONE, 1), (_RELEASE, DONE + 1, 1)),
    "tile program ends at once": _tile((_ACQUIRE, FULL, 0xFFFFFFFE), (_HALT, FULL, 0xFFFFFFFE)),
    "tile program has an unknown opcode": _tile((_ACQUIRE, FULL, 0xFFFFFFFE), (_ACQUIRE | 0x7F, FULL, 0xFFFFFFFE)),
}


@pytest.mark.parametrize("link", LINKS)
def test_without_a_link_there_is_no_result(npu: Npu, link: str) -> None:
    page = elf.parse(ELF).kernel().code
    length = int.from_bytes(page[8:10], "little")
    at = ELF.find(page[:length])
    assert at > 0
    edited = bytearray(page[:length])
    LINKS[link](edited)
    assert edited != page[:length]
    image = ELF[:at] + bytes(edited) + ELF[at + length :]
    c = np.zeros((M, N), np.int32)
    with suppress(CommandFailed):
        npu.run_elf(image, [A, B, c], timeout_s=PATIENCE)
    assert not np.array_equal(c, WANTED)
    # The device is as good as before.
    np.testing.assert_array_equal(product(npu), WANTED)


def test_other_operands_give_another_result(npu: Npu) -> None:
    changed = B.copy()
    changed[3, 5] ^= 1
    c = np.zeros((M, N), np.int32)
    npu.run_elf(ELF, [A, changed, c])
    assert sorted({int(column) for column in np.nonzero(c != WANTED)[1]}) == [5]


def _packet(code: int) -> bytes:
    """EXEC_BUF of one uC, field by field: type, opcode 1, chain, count 24, distribute, indirect, signal; then the payload."""
    return struct.pack("<BBBBHBBQ", 0, 0, 1, 0, 24, 0, 0, 0) + struct.pack(
        "<IIIHHII", 0, code & 0xFFFFFFFF, code >> 32, 0, 0, 0, 0
    ).ljust(48, b"\0")


@pytest.mark.parametrize("broken", ["nothing", "opcode", "code address", "doorbell"])
def test_the_packet_and_the_doorbell(file: AccelFile, broken: str) -> None:
    kernel = elf.parse(ELF).kernel()
    code = bytearray(kernel.code)
    buffers = [Buffer(file, array.nbytes) for array in (A, B)] + [Buffer(file, 4 * M * N), Buffer(file, len(code))]
    buffers[0].view(A.shape, np.int8)[...] = A
    buffers[1].view(B.shape, np.int8)[...] = B
    patcher = elf.Patcher(kernel, code)
    for index in range(3):
        patcher.bind(str(index), buffers[index].address)
    buffers[3].bytes[: len(code)] = np.frombuffer(code, np.uint8)
    queue = HandMadeQueue(file, padded=False, tiles=4)
    packet = bytearray(_packet(buffers[3].address + (0x4000_0000 if broken == "code address" else 0)))
    if broken == "opcode":
        packet[2] = 2
    if broken == "doorbell":
        # A new context looks at its queue once, for packets from before a suspend.
        queue.seen()
    sequence = queue.put(bytes(packet), ring=broken != "doorbell")
    try:
        file.wait_cmd(queue.handle, sequence, PATIENCE_MS if broken != "doorbell" else 50)
    except FauxdnaError:
        assert broken == "doorbell"
    c = buffers[2].view((M, N), np.int32)
    assert np.array_equal(c, WANTED) == (broken == "nothing")
    queue.close()
