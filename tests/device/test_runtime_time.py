"""Clocks, pace and timeouts."""

from __future__ import annotations

import errno
import struct
import time

import numpy as np
import pytest
from _program import expected, program, sample

import fauxdna
from fauxdna.abi import timing
from fauxdna.abi.control_code import PAGE_MAGIC, Opcode
from fauxdna.abi.uapi import DeviceType
from fauxdna.accel.machine import Machine
from fauxdna.driver import Pf
from fauxdna.errors import CommandFailed, DeviceTimeout, FirmwareRefused
from fauxdna.runtime import Buffer, Npu


def page(*operations: bytes) -> bytes:
    """A page of one job: header (magic, page 0, two unused lengths, length, no next page), operations, END_JOB, EOF."""
    body = b"".join(operations) + struct.pack("<2I", Opcode.END_JOB, Opcode.EOF)
    job = struct.pack("<BBHHH", Opcode.START_JOB, 0, 0, 8 + len(body) - 4, 0)
    length = 16 + len(job) + len(body)
    return struct.pack("<6HI", PAGE_MAGIC, 0, 0, 0, length, 0, 0) + job + body


def sleep(microseconds: int) -> bytes:
    return struct.pack("<2I", Opcode.SLEEP, microseconds)


def poll_forever() -> bytes:
    """POLL_32 of the shim's first lock for a value that it can't have."""
    return struct.pack("<3I", Opcode.POLL_32, 0x10000, 0x12345678)


def load(npu: Npu, code: bytes) -> Buffer:
    buffer = Buffer(npu.file, 8192)
    buffer.bytes[: len(code)] = np.frombuffer(code, np.uint8)
    return buffer


def test_simulated_time_goes_with_the_clock(host: Machine) -> None:
    pf = host.find(DeviceType.PF)
    assert isinstance(pf, Pf)
    times = {}
    with Npu(host.open()) as npu:
        for level, (_, hclk) in enumerate(timing.DPM_LEVELS):
            pf.smu.set_dpm_level(level)
            with npu.context(program()) as context:
                outputs = context.run({"x": sample(0)})
            np.testing.assert_array_equal(outputs["y"], expected(sample(0)))
            times[hclk] = outputs.report.simulated_ns
    # The same cycles at each clock: time x clock is constant, to the rounding of a nanosecond.
    products = [ns * hclk for hclk, ns in times.items()]
    assert max(products) - min(products) <= max(times) * 2
    assert len(set(times.values())) == len(times)


def test_levels_that_are_not_there_are_refused(host: Machine) -> None:
    pf = host.find(DeviceType.PF)
    assert isinstance(pf, Pf)
    with pytest.raises(FirmwareRefused) as caught:
        pf.smu.set_dpm_level(99)
    assert caught.value.errno == errno.EINVAL
    assert pf.smu.set_clocks(h_mhz=400) == (None, 400)


def test_a_job_that_waits_for_ever_times_out_on_the_device() -> None:
    with fauxdna.open() as npu:
        queue, code = npu.queue(1), load(npu, page(poll_forever()))
        with pytest.raises(CommandFailed, match="uC 0") as caught:
            queue.wait(queue.submit([(0, code.address)]), 30)
        assert caught.value.errno in (errno.ETIME, errno.EIO)
        assert caught.value.completion != 4
        queue.close()
        with npu.context(program(1)) as context:
            np.testing.assert_array_equal(context.run({"x": sample(1)})["y"], expected(sample(1)))


def test_fast_pace_does_not_sleep_and_real_pace_does() -> None:
    took = {}
    for pace in ("fast", "real"):
        with fauxdna.open(pace=pace) as npu:
            queue, code = npu.queue(1), load(npu, page(sleep(200_000)))
            started = time.monotonic()
            queue.wait(queue.submit([(0, code.address)]), 10)
            took[pace] = time.monotonic() - started
            queue.close()
    assert took["fast"] < 0.15
    assert 0.2 <= took["real"] < 2


def test_the_host_gives_up_and_the_context_can_be_closed() -> None:
    with fauxdna.open(pace="real") as npu:
        queue, code = npu.queue(1), load(npu, page(sleep(4_000_000)))
        sequence = queue.submit([(0, code.address)])
        started = time.monotonic()
        with pytest.raises(DeviceTimeout) as caught:
            queue.wait(sequence, 0.1)
        assert caught.value.errno == errno.ETIME
        queue.close()
        assert time.monotonic() - started < 2
        with npu.context(program(1)) as context:
            np.testing.assert_array_equal(context.run({"x": sample(1)})["y"], expected(sample(1)))
