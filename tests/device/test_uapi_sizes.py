"""GET_INFO, GET_ARRAY and SET_STATE with buffers of any size: older and newer programs, and hostile ones.

What is expected is what amd/xdna-driver ``aie4_pci.c`` does with each (and, at level 7.2, Linux's ``amdxdna_get_metadata``).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator

import pytest
from _uapi import Program, Sandbox

from fauxdna.abi import uapi, uapi_next
from fauxdna.abi.uapi import ArrayParam, BoType, InfoParam, Ioctl, StateParam
from fauxdna.abi.uapi_next import Level, NextArray, NextInfo, NextState
from fauxdna.accel.machine import Machine

GUARD = 0xA5
HUGE = 0xFFFF_FFFF
USER_END = (1 << 47) - 4096
"""TASK_SIZE_MAX."""
KERNEL = 0xFFFF_8000_0000_0000
FIXED: dict[InfoParam | NextInfo, int] = {
    InfoParam.AIE_METADATA: 64,
    InfoParam.AIE_VERSION: 8,
    InfoParam.CLOCK_METADATA: 48,
    InfoParam.FIRMWARE_VERSION: 16,
    NextInfo.CERT_FIRMWARE_VERSION: 16,
    InfoParam.POWER_MODE: 8,
    InfoParam.FORCE_PREEMPT: 8,
    InfoParam.RESOURCE_INFO: 40,
    InfoParam.FRAME_BOUNDARY_PREEMPT: 8,
}
"""Bytes of each answer (``amdxdna_accel.h``)."""
SENSOR, ROW = 168, 64


@pytest.fixture
def program(host: Machine) -> Iterator[Program]:
    with Sandbox(host, level=Level.NEXT) as sandbox:
        yield sandbox.open()


class Buffer:
    """Memory up to an unmapped page, full of a pattern."""

    def __init__(self, size: int, start: bytes = b"") -> None:
        pages = size // 4096 + 2
        self._memory = mmap.mmap(-1, pages * 4096)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        assert libc.mprotect(base + (pages - 1) * 4096, 4096, 0) == 0
        self.size = size
        self.address = base + (pages - 1) * 4096 - size
        ctypes.memmove(self.address, start.ljust(size, bytes([GUARD])), size)

    @property
    def data(self) -> bytes:
        return ctypes.string_at(self.address, self.size)


def get_info(program: Program, param: int, size: int, address: int) -> tuple[int, int]:
    """errno, and ``buffer_size`` afterwards."""
    error, after = program.raw(Ioctl.GET_INFO, uapi.GET_INFO.pack(param=param, buffer_size=size, buffer=address))
    return error, uapi.GET_INFO.unpack(after).buffer_size


def get_array(program: Program, param: int, size: int, count: int, address: int) -> tuple[int, int, int]:
    """errno, element size and count afterwards."""
    argument = uapi.GET_ARRAY.pack(param=param, element_size=size, num_element=count, buffer=address)
    error, after = program.raw(Ioctl.GET_ARRAY, argument)
    fields = uapi.GET_ARRAY.unpack(after)
    return error, fields.element_size, fields.num_element


@pytest.mark.parametrize("param", FIXED, ids=lambda param: param.name)
def test_an_answer_is_cut_to_the_buffer(program: Program, param: InfoParam | NextInfo) -> None:
    full = FIXED[param]
    whole = Buffer(full)
    assert get_info(program, param, full, whole.address) == (0, full)
    for size in (0, 1, full - 1, full, full + 1, 1 << 20, HUGE):
        # A claim of more than there is harms nobody, as long as the answer fits.
        room = Buffer(max(full, min(size, full + 1)))
        assert get_info(program, param, size, room.address) == (0, size)
        written = min(size, full)
        assert room.data[:written] == whole.data[:written]
        assert room.data[written:] == bytes([GUARD]) * (room.size - written)
    short = Buffer(full - 1)
    assert get_info(program, param, full, short.address)[0] == errno.EFAULT
    assert get_info(program, param, 0, 0)[0] == 0
    for size, address in ((full, 0), (full, 8), (0, KERNEL), (full, KERNEL), (HUGE, USER_END - full), (full, HUGE << 32)):
        assert get_info(program, param, size, address)[0] == errno.EFAULT


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, HUGE])
def test_metadata_at_level_7_2(host: Machine, size: int) -> None:
    """``copy_to_user`` of ``min(buffer_size, sizeof(metadata))``: what lies behind is not looked at."""
    with Sandbox(host) as sandbox:
        program = sandbox.open()
        room = Buffer(65)
        assert get_info(program, InfoParam.AIE_METADATA, size, room.address) == (0, size)
        assert room.data[min(size, 64) :] == bytes([GUARD]) * (65 - min(size, 64))
        assert get_info(program, InfoParam.AIE_METADATA, 0, KERNEL)[0] == 0
        assert get_info(program, InfoParam.AIE_METADATA, 64, KERNEL)[0] == errno.EFAULT


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 0), (SENSOR - 1, 0), (SENSOR, 1), (2 * SENSOR + 5, 2), (HUGE, 4)])
def test_sensors_are_whole(program: Program, size: int, count: int) -> None:
    room = Buffer(4 * SENSOR)
    assert get_info(program, InfoParam.SENSORS, size, room.address) == (0, count * SENSOR)
    assert room.data[count * SENSOR :] == bytes([GUARD]) * (4 - count) * SENSOR


def test_contexts_say_how_much_they_need(program: Program) -> None:
    room = Buffer(2 * ROW)
    for size in (0, 1, HUGE):
        assert get_info(program, InfoParam.HW_CONTEXTS, size, room.address) == (0, 0), "there are none"
    for _ in range(2):
        program.context(program.bo(8192, BoType.CMD))
    for size in (0, 1, ROW, 2 * ROW - 1):
        assert get_info(program, InfoParam.HW_CONTEXTS, size, room.address) == (errno.EINVAL, 2 * ROW)
    for size in (2 * ROW, 2 * ROW + 1, HUGE):
        assert get_info(program, InfoParam.HW_CONTEXTS, size, room.address) == (0, 2 * ROW)
    assert get_info(program, InfoParam.HW_CONTEXTS, HUGE, USER_END - 2 * ROW)[0] == errno.EFAULT


def test_telemetry_takes_128_kib(program: Program) -> None:
    least = 128 << 10
    kind = Buffer(4, bytes(4))
    for size in (0, 1, 4, least - 1):
        assert get_info(program, InfoParam.TELEMETRY, size, kind.address)[0] == errno.ENOSPC
        assert get_info(program, InfoParam.TELEMETRY, size, 8)[0] == errno.EFAULT, "the type is read first"
    for size in (least, least + 1, 1 << 20):
        room = Buffer(size, bytes(4))
        assert get_info(program, InfoParam.TELEMETRY, size, room.address) == (0, size)
        assert not any(room.data[least:])
    unknown = Buffer(least, struct.pack("<I", 9))
    assert get_info(program, InfoParam.TELEMETRY, least, unknown.address)[0] == errno.EINVAL
    assert get_info(program, InfoParam.TELEMETRY, HUGE, unknown.address)[0] == errno.ENOMEM


def test_status_into_less_than_all_columns(program: Program) -> None:
    """``struct amdxdna_drm_query_aie_status``: u64 buffer, u32 size, u32 columns, which may be cut itself."""
    whole = Buffer(64)
    assert get_info(program, InfoParam.AIE_METADATA, 64, whole.address)[0] == 0
    columns = 3 * struct.unpack_from("<I", whole.data)[0]
    room = Buffer(columns)
    for given, expected in ((0, errno.EINVAL), (columns - 1, errno.EINVAL), (columns, 0), (HUGE, 0)):
        query = Buffer(16, struct.pack("<QII", room.address, given, 0))
        assert get_info(program, InfoParam.AIE_STATUS, 16, query.address)[0] == expected
    for size in (0, 8, 11):
        query = Buffer(16, struct.pack("<QII", room.address, 0, 0))
        assert get_info(program, InfoParam.AIE_STATUS, size, query.address)[0] == errno.EINVAL, "the rest is 0"
    query = Buffer(16, struct.pack("<QII", room.address, columns, 7))
    assert get_info(program, InfoParam.AIE_STATUS, 12, query.address)[0] == 0
    assert query.data[12:] == struct.pack("<I", 7), "cols_filled did not fit"
    assert get_info(program, InfoParam.AIE_STATUS, 16, KERNEL)[0] == errno.EFAULT


@pytest.mark.parametrize("size", [1, 8, 143, 144, 159, 160, 161, 4096])
def test_contexts_in_elements_of_any_size(program: Program, size: int) -> None:
    """Older programs get what they know, newer ones what there is; entries follow each other at the size that is told."""
    for _ in range(2):
        program.context(program.bo(8192, BoType.CMD))
    full = Buffer(320)
    assert get_array(program, ArrayParam.HW_CONTEXT_ALL, 160, 2, full.address) == (0, 160, 2)
    given = min(size, 160)
    room = Buffer(2 * max(size, 160))
    assert get_array(program, ArrayParam.HW_CONTEXT_ALL, size, 2, room.address) == (0, given, 2)
    rows = [full.data[:given], full.data[160 : 160 + given]]
    assert room.data[: 2 * given] == b"".join(rows)
    assert room.data[2 * given :] == bytes([GUARD]) * (room.size - 2 * given)
    assert get_array(program, ArrayParam.HW_CONTEXT_ALL, size, 1, room.address) == (errno.ENOSPC, size, 2)


@pytest.mark.parametrize(
    "param",
    [ArrayParam.HW_CONTEXT_ALL, ArrayParam.LAST_ASYNC_ERROR, ArrayParam.BO_USAGE, *NextArray],
    ids=lambda param: param.name,
)
def test_arrays_of_impossible_shape(program: Program, param: int) -> None:
    room = Buffer(4096, struct.pack("<QI", os.getpid(), 1))
    function = program.sandbox.machine.nodes[program.sandbox.nodes[0]]
    for stream in (function.firmware_log, function.firmware_trace):
        stream.set(1, 1)
    for size, count in ((0, 1), (144, 0), (0, 0), (144, 1025), (144, HUGE)):
        assert get_array(program, param, size, count, room.address)[0] == errno.EINVAL
    error, after = program.raw(
        Ioctl.GET_ARRAY, uapi.GET_ARRAY.pack(param=param, element_size=144, num_element=1, pad=1, buffer=room.address)
    )
    assert error == errno.EINVAL
    assert uapi.GET_ARRAY.unpack(after).pad == 1
    if param in (ArrayParam.LAST_ASYNC_ERROR, ArrayParam.BO_USAGE):
        # The driver takes any size here, and copies what it has.
        assert get_array(program, param, HUGE, 1, room.address)[0] == 0
    else:
        assert get_array(program, param, (100 << 20) + 1, 1, room.address)[0] == errno.EINVAL
        assert get_array(program, param, 4096, 1, KERNEL)[0] == errno.EFAULT
        assert get_array(program, param, 100 << 20, 1, USER_END - 4096)[0] == errno.EFAULT


def test_questions_in_short_elements(program: Program) -> None:
    """``amdxdna_drm_copy_array_from_user``: what is not given is 0, and process 0 is none."""
    room = Buffer(32, struct.pack("<q", os.getpid()))
    program.bo(4096)
    for size in (8, 9, 31, 32, 33, 4096):
        assert get_array(program, ArrayParam.BO_USAGE, size, 1, room.address) == (0, min(size, 32), 1)
    assert struct.unpack_from("<qq", room.data) == (os.getpid(), 4096)
    zero = Buffer(32, bytes(32))
    assert get_array(program, ArrayParam.BO_USAGE, 32, 1, zero.address)[0] == errno.EINVAL
    for param in (NextArray.AIE_COREDUMP, NextArray.AIE_TILE_READ):
        least = uapi_next.AIE_COREDUMP.size if param is NextArray.AIE_COREDUMP else uapi_next.AIE_TILE_ACCESS.size
        question = Buffer(4096, struct.pack("<QI", os.getpid(), 1))
        assert get_array(program, param, least - 1, 1, question.address)[0] == errno.ENOSPC
        assert get_array(program, param, least, 2, question.address)[0] == errno.EINVAL


@pytest.mark.skipif(os.geteuid() != 0, reason="SET_STATE takes CAP_SYS_ADMIN")
def test_states_of_any_size(program: Program) -> None:
    def set_state(param: int, size: int, address: int) -> int:
        return program.errno(Ioctl.SET_STATE, param=param, buffer_size=size, buffer=address)

    mode = Buffer(8, b"\1" + bytes(7))
    for size in (1, 7, 8):
        assert set_state(StateParam.POWER_MODE, size, mode.address) == 0
    preempt = Buffer(8, b"\2" + bytes(7))
    assert set_state(StateParam.FORCE_PREEMPT, 8, preempt.address) == errno.EINVAL
    for param in (StateParam.POWER_MODE, StateParam.FORCE_PREEMPT, NextState.FW_LOG, NextState.AIE_TILE_WRITE):
        assert set_state(param, 8, KERNEL) == errno.EFAULT
        assert set_state(param, HUGE, USER_END - 8) == errno.EFAULT
    assert set_state(StateParam.POWER_MODE, HUGE, mode.address) == 0, "what it knows is looked at"
    for size in (0, 15, 17, HUGE):
        assert set_state(NextState.FW_LOG, size, mode.address) == errno.EINVAL
    assert set_state(NextState.AIE_TILE_WRITE, 8, mode.address) == errno.ENOSPC
    assert set_state(NextState.AIE_TILE_WRITE, HUGE, mode.address) == errno.ENOMEM
