"""Firmware's log and its trace of events, as AMD's newer driver hands them out: only what really happened, through every door."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator

import pytest
from _doors import HandMadeQueue
from _patience import PATIENCE_MS
from test_next_level import DPM, refusal
from test_next_level import file as file
from test_next_level import host as host
from test_uc_log import allocate, page, run

from fauxdna.abi.uapi import DeviceType, PowerMode, StateParam
from fauxdna.abi.uapi_next import Level, NextArray, NextState
from fauxdna.accel import AccelFile
from fauxdna.accel.machine import Machine
from fauxdna.errors import FauxdnaError
from fauxdna.firmware import image_loader
from fauxdna.serve import LocalDie

LOG, TRACE = NextArray.FW_LOG, NextArray.FW_TRACE
CONTEXT, DOORBELL, COMMAND, POWER, MESSAGE = (1 << bit for bit in range(5))
CREATED, DESTROYED, RUNG, STARTED, ENDED, DPM_LEVEL, ASKED = range(1, 8)
COMPLETED = 4


def switch(file: AccelFile, param: NextState, action: int, config: int = 0) -> None:
    """struct amdxdna_drm_set_dpt_state: u32 action, u32 config, u64 reserved."""
    file.set_state(param, struct.pack("<IIQ", action, config, 0))


def state(file: AccelFile, param: NextArray) -> tuple[int, ...]:
    """struct amdxdna_drm_get_dpt_state: version, status, config."""
    return struct.unpack("<4I", file.get_array(param, 16, 1)[2])[:3]


def read(file: AccelFile, param: NextArray, offset: int = 0, size: int = 1 << 20, *, watch: bool = False) -> tuple[int, bytes]:
    """struct amdxdna_dpt_metadata at the buffer's end: u64 offset, u32 size, u8 watch, as XRT's shim puts it there."""
    question = struct.pack("<QIB3x", offset, size, watch)
    _, _, answer = file.get_array(param, size + 16, 1, bytes(size) + question)
    offset, length, _ = struct.unpack("<QIB3x", answer[-16:])
    return offset, answer[:length]


def events(data: bytes) -> Iterator[tuple[int, ...]]:
    """(event, arguments...) of records as XRT's NPU3_EventTrace.md has them: header 0xCA, words, sequence; timestamp, event id,
    arguments; footer sequence, words, 0xBA.
    """
    at, before, clock = 0, -1, 0
    while at < len(data):
        magic, words, sequence = struct.unpack_from("<BBH4x", data, at)
        assert magic == 0xCA
        assert before in (-1, sequence - 1), "a record is missing"
        timestamp, event = struct.unpack_from("<QI", data, at + 8)
        assert timestamp >= clock
        end = at + 8 + 8 * words
        counts = {CREATED: 3, DESTROYED: 1, RUNG: 1, STARTED: 3, ENDED: 6, DPM_LEVEL: 2, ASKED: 2}
        yield (event, *struct.unpack_from(f"<{counts[event]}I", data, at + 20))
        assert struct.unpack_from("<3xHHB", data, end) == (sequence, words, 0xBA)
        at, before, clock = end + 8, sequence, timestamp


@pytest.mark.parametrize("param", [NextArray.FW_LOG_CONFIG, NextArray.FW_TRACE_CONFIG])
def test_both_are_off_at_first(file: AccelFile, param: NextArray) -> None:
    assert state(file, param) == (0, 0, 0)
    assert refusal(lambda: read(file, LOG)) == refusal(lambda: read(file, TRACE)) == errno.ESHUTDOWN
    # To switch off what is off is no mistake.
    switch(file, NextState.FW_LOG, 0)
    switch(file, NextState.FW_TRACE, 0)


def test_the_log_has_the_lines_that_firmware_wrote(file: AccelFile) -> None:
    switch(file, NextState.FW_LOG, 1, 4)
    version, status, level = state(file, NextArray.FW_LOG_CONFIG)
    assert (bool(version), status, level) == (True, 1, 4)
    offset, before = read(file, LOG)
    queue = HandMadeQueue(file, padded=True, tiles=8)
    assert refusal(lambda: file.create_hwctx(queue.bo, 13)) == errno.EINVAL
    queue.close()
    offset, after = read(file, LOG, offset)
    lines = (before + after).decode().splitlines()
    assert any("INFORMATION 0000:05:00.1: context 1: columns 0 to 1" in line for line in lines)
    assert any("WARNING 0000:05:00.1: CREATE_HW_CONTEXT refused: 13 tiles" in line for line in lines)
    assert all(" 0000:05:00.1: " in line for line in lines), "a VF's log is its own"


def test_the_log_is_the_dies_own() -> None:
    with (
        LocalDie() as die,
        Machine(die, image_loader()) as machine,
        machine.open(level=Level.NEXT) as file,
    ):
        switch(file, NextState.FW_LOG, 1, 4)
        HandMadeQueue(file, padded=True, tiles=8).close()
        lines = read(file, LOG)[1].decode().splitlines()
        wrote = [entry for entry in die.log.entries(function="0000:05:00.1") if entry.source == "firmware"]
    names = {3: "ERROR", 4: "WARNING", 6: "INFORMATION", 7: "DEBUG"}
    said = [f"[{entry.seconds:12.6f}] {names[entry.level]} 0000:05:00.1: {entry.text}" for entry in wrote]
    assert len(lines) > 3
    assert said[-len(lines) :] == lines


def test_levels_are_obeyed(file: AccelFile) -> None:
    switch(file, NextState.FW_LOG, 1)
    assert state(file, NextArray.FW_LOG_CONFIG)[2] == 1, "AMDXDNA_DPT_FW_LOG_MAX_DEFAULT"
    HandMadeQueue(file, padded=True, tiles=8).close()
    assert read(file, LOG)[1] == b"", "nothing failed"
    switch(file, NextState.FW_LOG, 1, 3)
    HandMadeQueue(file, padded=True, tiles=8).close()
    text = read(file, LOG)[1].decode()
    assert "context 1: columns" in text
    assert "DEBUG" not in text
    assert refusal(lambda: switch(file, NextState.FW_LOG, 1, 5)) == errno.EINVAL
    assert state(file, NextArray.FW_LOG_CONFIG)[1:] == (1, 3)
    switch(file, NextState.FW_LOG, 0)
    assert refusal(lambda: read(file, LOG)) == errno.ESHUTDOWN
    assert state(file, NextArray.FW_LOG_CONFIG) == (0, 0, 0)


def test_reading_goes_on_where_it_ended(file: AccelFile) -> None:
    switch(file, NextState.FW_LOG, 1, 3)
    HandMadeQueue(file, padded=True, tiles=8).close()
    end, whole = read(file, LOG)
    assert end == len(whole) > 7
    pieces, offset = b"", 0
    while offset < end:
        offset, piece = read(file, LOG, offset, 7)
        assert len(piece) <= 7
        pieces += piece
    assert pieces == whole
    assert read(file, LOG, end) == (end, b"")
    assert refusal(lambda: read(file, LOG, end + 1)) == errno.EINVAL


def test_the_trace_has_what_happened_in_order(file: AccelFile) -> None:
    switch(file, NextState.FW_TRACE, 1, CONTEXT | DOORBELL | COMMAND)
    queue = HandMadeQueue(file, padded=True, tiles=8)
    for _ in range(3):
        file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
    queue.close()
    seen = list(events(read(file, TRACE)[1]))
    assert seen[0] == (CREATED, 1, 0, 2)
    assert seen[-1] == (DESTROYED, 1)
    commands = [event for event in seen if event[0] in (STARTED, ENDED)]
    # TEST packets take no simulated time.
    assert commands == [
        event for number in range(3) for event in ((STARTED, 1, number, 0), (ENDED, 1, number, 0, COMPLETED, 0, 0))
    ]
    rings = seen.count((RUNG, 1))
    assert 1 <= rings <= 3, "rings while the context is served anyway are not told apart"
    assert len(seen) == 2 + len(commands) + rings


def test_categories_are_obeyed(file: AccelFile) -> None:
    switch(file, NextState.FW_TRACE, 1, COMMAND)
    queue = HandMadeQueue(file, padded=True, tiles=8)
    file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
    offset, data = read(file, TRACE)
    assert {event[0] for event in events(data)} == {STARTED, ENDED}
    switch(file, NextState.FW_TRACE, 1, CONTEXT)
    file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
    queue.close()
    assert [event[0] for event in events(read(file, TRACE, offset)[1])] == [DESTROYED]
    assert state(file, NextArray.FW_TRACE_CONFIG)[1:] == (1, CONTEXT)


def test_power_and_messages_are_traced(file: AccelFile) -> None:
    switch(file, NextState.FW_TRACE, 1)
    assert state(file, NextArray.FW_TRACE_CONFIG)[1:] == (1, 0xFFFF_FFFF), "AMDXDNA_DPT_FW_TRACE_MAX_DEFAULT"
    file.set_state(StateParam.POWER_MODE, bytes([PowerMode.LOW]))
    seen = list(events(read(file, TRACE)[1]))
    assert (DPM_LEVEL, 0, DPM[0][1]) in seen
    # aie4_msg_priv.h: AIE4_MSG_OP_POWER_OVERRIDE; status 0 is success.
    assert (ASKED, 0x3000B, 0) in seen


def test_a_watcher_waits_for_news_and_for_the_end(file: AccelFile) -> None:
    switch(file, NextState.FW_TRACE, 1, CONTEXT)
    found: list[bytes | int | None] = []

    def watch(offset: int) -> None:
        try:
            found.append(read(file, TRACE, offset, watch=True)[1])
        except FauxdnaError as error:
            found.append(error.errno)

    thread = threading.Thread(target=watch, args=(0,))
    thread.start()
    queue = HandMadeQueue(file, padded=True, tiles=8)
    thread.join()
    assert isinstance(found[0], bytes)
    assert list(events(found[0])) == [(CREATED, 1, 0, 2)]
    thread = threading.Thread(target=watch, args=(len(found[0]),))
    thread.start()
    switch(file, NextState.FW_TRACE, 0)
    thread.join()
    assert found[1] == errno.ESHUTDOWN
    queue.close()


def test_a_vf_sees_its_own_and_the_pf_all(host: Machine) -> None:
    bdfs = ("0000:05:00.1", "0000:05:00.2")
    with (
        host.open(bdf=bdfs[0], level=Level.NEXT) as first,
        host.open(bdf=bdfs[1], level=Level.NEXT) as second,
        host.open(DeviceType.PF, level=Level.NEXT) as pf,
    ):
        for node in (first, pf):
            switch(node, NextState.FW_TRACE, 1, CONTEXT | COMMAND)
            switch(node, NextState.FW_LOG, 1, 4)
        for node in (first, second):
            queue = HandMadeQueue(node, padded=True, tiles=4)
            node.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
            queue.close()
        own = [event[:2] for event in events(read(first, TRACE)[1])]
        assert own == [(CREATED, 1), (STARTED, 1), (ENDED, 1), (DESTROYED, 1)]
        both = [event[:2] for event in events(read(pf, TRACE)[1])]
        assert both == own + [(event, 1 << 16 | context) for event, context in own]
        assert refusal(lambda: read(second, TRACE)) == errno.ESHUTDOWN
        assert b"0000:05:00.2" not in read(first, LOG)[1]
        assert all(bdf.encode() in read(pf, LOG)[1] for bdf in bdfs)


@pytest.mark.parametrize("param", [LOG, TRACE])
def test_hostile_sizes(file: AccelFile, param: NextArray) -> None:
    switch(file, NextState.FW_LOG, 1, 4)
    switch(file, NextState.FW_TRACE, 1)
    HandMadeQueue(file, padded=True, tiles=4).close()
    for element_size in (1, 15):
        assert refusal(lambda size=element_size: file.get_array(param, size, 1, bytes(size))) == errno.EINVAL
    # Room for the question alone, and a question that claims more room than there is.
    assert file.get_array(param, 16, 1, struct.pack("<QIB3x", 0, 0xFFFF_FFFF, 0))[2][8:12] == bytes(4)
    _, _, answer = file.get_array(param, 64, 1, bytes(48) + struct.pack("<QIB3x", 0, 0xFFFF_FFFF, 0))
    assert struct.unpack("<QI", answer[-16:-4]) == (48, 48)
    assert refusal(lambda: read(file, param, 1 << 63)) == errno.EINVAL
    for size in (0, 1, 15, 17):
        assert refusal(lambda size=size: file.set_state(NextState.FW_LOG, bytes(size))) == errno.EINVAL
        assert refusal(lambda size=size: file.set_state(NextState.FW_TRACE, bytes(size))) == errno.EINVAL
    for size in (1, 15):
        assert refusal(lambda size=size: file.get_array(NextArray.FW_LOG_CONFIG, size, 1)) == errno.ENOSPC


def test_a_ring_that_wrapped_gives_what_is_left(host: Machine) -> None:
    """4 MiB without the footer's page; the records of a command take 8 + 24 + 8 and 8 + 40 + 8 bytes."""
    room, each = (4 << 20) - 4096, 96
    packets = -(-room // each // 32) * 32 + 32
    with host.open(level=Level.NEXT) as file:
        switch(file, NextState.FW_TRACE, 1, COMMAND)
        queue = HandMadeQueue(file, padded=True, tiles=4)
        for _ in range(packets // 32):
            for _ in range(32):
                sequence = queue.put(ring=False)
            queue.ring()
            file.wait_cmd(queue.handle, sequence, PATIENCE_MS)
        offset, data = read(file, TRACE, 0, 1 << 23)
    assert (offset, len(data)) == (packets * each, room)
    # What is left begins in the middle of a record; XRT looks for the next header.
    assert list(events(data[(len(data) - 32 * each) :]))[-1][:4] == (ENDED, 1, packets - 1, 0)


def test_a_failed_contexts_tiles_are_dumped_as_they_were(file: AccelFile) -> None:
    """Control code writes a word into a core tile's memory, then meets no opcode; the next packet gets fresh tiles."""
    queue = HandMadeQueue(file, padded=True, tiles=4)

    def dump() -> bytes:
        request = struct.pack("<QII", os.getpid(), queue.handle, 0)
        return file.get_array(NextArray.AIE_COREDUMP, 18 << 20, 1, request)[2]

    def write(offset: int, value: int) -> bytes:
        # WRITE_32: opcode 5, address, value; the first core tile of column 0 is row 6 there, and the third in a dump.
        return struct.pack("<3I", 5, 6 << 20 | offset, value)

    failing = allocate(file, page(write(0x40, 0x600D_F00D), struct.pack("<I", 0xEE)))[2]
    assert run(file, queue, failing) == 3 << 4 | 5, "error 3: an invalid opcode"
    place = (2 << 20) + 0x40
    assert dump()[place : place + 4] == struct.pack("<I", 0x600D_F00D)
    assert run(file, queue, allocate(file, page(write(0x44, 7)))[2]) == COMPLETED
    assert dump()[place : place + 8] == struct.pack("<2I", 0, 7)
    queue.close()
