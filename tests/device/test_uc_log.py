"""CONFIG_HWCTX at level ``next``: micro-controllers log into memory that a program gave them, in the form XRT reads."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from _doors import HandMadeQueue
from _files import opened
from _patience import PATIENCE, PATIENCE_MS

from fauxdna.abi.control_code import PAGE_SIZE
from fauxdna.abi.uapi import ATTRIBUTE_STATE, HWCTX_ENTRY, ArrayParam, BoType, DeviceType, StateParam
from fauxdna.abi.uapi_next import Level
from fauxdna.accel import AccelFile, Mapping
from fauxdna.accel.machine import Machine
from fauxdna.errors import FauxdnaError
from fauxdna.runtime._queue import CommandQueue

ASSIGN, REMOVE = 1, 2
DEBUG, TRACE, DEBUG_QUEUE, LOG = range(4)
CHUNK = 16384
"""XRT's ``uc_log_size_per_uc_kb``."""

TEXTS = {
    5: "Invalid opcode: 0x%x @ %x",
    18: "[end] job: %u",
    25: "collect trace info at offset %d",
    33: "save ...",
    35: "restore ...",
    29: "[EOF] unfinished job number: %u",
    55: "executing control code ...",
    56: "Queue packet opcode: %u",
    71: "Page-in to slot %u page offset 0x%x",
}
"""Of XRT's ``uc_log_schema.h``."""


@pytest.fixture(params=["local", "service"])
def file(host: Machine, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AccelFile]:
    """An open file of our driver, and one of a program in a sandbox."""
    # Level INFORMATION: packets that end well are logged as well.
    host.find(DeviceType.UMQ).ask("SET_RUNTIME_CONFIG", type=5, data=3)
    with opened(request.param, host, tmp_path, Level.NEXT) as file:
        yield file


def test_unless_more_is_wanted_only_failures_are_logged(host: Machine) -> None:
    """XRT gives each context a log buffer "for failure logs", and makes a file of whatever it finds there."""
    with host.open(level=Level.NEXT) as file:
        queue = HandMadeQueue(file, padded=True, tiles=4)
        log, mapping, _ = allocate(file, b"", CHUNK)
        file.config_hwctx(queue.handle, ASSIGN, describe(file, LOG, log, [(0, CHUNK)]))
        assert run(file, queue, allocate(file, page(trace(1)))[2]) == 4
        assert not any(mapping.memory[:])
        assert run(file, queue, allocate(file, page(trace(2), struct.pack("<I", 0x77)))[2]) == 3 << 4 | 5
        assert entries(mapping.memory[:])[-2:] == ["collect trace info at offset 2", "Invalid opcode: 0x77 @ c"]
        assert len(entries(mapping.memory[:])) == 5


def page(*instructions: bytes, number: int = 0, more: bool = False) -> bytes:
    """A control-code page of one job: START_JOB 7, ``instructions``, END_JOB, EOF."""
    body = b"".join(instructions)
    code = struct.pack("<BBHHH", 0, 0, 7, 8 + len(body) + 4, 0) + body + struct.pack("<I", 7) + struct.pack("<I", 0xFF)
    length = 16 + len(code)
    header = struct.pack("<8H", 0xFFFF, number, 0, 0, length, length if more else 0, 0, 0)
    return (header + code).ljust(PAGE_SIZE, b"\xa5")


def trace(info: int) -> bytes:
    return struct.pack("<BBH", 0x15, 0, info)


def allocate(file: AccelFile, data: bytes, size: int = 0, type_: BoType = BoType.SHARE) -> tuple[int, Mapping, int]:
    """A BO that holds ``data``: handle, mapping, device address."""
    handle = file.create_bo(max(size, len(data)), type_)
    info = file.get_bo_info(handle)
    mapping = file.mmap(max(size, len(data)), info.map_offset)
    mapping.memory[: len(data)] = data
    return handle, mapping, info.xdna_addr


def describe(file: AccelFile, kind: int, bo: int, shares: list[tuple[int, int]]) -> int:
    """``struct amdxdna_fw_buffer_metadata`` in a BO, as XRT's shim makes it; its handle."""
    data = struct.pack("<BBHIQ", kind, len(shares), 0, bo, 0) + b"".join(struct.pack("<2I", *share) for share in shares)
    return allocate(file, data, type_=BoType.CMD)[0]


def run(file: AccelFile, queue: HandMadeQueue, code: int) -> int:
    """One EXEC_BUF on uC 0; its completion word."""
    data = struct.pack("<3IHHII", 0, code & 0xFFFFFFFF, code >> 32, 0, 0, 0, 0)
    sequence = queue.put(struct.pack("<BBBBHBBQ", 0, 0, 1, 0, 24, 0, 0, queue.address + 0x1000) + data.ljust(48, b"\0"))
    file.wait_cmd(queue.handle, sequence, PATIENCE_MS)
    return int.from_bytes(queue.memory[0x1000:0x1004], "little")


def entries(memory: bytes) -> list[str]:
    """Texts of a chunk that has not wrapped, parsed as ``buffer_dumper::parse_log_entries`` does."""
    count = int.from_bytes(memory[:8], "little")
    texts = []
    for at in range(32, 32 + count, 32):
        length, _high, _low, _file, _line, text, *arguments = struct.unpack_from("<8I", memory, at)
        texts.append(TEXTS[text] % tuple(arguments[: length - 6]))
    return texts


def test_what_a_packet_logs(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=True, tiles=4)
    _, _, code = allocate(file, page(trace(9), more=True) + page(number=1))
    log, mapping, _ = allocate(file, b"", 6 * CHUNK)
    metadata = describe(file, LOG, log, [(uc, CHUNK) for uc in range(6)])
    file.config_hwctx(queue.handle, ASSIGN, metadata)
    assert run(file, queue, code) == 4
    assert entries(mapping.memory[:CHUNK]) == [
        "Queue packet opcode: 1",
        "executing control code ...",
        "Page-in to slot 0 page offset 0x0",
        "collect trace info at offset 9",
        "[end] job: 7",
        "Page-in to slot 0 page offset 0x2000",
        "[end] job: 7",
        "[EOF] unfinished job number: 0",
    ]
    assert not any(mapping.memory[CHUNK:])
    times = [struct.unpack_from("<2I", mapping.memory, at + 4) for at in range(32, 32 + 8 * 32, 32)]
    assert times == sorted(times)
    # It goes on with the next packet, and ends when the buffer is taken away.
    assert run(file, queue, code) == 4
    assert len(entries(mapping.memory[:CHUNK])) == 16
    file.config_hwctx(queue.handle, REMOVE, metadata)
    assert run(file, queue, code) == 4
    assert len(entries(mapping.memory[:CHUNK])) == 16


def test_each_micro_controller_logs_into_its_own_share(file: AccelFile) -> None:
    """One command on the first uC of each column; shares in any order and size, one after another in the buffer."""
    queue = CommandQueue(file, 3)
    shares = [(4, 64), (1, 0), (0, CHUNK), (2, 4096)]
    log, mapping, _ = allocate(file, b"", 64 + CHUNK + 4096)
    file.config_hwctx(queue.handle, ASSIGN, describe(file, LOG, log, shares))
    code = {uc: allocate(file, page(trace(10 + uc)))[2] for uc in (0, 2, 4)}
    queue.wait(queue.submit(list(code.items())), PATIENCE)
    memory = mapping.memory[:]
    of_uc = {0: memory[64 : 64 + CHUNK], 2: memory[64 + CHUNK :]}
    for uc, share in of_uc.items():
        # The packet is taken by the first; each runs its own page.
        expected = [
            "executing control code ...",
            "Page-in to slot 0 page offset 0x0",
            f"collect trace info at offset {10 + uc}",
            "[end] job: 7",
            "[EOF] unfinished job number: 0",
        ]
        assert [text for text in entries(share) if not text.startswith("Queue packet")] == expected
    # A share of one entry has the last one.
    small = memory[:64]
    assert int.from_bytes(small[:8], "little") >= 5 * 32
    assert TEXTS[struct.unpack_from("<I", small, 32 + 20)[0]].startswith("[EOF]")
    queue.close()


def test_a_failure_is_logged_before_the_packet_ends(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=True, tiles=4)
    _, _, code = allocate(file, page(struct.pack("<I", 0x77)))
    log, mapping, _ = allocate(file, b"", 6 * CHUNK)
    file.config_hwctx(queue.handle, ASSIGN, describe(file, LOG, log, [(0, CHUNK)]))
    assert run(file, queue, code) == 3 << 4 | 5
    # The job's instruction lies after START_JOB's 8 bytes.
    assert entries(mapping.memory[:CHUNK])[-1] == "Invalid opcode: 0x77 @ 8"
    # The partition is made anew after a failure, and logs on.
    _, _, good = allocate(file, page())
    before = len(entries(mapping.memory[:CHUNK]))
    assert run(file, queue, good) == 4
    assert entries(mapping.memory[:CHUNK])[before:][0] == "Queue packet opcode: 1"


def test_the_ring_wraps(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=True, tiles=4)
    _, _, code = allocate(file, page(*(trace(info) for info in range(20))))
    log, mapping, _ = allocate(file, b"", 4096)
    file.config_hwctx(queue.handle, ASSIGN, describe(file, LOG, log, [(0, 32 + 8 * 32)]))
    assert run(file, queue, code) == 4
    total = 3 + 20 + 2
    assert int.from_bytes(mapping.memory[:8], "little") == 32 * total
    # Entry n lies at 32 + 32 n modulo the ring; the newest 8 are there, nothing behind them is touched.
    last = 32 + 32 * ((total - 1) % 8)
    assert struct.unpack_from("<I", mapping.memory, last + 20) == (29,)
    assert struct.unpack_from("<I", mapping.memory, 32 + 32 * ((total - 3) % 8) + 24) == (19,)
    assert not any(mapping.memory[32 + 8 * 32 :])


def test_memory_stays_while_it_is_written_to(file: AccelFile) -> None:
    """A BO that was closed is not another's while micro-controllers write to it."""
    queue = HandMadeQueue(file, padded=True, tiles=4)
    _, _, code = allocate(file, page())
    log = file.create_bo(CHUNK)
    file.config_hwctx(queue.handle, ASSIGN, describe(file, LOG, log, [(0, CHUNK)]))
    file.gem_close(log)
    others = [allocate(file, b"", CHUNK) for _ in range(4)]
    assert run(file, queue, code) == 4
    assert not any(any(mapping.memory[:]) for _, mapping, _ in others)
    queue.close()


def test_forced_preemption_saves_and_restores(file: AccelFile) -> None:
    """PREEMPT runs its save page, then its restore page, if preemption was asked for (aiebu ``isa-spec.yaml``)."""
    queue = HandMadeQueue(file, padded=True, tiles=4)
    preempt = struct.pack("<BBHHH", 0x19, 0, 1, 1, 2)
    _, _, code = allocate(file, page(preempt) + page(trace(11), number=1) + page(trace(22), number=2))
    log, mapping, _ = allocate(file, b"", CHUNK)
    file.config_hwctx(queue.handle, ASSIGN, describe(file, LOG, log, [(0, CHUNK)]))

    def preemptions() -> int:
        _, _, data = file.get_array(ArrayParam.HW_CONTEXT_ALL, HWCTX_ENTRY.size, 8)
        return HWCTX_ENTRY.unpack(data).preemptions

    assert run(file, queue, code) == 4
    assert (preemptions(), [text for text in entries(mapping.memory[:CHUNK]) if "trace" in text]) == (0, [])
    file.set_state(StateParam.FORCE_PREEMPT, ATTRIBUTE_STATE.pack(state=1))
    assert run(file, queue, code) == 4
    steps = ("save ...", "collect trace info at offset 11", "restore ...", "collect trace info at offset 22")
    assert (preemptions(), [text for text in entries(mapping.memory[:CHUNK]) if text in steps]) == (1, list(steps))
    # A context that is made while it is on is preempted, too.
    other = HandMadeQueue(file, padded=True, tiles=4)
    assert run(file, other, code) == 4
    _, _, data = file.get_array(ArrayParam.HW_CONTEXT_ALL, HWCTX_ENTRY.size, 8)
    assert [HWCTX_ENTRY.unpack(data, at).preemptions for at in (0, HWCTX_ENTRY.size)] == [1, 1]
    file.set_state(StateParam.FORCE_PREEMPT, ATTRIBUTE_STATE.pack(state=0))
    assert run(file, queue, code) == 4
    assert preemptions() == 1


def test_saved_registers_go_to_the_debug_buffer(file: AccelFile) -> None:
    """Pairs of number and value, from the start for each packet, as XRT reads them after a hundred runs (TestGemm.cpp)."""
    queue = HandMadeQueue(file, padded=True, tiles=4)
    core = 6 << 20
    write = struct.pack("<BBHII", 5, 0, 0, core, 0x1234)
    saves = [struct.pack("<BBHII", 0x1E, 0, 0, core + offset, number) for offset, number in ((0, 7), (4, 8), (0, 9))]
    _, _, code = allocate(file, page(write, *saves))
    debug, mapping, _ = allocate(file, b"", 4096)
    metadata = describe(file, DEBUG, debug, [(0, 20)])
    file.config_hwctx(queue.handle, ASSIGN, metadata)
    for _ in range(2):
        assert run(file, queue, code) == 4
        # The third pair has no room.
        assert struct.unpack("<5I", mapping.memory[:20]) == (7, 0x1234, 8, 0, 0)
        mapping.memory[:20] = bytes(20)
    assert not any(mapping.memory[:])
    # A partition that is made anew after a failure has the buffer still; it ends when the buffer is taken away.
    assert run(file, queue, allocate(file, page(struct.pack("<I", 0x77)))[2]) == 3 << 4 | 5
    assert run(file, queue, code) == 4
    assert struct.unpack("<5I", mapping.memory[:20]) == (7, 0x1234, 8, 0, 0)
    mapping.memory[:20] = bytes(20)
    file.config_hwctx(queue.handle, REMOVE, metadata)
    assert run(file, queue, code) == 4
    assert not any(mapping.memory[:])


def test_refused_configurations(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=True, tiles=4)
    log, _, _ = allocate(file, b"", 4096)

    def number(context: int, metadata: int, param: int = ASSIGN) -> int | None:
        with pytest.raises(FauxdnaError) as caught:
            file.config_hwctx(context, param, metadata)
        return caught.value.errno

    good = describe(file, LOG, log, [(0, 4096)])
    file.config_hwctx(queue.handle, ASSIGN, good)
    assert number(99, good) == errno.EINVAL
    assert number(queue.handle, 99) == errno.EINVAL
    assert number(queue.handle, describe(file, LOG, 99, [(0, 4096)])) == errno.EINVAL
    assert number(queue.handle, describe(file, LOG, log, [(6, 4096)])) == errno.EINVAL
    assert number(queue.handle, describe(file, LOG, log, [(0, 4096), (1, 32)])) == errno.EINVAL  # beyond the BO
    assert number(queue.handle, describe(file, LOG, log, [(uc % 6, 64) for uc in range(7)])) == errno.EINVAL
    assert number(queue.handle, describe(file, LOG, log, [(0, 33)])) == errno.EINVAL
    for kind in (TRACE, DEBUG_QUEUE, 9):
        assert number(queue.handle, describe(file, kind, log, [(0, 4096)])) == errno.EOPNOTSUPP
    assert number(queue.handle, good, 0) == errno.EOPNOTSUPP
    # A description may change while it is looked at; it is read once.
    file.config_hwctx(queue.handle, REMOVE, good)


@pytest.mark.parametrize("file", ["local"], indirect=True)
def test_shrunk_memory_loses_the_log_and_nothing_else(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=True, tiles=4)
    _, _, code = allocate(file, page())
    fd = os.memfd_create("log")
    os.ftruncate(fd, CHUNK)
    log = file.prime_fd_to_handle(fd)
    file.config_hwctx(queue.handle, ASSIGN, describe(file, LOG, log, [(0, CHUNK)]))
    os.ftruncate(fd, 0)
    assert run(file, queue, code) == 4
    os.close(fd)
