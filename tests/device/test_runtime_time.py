"""Clocks, pace and timeouts."""

from __future__ import annotations

import errno
import struct
import time

import numpy as np
import pytest
from _patience import PATIENCE
from _program import expected, load, page, program, sample, sleep

import fauxdna
from fauxdna.abi import timing
from fauxdna.abi.control_code import Opcode
from fauxdna.abi.uapi import DeviceType
from fauxdna.accel.machine import Machine
from fauxdna.driver import Pf
from fauxdna.errors import CommandFailed, DeviceTimeout, FirmwareRefused
from fauxdna.runtime import Npu


def poll_forever() -> bytes:
    """POLL_32 of the shim's first lock for a value that it can't have."""
    return struct.pack("<3I", Opcode.POLL_32, 0x10000, 0x12345678)


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
            queue.wait(queue.submit([(0, code.address)]), PATIENCE)
        assert caught.value.errno in (errno.ETIME, errno.EIO)
        assert caught.value.completion != 4
        queue.close()
        with npu.context(program(1)) as context:
            np.testing.assert_array_equal(context.run({"x": sample(1)})["y"], expected(sample(1)))


def test_fast_pace_does_not_sleep_and_real_pace_does() -> None:
    # An hour at pace "fast" is over before anybody loses patience; a fifth of a second at pace "real" takes that long.
    for pace, microseconds in (("fast", 3600_000_000), ("real", 200_000)):
        with fauxdna.open(pace=pace) as npu:
            queue, code = npu.queue(1), load(npu, page(sleep(microseconds)))
            started = time.monotonic()
            queue.wait(queue.submit([(0, code.address)]), PATIENCE)
            if pace == "real":
                assert time.monotonic() - started >= 0.2
            queue.close()


def test_the_host_gives_up_and_the_context_can_be_closed() -> None:
    with fauxdna.open(pace="real") as npu:
        queue, code = npu.queue(1), load(npu, page(sleep(100_000_000)))
        sequence = queue.submit([(0, code.address)])
        started = time.monotonic()
        with pytest.raises(DeviceTimeout) as caught:
            queue.wait(sequence, 0.1)
        assert caught.value.errno == errno.ETIME
        queue.close()
        assert time.monotonic() - started < 100, "it waited for the packet's time"
        with npu.context(program(1)) as context:
            np.testing.assert_array_equal(context.run({"x": sample(1)})["y"], expected(sample(1)))
