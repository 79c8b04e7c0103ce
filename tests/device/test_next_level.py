"""What a device tells at level ``next``: each test changes the state and sees the answer change, through both doors."""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _doors import HandMadeQueue
from _files import opened
from _patience import PATIENCE, PATIENCE_MS, eventually
from _program import load, page, program, sample, sleep

from fauxdna.abi import messages_5_24, uapi, uapi_next
from fauxdna.abi.host_queue import CompletionState
from fauxdna.abi.uapi import ArrayParam, BoType, DeviceType, InfoParam, PowerMode, StateParam
from fauxdna.abi.uapi_next import Level, NextArray, NextInfo, NextState
from fauxdna.accel import AccelFile, Qos
from fauxdna.accel.local import LocalFile
from fauxdna.accel.machine import Machine
from fauxdna.errors import BufferTooSmall, FauxdnaError
from fauxdna.firmware import build_images, image_loader
from fauxdna.runtime import Npu
from fauxdna.serve import LocalDie

PERIOD = 0.12
"""Seconds between two readings of sensors that differ."""
DPM = ((400, 400), (960, 576), (1108, 576), (1200, 847), (1200, 1200))
"""(npuclk, hclk) of amd/xdna-driver ``npu3_regs.c``."""


@pytest.fixture
def host() -> Iterator[Machine]:
    with LocalDie() as die, Machine(die, image_loader(), vfs=2, kick_fd=die.kick_fd, telemetry=die) as machine:
        yield machine


@pytest.fixture(params=["local", "real", "service"])
def file(host: Machine, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AccelFile]:
    with opened(request.param, host, tmp_path, Level.NEXT) as file:
        yield file


def ask(file: AccelFile, param: int, layout: uapi.Struct) -> uapi.Record:
    return layout.unpack(file.get_info(param, layout.size))


def refusal(call: Callable[[], object]) -> int | None:
    with pytest.raises(FauxdnaError) as caught:
        call()
    return caught.value.errno


def text(record: uapi.Record, name: str) -> str:
    value: object = record[name]
    assert isinstance(value, tuple)
    return bytes(value).partition(b"\0")[0].decode()


def mode(file: AccelFile, value: int) -> None:
    file.set_state(StateParam.POWER_MODE, uapi.SET_POWER_MODE.pack(power_mode=value))


def contexts(file: AccelFile, size: int = 160) -> list[uapi.Record]:
    stride, count, data = file.get_array(ArrayParam.HW_CONTEXT_ALL, size, 64)
    assert stride == min(size, 160)
    return [
        uapi_next.NEXT_HWCTX_ENTRY.unpack(data[at : at + stride].ljust(160, b"\0")) for at in range(0, count * stride, stride)
    ]


def test_versions_are_those_of_the_images() -> None:
    from fauxdna.abi.firmware import FirmwareKind
    from fauxdna.firmware import build, cert_manifest, development_key, npu_manifest

    images = {
        "npu.dev.sbin": build(
            FirmwareKind.NPU, npu_manifest(version=(7, 8, 9, 10)), development_key(), protocol=(5, 24), name="npu"
        ),
        "cert.dev.sbin": build(
            FirmwareKind.CERT, cert_manifest(version=(3, 4, 5, 6)), development_key(), protocol=(5, 24), name="cert"
        ),
    }
    with LocalDie() as die, Machine(die, image_loader(images)) as machine:
        for kind in (DeviceType.UMQ, DeviceType.PF):
            with machine.open(kind, level=Level.NEXT) as file:
                version = ask(file, InfoParam.FIRMWARE_VERSION, uapi.QUERY_FIRMWARE_VERSION)
                assert tuple(version.values()) == (7, 8, 9, 10)
                version = ask(file, NextInfo.CERT_FIRMWARE_VERSION, uapi.QUERY_FIRMWARE_VERSION)
                assert tuple(version.values()) == (3, 4, 5, 6)
                assert file.attributes()["fw_version"] == "7.8.9.10"
        with machine.open() as file:
            assert file.attributes()["fw_version"] == "0.0.0.0"


def test_clocks_follow_the_power_mode(file: AccelFile) -> None:
    for value, level in ((PowerMode.LOW, 0), (PowerMode.MEDIUM, 2), (PowerMode.HIGH, 3), (PowerMode.TURBO, 4), (0, 4)):
        mode(file, value)
        assert ask(file, InfoParam.POWER_MODE, uapi.GET_POWER_MODE).power_mode == value
        clocks = ask(file, InfoParam.CLOCK_METADATA, uapi.QUERY_CLOCK_METADATA)
        assert (clocks.mp_npu_clock_freq_mhz, clocks.h_clock_freq_mhz) == DPM[level]
        assert text(clocks, "h_clock_name") == "H Clock"
        resources = ask(file, InfoParam.RESOURCE_INFO, uapi.GET_RESOURCE_INFO)
        assert resources.npu_tops_curr == 4096 * 3 * DPM[level][1] // 1_000_000
    assert (resources.npu_clk_max, resources.npu_tops_max, resources.npu_task_max) == (1200, 14, 3)
    assert refusal(lambda: mode(file, 5)) == errno.EINVAL


def test_turbo_takes_a_function_without_contexts(file: AccelFile) -> None:
    """``aie4_pm_check_turbo``."""
    queue = HandMadeQueue(file, padded=True)
    assert refusal(lambda: mode(file, PowerMode.TURBO)) == errno.EBUSY
    mode(file, PowerMode.HIGH)
    queue.close()
    mode(file, PowerMode.TURBO)


def test_no_vf_slows_another(host: Machine) -> None:
    names = [name for name, function in host.nodes.items() if function.info.device_type is DeviceType.UMQ]
    with host.open(bdf=names[0], level=Level.NEXT) as one, host.open(bdf=names[1], level=Level.NEXT) as other:
        mode(one, PowerMode.LOW)
        assert ask(other, InfoParam.CLOCK_METADATA, uapi.QUERY_CLOCK_METADATA).h_clock_freq_mhz == 400
        queue = HandMadeQueue(other, padded=True)
        assert ask(one, InfoParam.CLOCK_METADATA, uapi.QUERY_CLOCK_METADATA).h_clock_freq_mhz == 1200
        queue.close()
        assert ask(one, InfoParam.CLOCK_METADATA, uapi.QUERY_CLOCK_METADATA).h_clock_freq_mhz == 400


def test_contexts_are_counted_and_described(file: AccelFile) -> None:
    assert contexts(file) == []
    queue = HandMadeQueue(file, padded=True, tiles=8, qos=Qos(gops=3, fps=4, dma_bandwidth=5, latency=6, frame_exec_time=7))
    other = HandMadeQueue(file, padded=True, tiles=4)
    for _ in range(3):
        file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
    file.wait_cmd(queue.handle, queue.put(opcode=77), PATIENCE_MS)
    first, second = contexts(file)
    assert (first.context_id, first.num_col, first.pid) == (queue.handle, 2, os.getpid())
    assert (first.command_submissions, first.command_completions, first.errors) == (4, 3, 1)
    assert (first.gops, first.fps, first.dma_bandwidth, first.latency, first.frame_exec_time) == (3, 4, 5, 6, 7)
    assert (first.priority, first.preemptions, first.migrations, first.suspensions) == (0x200, 0, 0, 0)
    assert first.fatal_error_type == 4 << 4 | CompletionState.ERROR
    assert text(first, "name") == Path("/proc/self/comm").read_text().strip()[:15]
    assert (second.context_id, second.num_col, second.command_submissions) == (other.handle, 1, 0)
    # 7.2's element, which XRT 2.25 asks for.
    assert [entry.command_completions for entry in contexts(file, 144)] == [3, 0]
    rows = file.get_info(InfoParam.HW_CONTEXTS, 4096)
    assert len(rows) == 2 * uapi.QUERY_HWCTX.size
    assert uapi.QUERY_HWCTX.unpack(rows).command_completions == 3
    assert ask(file, InfoParam.RESOURCE_INFO, uapi.GET_RESOURCE_INFO).npu_task_curr == 2
    wanted = uapi.HWCTX_ENTRY.pack(context_id=queue.handle, pid=os.getpid())
    _, count, data = file.get_array(NextArray.HW_CONTEXT_BY_ID, 160, 1, wanted)
    assert (count, uapi_next.NEXT_HWCTX_ENTRY.unpack(data).errors) == (1, 1)
    queue.close()
    other.close()
    assert contexts(file) == []


def test_contexts_of_every_process_of_the_function(host: Machine) -> None:
    with host.open(level=Level.NEXT, pid=77) as theirs, host.open(level=Level.NEXT) as ours:
        HandMadeQueue(theirs, padded=True)
        HandMadeQueue(ours, padded=True)
        assert sorted(entry.pid for entry in contexts(ours)) == sorted((77, os.getpid()))


def test_arrays_that_do_not_fit(host: Machine) -> None:
    with host.open(level=Level.NEXT) as file:
        for _ in range(3):
            HandMadeQueue(file, padded=True)
        with pytest.raises(BufferTooSmall) as caught:
            file.get_array(ArrayParam.HW_CONTEXT_ALL, 144, 2)
        assert (caught.value.errno, caught.value.needed, caught.value.unit) == (errno.ENOSPC, 3, "elements")
        with pytest.raises(BufferTooSmall) as caught:
            file.get_info(InfoParam.HW_CONTEXTS, 64)
        assert (caught.value.errno, caught.value.needed) == (errno.EINVAL, 3 * 64)
        for size, count in ((0, 1), (144, 0), (144, 1025), ((100 << 20) + 1, 1)):
            assert refusal(lambda size=size, count=count: file.get_array(ArrayParam.HW_CONTEXT_ALL, size, count)) == errno.EINVAL


def usage(file: AccelFile, pid: int) -> tuple[int, int]:
    _, count, data = file.get_array(ArrayParam.BO_USAGE, uapi.BO_USAGE.size, 1, uapi.BO_USAGE.pack(pid=pid))
    answer = uapi.BO_USAGE.unpack(data)
    assert (count, answer.pid, answer.heap_usage) == (1, pid, 0)
    return answer.total_usage, answer.internal_usage


def test_bo_usage_of_a_process_over_its_files(host: Machine) -> None:
    with (
        host.open(level=Level.NEXT, pid=77) as one,
        host.open(level=Level.NEXT, pid=77) as two,
        host.open(level=Level.NEXT) as ours,
    ):
        assert usage(ours, 77) == (0, 0)
        one.create_bo(4096)
        two.create_bo(8192, BoType.CMD)
        assert usage(ours, 77) == (12288, 8192)
        assert usage(ours, os.getpid()) == (0, 0)
        assert refusal(lambda: usage(ours, 0)) == errno.EINVAL
        two.close()
        assert usage(ours, 77) == (4096, 0)


def test_the_last_error_has_its_time_and_outlives_its_context(file: AccelFile) -> None:
    def last() -> list[uapi.Record]:
        _, count, data = file.get_array(ArrayParam.LAST_ASYNC_ERROR, 24, 1)
        return [uapi.ASYNC_ERROR.unpack(data, at) for at in range(0, 24 * count, 24)]

    assert last() == []
    queue = HandMadeQueue(file, padded=True)
    file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
    assert last() == []
    before = time.time_ns() // 1000
    file.wait_cmd(queue.handle, queue.put(opcode=77), PATIENCE_MS)
    after = time.time_ns() // 1000
    (error,) = last()
    # KDS_EXEC, driver AIE, critical, module AIE core, class AIE (``amdxdna_error.h``).
    assert error.err_code == 14 | 4 << 16 | 3 << 24 | 3 << 32 | 2 << 40
    assert before <= error.ts_us <= after
    assert error.ex_err_code >> 32 == 1  # CTX_STATUS_ERROR
    queue.close()
    assert last() == [error]


def sensors(file: AccelFile) -> dict[str, uapi.Record]:
    data = file.get_info(InfoParam.SENSORS, 32 * uapi.QUERY_SENSOR.size)
    assert len(data) % uapi.QUERY_SENSOR.size == 0
    found = [uapi.QUERY_SENSOR.unpack(data, at) for at in range(0, len(data), uapi.QUERY_SENSOR.size)]
    return {text(sensor, "label"): sensor for sensor in found}


def test_sensors_show_work(host: Machine) -> None:
    with host.open(level=Level.NEXT) as file, Npu(host.open()) as npu, npu.context(program()) as context:
        found = sensors(file)
        assert list(found) == ["Total Power", *(f"Column {column} Utilization" for column in range(3))]
        assert (text(found["Total Power"], "units"), found["Total Power"].unitm) == ("mW", -3)
        time.sleep(PERIOD)
        sensors(file)
        time.sleep(PERIOD)
        first = time.monotonic()
        idle = sensors(file)
        began = time.monotonic()
        assert (idle["Total Power"].input, idle["Column 0 Utilization"].input) == (0, 0)
        x = {"x": sample(1)}
        runs = 0
        while time.monotonic() < began + 2 * PERIOD:
            context.run(x)
            runs += 1
        ended = time.monotonic()
        busy = sensors(file)
        # The readings were made between these times; a milliwatt and a per cent are what rounding may take.
        shares = (runs / (time.monotonic() - first), runs / (ended - began))
        least, most = (share * context.report.energy_uj / 1e3 for share in shares)
        assert least - 1 <= busy["Total Power"].input <= most + 1
        least, most = (share * context.report.simulated_ns / 1e7 for share in shares)
        for column in range(3):
            assert least - 1 <= busy[f"Column {column} Utilization"].input <= most + 1
        # What fits is given, whole.
        assert len(file.get_info(InfoParam.SENSORS, 2 * 168 + 100)) == 2 * 168


def test_a_vf_sees_its_own_work_only(host: Machine) -> None:
    names = [name for name, function in host.nodes.items() if function.info.device_type is DeviceType.UMQ]
    with (
        host.open(bdf=names[1], level=Level.NEXT) as other,
        host.open(DeviceType.PF, level=Level.NEXT) as pf,
        Npu(host.open(bdf=names[0])) as npu,
    ):
        # Ten simulated seconds: however long the reading's period becomes, they are more than half a per cent of it.
        queue, code = npu.queue(1), load(npu, page(sleep(10_000_000)))
        queue.wait(queue.submit([(0, code.address)]), PATIENCE)
        assert eventually(lambda: sensors(pf)["Column 0 Utilization"].input)
        assert sensors(other)["Column 0 Utilization"].input == 0
        assert contexts(other) == []


def test_telemetry_counts(file: AccelFile) -> None:
    def read() -> uapi.Record:
        data = file.get_info(InfoParam.TELEMETRY, 128 << 10, bytes(4))
        assert len(data) == 128 << 10
        return uapi_next.NEXT_TELEMETRY.unpack(data)

    before = read()
    queue = HandMadeQueue(file, padded=True)
    for _ in range(5):
        file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
    after = read()
    assert after.enabled == 1
    assert [b - a for a, b in zip(counts(before, "context_starting"), counts(after, "context_starting"), strict=True)] == [
        0, 1, 0, 0, 0,
    ]  # fmt: skip
    assert counts(after, "scheduler_scheduled")[1] - counts(before, "scheduler_scheduled")[1] == 5
    assert counts(after, "resource_acquired")[0] == 1
    assert after.l1_interrupt > before.l1_interrupt
    assert messages_5_24.PROTOCOL_5_24["CREATE_HW_CONTEXT"].opcode in counts(after, "sup_opcode")[:16]
    assert refusal(lambda: file.get_info(InfoParam.TELEMETRY, 4096, bytes(4))) == errno.ENOSPC
    assert refusal(lambda: file.get_info(InfoParam.TELEMETRY, 128 << 10, struct.pack("<I", 2))) == errno.EINVAL


def counts(record: uapi.Record, name: str) -> tuple[int, ...]:
    value: object = record[name]
    assert isinstance(value, tuple)
    return value


def test_preemption_state(file: AccelFile) -> None:
    def state(param: InfoParam) -> int:
        return ask(file, param, uapi.ATTRIBUTE_STATE).state

    assert (state(InfoParam.FORCE_PREEMPT), state(InfoParam.FRAME_BOUNDARY_PREEMPT)) == (0, 1)
    for value in (1, 0):
        file.set_state(StateParam.FORCE_PREEMPT, uapi.ATTRIBUTE_STATE.pack(state=value))
        assert state(InfoParam.FORCE_PREEMPT) == value
    assert refusal(lambda: file.set_state(StateParam.FORCE_PREEMPT, uapi.ATTRIBUTE_STATE.pack(state=2))) == errno.EINVAL
    assert refusal(lambda: file.set_state(StateParam.FRAME_BOUNDARY_PREEMPT, bytes(8))) == errno.EOPNOTSUPP


def test_status_of_columns(file: AccelFile) -> None:
    """Sizes and order as XRT's ``info_aie2.cpp`` computes and parses them."""
    metadata = uapi.QUERY_AIE_METADATA.unpack(file.get_info(InfoParam.AIE_METADATA, 64))
    version = ask(file, InfoParam.AIE_VERSION, uapi.QUERY_AIE_VERSION)
    assert (version.major, version.minor, metadata.version_major, metadata.version_minor) == (1, 1, 1, 1)
    core = 8 * metadata.core_dma_channel_count + 8 * metadata.core_event_reg_count + metadata.core_lock_count + 16
    mem = 8 * metadata.mem_dma_channel_count + 4 * metadata.mem_event_reg_count + metadata.mem_lock_count
    shim = 8 * metadata.shim_dma_channel_count + 4 * metadata.shim_event_reg_count + metadata.shim_lock_count
    assert metadata.col_size == 4 * core + mem + shim
    assert file.aie_status(3 * metadata.col_size)[1] == 0
    queue = HandMadeQueue(file, padded=True, tiles=8)
    status, columns = file.aie_status(3 * metadata.col_size)
    assert columns == 0b011
    assert refusal(lambda: file.aie_status(3 * metadata.col_size - 1)) == errno.EINVAL
    # A lock of the first core tile and one of the second column's mem tile.
    for column, row, offset, value in ((0, 2, 0xAE000 + 0x30, 5), (1, 1, 0x10000 + 0x20, 7)):
        access = uapi_next.AIE_TILE_ACCESS.pack(
            pid=os.getpid(), context_id=queue.handle, col=column, row=row, addr=offset, size=4
        )
        file.set_state(NextState.AIE_TILE_WRITE, access + struct.pack("<I", value))
    status, _ = file.aie_status(3 * metadata.col_size)
    assert status[core - metadata.core_lock_count + 3] == 5
    assert status[metadata.col_size + 4 * core + mem - metadata.mem_lock_count + 2] == 7
    queue.close()


def test_tiles_are_read_and_written(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=True, tiles=4)

    def access(**fields: int) -> bytes:
        return uapi_next.AIE_TILE_ACCESS.pack(
            **({"pid": os.getpid(), "context_id": queue.handle, "row": 2, "addr": 0x100, "size": 64} | fields)
        )

    data = bytes(range(64))
    file.set_state(NextState.AIE_TILE_WRITE, access() + data)
    assert file.get_array(NextArray.AIE_TILE_READ, 96, 1, access()) == (64, 1, data)
    size, count, word = file.get_array(NextArray.AIE_TILE_READ, 36, 1, access(addr=0x104, size=4))
    assert (size, count, word) == (4, 1, data[4:8])
    for wrong, number in (
        ({"col": 1}, errno.EINVAL),
        ({"row": 6}, errno.EINVAL),
        ({"context_id": 9}, errno.EINVAL),
        ({"pid": 1}, errno.EINVAL),
        ({"addr": 0x40000}, errno.EINVAL),
        ({"addr": 0xFFFFC, "size": 8}, errno.EINVAL),
        ({"size": 0}, errno.EINVAL),
        ({"size": 0xFFFFFFFC}, errno.EINVAL),
        ({"size": 6}, errno.EINVAL),
    ):
        request = access(**wrong)
        assert refusal(lambda request=request: file.get_array(NextArray.AIE_TILE_READ, 96, 1, request)) == number
    dump_request = uapi_next.AIE_COREDUMP.pack(pid=os.getpid(), context_id=queue.handle)
    with pytest.raises(FauxdnaError) as caught:
        file.get_array(NextArray.AIE_COREDUMP, 4096, 1, dump_request)
    assert caught.value.errno == errno.ENOSPC
    _, _, dump = file.get_array(NextArray.AIE_COREDUMP, 18 << 20, 1, dump_request)
    assert len(dump) == 18 << 20
    assert dump[(2 << 20) + 0x100 : (2 << 20) + 0x140] == data
    queue.close()


def test_tiles_of_another_process_are_refused(host: Machine) -> None:
    with host.open(level=Level.NEXT, pid=77) as theirs, host.open(level=Level.NEXT) as ours:
        queue = HandMadeQueue(theirs, padded=True)
        access = uapi_next.AIE_TILE_ACCESS.pack(pid=77, context_id=queue.handle, row=2, size=4)
        assert refusal(lambda: ours.get_array(NextArray.AIE_TILE_READ, 36, 1, access)) == errno.EPERM


def test_older_firmware_has_no_answers() -> None:
    images = build_images(protocol=(5, 10))
    with (
        LocalDie() as die,
        Machine(die, image_loader(images)) as machine,
        machine.open(level=Level.NEXT) as file,
    ):
        with pytest.raises(FauxdnaError, match=r"speaks protocol 5\.10") as caught:
            ask(file, InfoParam.CLOCK_METADATA, uapi.QUERY_CLOCK_METADATA)
        assert caught.value.errno == errno.EOPNOTSUPP
        assert len(file.get_info(InfoParam.AIE_METADATA, 64)) == 64
        assert file.attributes()["fw_version"] == "0.0.0.0"


def test_a_pf_tells_versions_clocks_and_sensors(host: Machine) -> None:
    with host.open(DeviceType.PF, level=Level.NEXT) as pf:
        assert ask(pf, InfoParam.CLOCK_METADATA, uapi.QUERY_CLOCK_METADATA).h_clock_freq_mhz == 1200
        assert len(sensors(pf)) == 4
        for param in (InfoParam.AIE_METADATA, InfoParam.POWER_MODE, InfoParam.RESOURCE_INFO):
            assert refusal(lambda param=param: pf.get_info(param, 64)) == errno.EOPNOTSUPP
        assert refusal(lambda: pf.aie_status(1 << 20)) == errno.EOPNOTSUPP
        assert refusal(lambda: mode(pf, 1)) == errno.EOPNOTSUPP


def test_what_aie4_has_not(file: AccelFile) -> None:
    for param in (6, 7, 15, 99):
        assert refusal(lambda param=param: file.get_info(param, 64)) == errno.EOPNOTSUPP
    for param in (10, 11, 99):
        assert refusal(lambda param=param: file.get_array(param, 64, 1)) == errno.EOPNOTSUPP
    for param in (1, 2, 8, 9, 99):
        assert refusal(lambda param=param: file.set_state(param, bytes(32))) == errno.EOPNOTSUPP


def test_level_7_2_stays_as_it_is(host: Machine) -> None:
    with host.open() as file:
        assert isinstance(file, LocalFile)
        for param in (*InfoParam, *NextInfo):
            if param != InfoParam.AIE_METADATA:
                assert refusal(lambda param=param: file.get_info(param, 64)) == errno.EOPNOTSUPP
        assert refusal(lambda: file.aie_status(1 << 20)) == errno.EOPNOTSUPP
        assert refusal(lambda: file.get_array(0, 144, 32)) == errno.EOPNOTSUPP
        assert refusal(lambda: file.set_state(0, bytes(8))) == errno.EOPNOTSUPP
        assert refusal(lambda: file.config_hwctx(1, 1, 1)) == errno.EOPNOTSUPP
