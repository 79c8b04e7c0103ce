"""Level ``next`` through the ioctl service: nested buffers, sizes that come back, permissions."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

import pytest
from _uapi import Program, Sandbox, at

from fauxdna.abi import uapi, uapi_next
from fauxdna.abi.uapi import ArrayParam, BoType, InfoParam, Ioctl, StateParam
from fauxdna.abi.uapi_next import Level, NextArray, NextInfo
from fauxdna.accel.machine import Machine


@pytest.fixture
def program(host: Machine) -> Iterator[Program]:
    with Sandbox(host, level=Level.NEXT) as sandbox:
        yield sandbox.open()


def info(program: Program, param: int, size: int, data: bytes = b"") -> tuple[bytes, int]:
    """What the buffer holds, and ``buffer_size``, afterwards."""
    buffer = ctypes.create_string_buffer(data, max(1, size))
    reply = program.ioctl(Ioctl.GET_INFO, param=param, buffer_size=size, buffer=ctypes.addressof(buffer))
    return buffer.raw[:size], reply.buffer_size


def raw_array(program: Program, param: int, size: int, count: int, data: bytes = b"") -> tuple[int, uapi.Record, bytes]:
    buffer = ctypes.create_string_buffer(data, max(1, size * count))
    argument = uapi.GET_ARRAY.pack(param=param, element_size=size, num_element=count, buffer=ctypes.addressof(buffer))
    error, after = program.raw(Ioctl.GET_ARRAY, argument)
    return error, uapi.GET_ARRAY.unpack(after), buffer.raw


def test_what_xrt_smi_examine_asks(program: Program) -> None:
    """The calls that stock XRT 2.25 was seen to make."""
    assert uapi.QUERY_FIRMWARE_VERSION.unpack(info(program, InfoParam.FIRMWARE_VERSION, 16)[0]).major == 1
    assert uapi.QUERY_FIRMWARE_VERSION.unpack(info(program, NextInfo.CERT_FIRMWARE_VERSION, 16)[0]).major == 1
    data, size = info(program, InfoParam.SENSORS, 32 * 168)
    assert size == 4 * 168
    assert data[168:].startswith(b"Column 0 Utilization\0")
    assert info(program, InfoParam.POWER_MODE, 8) == (bytes(8), 8)
    assert info(program, InfoParam.TELEMETRY, 128 << 10, bytes(4))[0][0] == 1
    error, after, _ = raw_array(program, ArrayParam.HW_CONTEXT_ALL, 144, 32)
    assert (error, after.num_element, after.element_size) == (0, 0, 144)


def test_arrays_tell_how_much_they_need(program: Program) -> None:
    for _ in range(3):
        program.context(program.bo(8192, BoType.CMD))
    error, after, _ = raw_array(program, ArrayParam.HW_CONTEXT_ALL, 144, 2)
    assert (error, after.num_element) == (errno.ENOSPC, 3)
    error, after, data = raw_array(program, ArrayParam.HW_CONTEXT_ALL, 144, after.num_element)
    assert (error, after.num_element, after.element_size) == (0, 3, 144)
    assert [uapi.HWCTX_ENTRY.unpack(data, 144 * index).context_id for index in range(3)] == [1, 2, 3]
    error, after, _ = raw_array(
        program, NextArray.AIE_COREDUMP, 4096, 1, uapi_next.AIE_COREDUMP.pack(pid=os.getpid(), context_id=1)
    )
    assert (error, after.element_size) == (errno.ENOSPC, 18 << 20)
    argument = uapi.GET_INFO.pack(param=InfoParam.HW_CONTEXTS, buffer_size=64, buffer=at(bytes(64))[0])
    error, answer = program.raw(Ioctl.GET_INFO, argument)
    assert (error, uapi.GET_INFO.unpack(answer).buffer_size) == (errno.EINVAL, 3 * 64)


def test_status_goes_into_the_buffer_that_the_buffer_names(program: Program) -> None:
    program.context(program.bo(8192, BoType.CMD), tiles=8)
    size = uapi.QUERY_AIE_METADATA.unpack(info(program, InfoParam.AIE_METADATA, 64)[0]).col_size
    status = ctypes.create_string_buffer(b"\xee" * (3 * size), 3 * size)
    query = uapi.QUERY_AIE_STATUS.pack(buffer=ctypes.addressof(status), buffer_size=3 * size)
    answer = uapi.QUERY_AIE_STATUS.unpack(info(program, InfoParam.AIE_STATUS, 16, query)[0])
    assert answer.cols_filled == 0b011
    assert status.raw[: 2 * size] == bytes(2 * size)
    assert status.raw[2 * size :] == b"\xee" * size
    wild = uapi.QUERY_AIE_STATUS.pack(buffer=16, buffer_size=3 * size)
    buffer, keep = at(wild)
    assert program.errno(Ioctl.GET_INFO, param=InfoParam.AIE_STATUS, buffer_size=16, buffer=buffer) == errno.EFAULT
    del keep


def test_bad_pointers(program: Program) -> None:
    # A context, so that there is an entry to copy.
    program.context(program.bo(8192, BoType.CMD), tiles=4)
    assert program.errno(Ioctl.GET_INFO, param=InfoParam.POWER_MODE, buffer_size=8, buffer=8) == errno.EFAULT
    assert program.errno(Ioctl.GET_ARRAY, param=ArrayParam.BO_USAGE, element_size=32, num_element=1, buffer=8) == errno.EFAULT
    assert program.errno(Ioctl.GET_INFO, param=InfoParam.POWER_MODE, buffer_size=0, buffer=8) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="SET_STATE takes CAP_SYS_ADMIN")
def test_a_state_is_set_and_seen(program: Program) -> None:
    buffer, keep = at(struct.pack("<B7x", 1))
    assert program.errno(Ioctl.SET_STATE, param=StateParam.POWER_MODE, buffer_size=8, buffer=buffer) == 0
    assert info(program, InfoParam.POWER_MODE, 8)[0][0] == 1
    clocks = uapi.QUERY_CLOCK_METADATA.unpack(info(program, InfoParam.CLOCK_METADATA, 48)[0])
    assert (clocks.mp_npu_clock_freq_mhz, clocks.h_clock_freq_mhz) == (400, 400)
    del keep


def test_a_log_buffer_is_assigned_and_removed(program: Program) -> None:
    context = program.context(program.bo(8192, BoType.CMD)).handle
    log, metadata = program.bo(6 * 16384), program.bo(4096, BoType.CMD)
    shares = b"".join(struct.pack("<2I", uc, 16384) for uc in range(6))
    memory = program.map_bo(metadata)
    memory[:64] = struct.pack("<BBHIQ", 3, 6, 0, log, 0) + shares
    for param in (1, 2):
        assert program.errno(Ioctl.CONFIG_HWCTX, handle=context, param_type=param, param_val=metadata) == 0
    memory[1] = 7
    assert program.errno(Ioctl.CONFIG_HWCTX, handle=context, param_type=1, param_val=metadata) == errno.EINVAL


def test_level_7_2_refuses_before_it_looks(host: Machine) -> None:
    with Sandbox(host) as sandbox:
        program = sandbox.open()
        for param in (InfoParam.AIE_STATUS, InfoParam.SENSORS, NextInfo.CERT_FIRMWARE_VERSION):
            assert program.errno(Ioctl.GET_INFO, param=param, buffer_size=64, buffer=8) == errno.EOPNOTSUPP
