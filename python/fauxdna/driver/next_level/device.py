"""What firmware, clocks, sensors and counters of a function are, its power mode and preemption."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fauxdna.abi import messages_5_24 as firmware
from fauxdna.abi import uapi, uapi_next
from fauxdna.abi.messages_5_24 import RuntimeConfig, TelemetryType
from fauxdna.abi.uapi import InfoParam, PowerMode, SensorType, StateParam
from fauxdna.abi.uapi_next import NextInfo

from ...errors import BufferTooSmall, Busy, FauxdnaError, InvalidArgument, OutOfSpace
from ..client import Client
from ..function import Function
from ._common import contexts_of, each, text_of, vf_of

_MACS_PER_COLUMN: Final = 4096
"""Of AMD's TOPS: ``4096 * columns * H clock in MHz / 1000000`` (``AIE4_DPM_TOPS``)."""
_ALLOCATION_MOST: Final = 4 << 20
"""Memory in one piece that Linux gives a driver."""
_STATE_SIZE: Final = uapi.ATTRIBUTE_STATE.size


def _versions(message: str, fields: tuple[str, ...]) -> Callable[[Client, int, bytes], bytes]:
    def query(client: Client, _size: int, _data: bytes) -> bytes:
        answer = client.function.ask(message)
        values = dict(zip(("major", "minor", "patch", "build"), (answer[field] for field in fields), strict=True))
        return uapi.QUERY_FIRMWARE_VERSION.pack(**values)

    return query


def _metadata(client: Client, _size: int, _data: bytes) -> bytes:
    return vf_of(client, "AIE_METADATA").metadata()


def _aie_version(client: Client, _size: int, _data: bytes) -> bytes:
    answer = vf_of(client, "AIE_VERSION").ask("AIE_VERSION_INFO")
    return uapi.QUERY_AIE_VERSION.pack(major=answer.major, minor=answer.minor)


def _clocks(client: Client, _size: int, _data: bytes) -> bytes:
    metrics = client.function.ask("METRICS")
    return uapi.QUERY_CLOCK_METADATA.pack(
        mp_npu_clock_name=text_of(uapi.QUERY_CLOCK_METADATA, "mp_npu_clock_name", "MP-NPU Clock"),
        mp_npu_clock_freq_mhz=metrics.mpnpuclk_freq,
        h_clock_name=text_of(uapi.QUERY_CLOCK_METADATA, "h_clock_name", "H Clock"),
        h_clock_freq_mhz=metrics.npuclk_freq,
    )


def _sensors(client: Client, size: int, _data: bytes) -> bytes:
    """Whole sensors only. There is no temperature: nothing here gets warm."""
    metrics = client.function.ask("METRICS")
    busy = each(metrics, "npu_busy")
    sensors = [_sensor("Total Power", metrics.npu_power, "mW", -3, SensorType.POWER)]
    sensors += [
        _sensor(f"Column {column} Utilization", busy[column], "%", 0, SensorType.COLUMN_UTILIZATION)
        for column in range(min(metrics.columns, len(busy)))
    ]
    return b"".join(sensors[: size // uapi.QUERY_SENSOR.size])


def _sensor(label: str, value: int, units: str, exponent: int, kind: SensorType) -> bytes:
    layout = uapi.QUERY_SENSOR
    return layout.pack(
        label=text_of(layout, "label", label), input=value, units=text_of(layout, "units", units), unitm=exponent, type=kind
    )


def _power_mode(client: Client, _size: int, _data: bytes) -> bytes:
    return uapi.GET_POWER_MODE.pack(power_mode=vf_of(client, "POWER_MODE").power_mode)


def _telemetry(client: Client, size: int, data: bytes) -> bytes:
    kind = int.from_bytes(data[:4], "little")
    if size < firmware.TELEMETRY_MINIMUM:
        raise BufferTooSmall(f"telemetry into {size} bytes", needed=firmware.TELEMETRY_MINIMUM)
    if size > _ALLOCATION_MOST:
        raise OutOfSpace(f"telemetry into {size} bytes", f"give at most {_ALLOCATION_MOST}", errno=errno.ENOMEM)
    if kind not in set(TelemetryType):
        raise InvalidArgument(f"telemetry type {kind}", "ask for 0 or 1")
    function = client.function
    with function.memory.driver_memory(firmware.TELEMETRY_MINIMUM) as (backing, address):
        function.ask("GET_TELEMETRY", type=kind, buf_addr=address, buf_size=backing.length)
        counters = firmware.TELEMETRY.unpack(os.pread(backing.fd, firmware.TELEMETRY.size, backing.offset))
    fewer = {name: each(counters, name)[: uapi_next.TELEMETRY_CONTEXTS] for name in counters if name.startswith("preemption_")}
    return uapi_next.NEXT_TELEMETRY.pack(**(dict(counters) | fewer)).ljust(size, b"\0")


def _force_preempt(client: Client, _size: int, _data: bytes) -> bytes:
    answer = client.function.ask("GET_RUNTIME_CONFIG", type=RuntimeConfig.FORCE_PREEMPTION)
    return uapi.ATTRIBUTE_STATE.pack(state=int(bool(answer.data & 0xFF)))


def _frame_boundary(_client: Client, _size: int, _data: bytes) -> bytes:
    """Always on, as in AMD's driver."""
    return uapi.ATTRIBUTE_STATE.pack(state=1)


def _resources(client: Client, _size: int, _data: bytes) -> bytes:
    vf = vf_of(client, "RESOURCE_INFO")
    metrics, table = vf.ask("METRICS"), vf.ask("GET_DPM_FREQ_TABLE")
    frequencies = each(table, "npuhclk_values")
    fastest = frequencies[min(metrics.dpm_level_max, len(frequencies) - 1)]
    return uapi.GET_RESOURCE_INFO.pack(
        npu_clk_max=fastest,
        npu_tops_max=_tops(metrics.columns, fastest),
        npu_task_max=metrics.columns,
        npu_tops_curr=_tops(metrics.columns, metrics.npuclk_freq),
        npu_task_curr=metrics.task_count,
    )


def _tops(columns: int, megahertz: int) -> int:
    return _MACS_PER_COLUMN * columns * megahertz // 1_000_000


def _set_power_mode(client: Client, data: bytes) -> None:
    mode = uapi.SET_POWER_MODE.unpack(data[: uapi.SET_POWER_MODE.size].ljust(uapi.SET_POWER_MODE.size, b"\0")).power_mode
    if mode not in set(PowerMode):
        raise InvalidArgument(f"power mode {mode}", f"set 0 to {max(PowerMode).value}")
    vf = vf_of(client, "SET_POWER_MODE")
    with vf.lock:
        if mode == vf.power_mode:
            return
        if PowerMode.TURBO in (mode, vf.power_mode) and any(True for _ in contexts_of(vf)):
            raise Busy(f"{vf.name} has contexts: TURBO is entered and left without any", "destroy them first")
        vf.ask("POWER_OVERRIDE", power_mode=mode)
        vf.power_mode = PowerMode(mode)
    vf.log.info(f"power mode {PowerMode(mode).name}")


def _set_force_preempt(client: Client, data: bytes) -> None:
    state = uapi.ATTRIBUTE_STATE.unpack(data[:_STATE_SIZE].ljust(_STATE_SIZE, b"\0")).state
    if state > 1:
        raise InvalidArgument(f"preemption state {state}", "set 0 or 1")
    client.function.ask("SET_RUNTIME_CONFIG", type=RuntimeConfig.FORCE_PREEMPTION, data=state)


def attributes(function: Function) -> dict[str, str]:
    """:meth:`Function.attributes`, with firmware's version: 7.2 does not ask for it, and shows zeros."""
    with suppress(FauxdnaError):
        answer = function.ask("IDENTIFY")
        version = f"{answer.fw_major}.{answer.fw_minor}.{answer.fw_patch}.{answer.fw_build}"
        return function.attributes() | {"fw_version": version}
    return function.attributes()


INFO: Final[dict[int, Callable[[Client, int, bytes], bytes]]] = {
    InfoParam.AIE_METADATA: _metadata,
    InfoParam.AIE_VERSION: _aie_version,
    InfoParam.CLOCK_METADATA: _clocks,
    InfoParam.SENSORS: _sensors,
    InfoParam.FIRMWARE_VERSION: _versions("IDENTIFY", ("fw_major", "fw_minor", "fw_patch", "fw_build")),
    InfoParam.POWER_MODE: _power_mode,
    InfoParam.TELEMETRY: _telemetry,
    InfoParam.FORCE_PREEMPT: _force_preempt,
    InfoParam.RESOURCE_INFO: _resources,
    InfoParam.FRAME_BOUNDARY_PREEMPT: _frame_boundary,
    NextInfo.CERT_FIRMWARE_VERSION: _versions(
        "QUERY_CERT_FIRMWARE_VERSION", ("major_version", "minor_version", "hotfix", "build")
    ),
}
STATES: Final[dict[int, Callable[[Client, bytes], None]]] = {
    StateParam.POWER_MODE: _set_power_mode,
    StateParam.FORCE_PREEMPT: _set_force_preempt,
}
