"""What a file of level ``next`` answers beyond Linux 7.2: GET_INFO, GET_ARRAY and SET_STATE as AMD's newer driver serves them on
AIE4 (amd/xdna-driver ``aie4_pci.c``), each value asked of firmware when it is asked for.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fauxdna.abi import messages_5_24 as firmware
from fauxdna.abi import uapi, uapi_next
from fauxdna.abi._declare import Record, Struct
from fauxdna.abi.control_code import PAGE_HEADER_SIZE, PAGE_SIZE
from fauxdna.abi.messages_5_24 import ContextErrorType, ContextStatus, RuntimeConfig, TelemetryType
from fauxdna.abi.uapi import ArrayParam, ContextState, InfoParam, PowerMode, SensorType, StateParam
from fauxdna.abi.uapi_next import NextArray, NextInfo, NextState

from ..errors import BufferTooSmall, Busy, DeviceGone, InvalidArgument, MessageRefused, Unsupported
from .array_access import core_dump, read_tile, write_tile
from .vf import HardwareContext, Vf

if TYPE_CHECKING:
    from .client import Client
    from .function import Function

_MACS_PER_COLUMN: Final = 4096
"""Of AMD's TOPS: ``4096 * columns * H clock in MHz / 1000000`` (``AIE4_DPM_TOPS``)."""
_STATE_SIZE: Final = uapi.ATTRIBUTE_STATE.size


def get_info(client: Client, param: int, size: int, data: bytes) -> bytes:
    """GET_INFO: at most ``size`` bytes; ``data`` is what the caller's buffer holds.

    Raises:
        Unsupported: ``EOPNOTSUPP`` for what AMD's driver has not on AIE4, or this function, or its firmware.
        BufferTooSmall: ``EINVAL``, HW_CONTEXTS of more contexts than fit; ``ENOSPC``, TELEMETRY of less than 128 KiB.
    """
    query = _INFO.get(param)
    if query is None:
        raise Unsupported(f"GET_INFO {param} of {client.function.name}: an AIE4 function has no such thing", "leave it out")
    return query(client, size, data)[:size]


def aie_status(client: Client, size: int) -> tuple[bytes, int]:
    """AIE_STATUS into a buffer of ``size`` bytes: status of the columns that contexts have, and their bit map.

    Raises:
        InvalidArgument: ``EINVAL`` for a buffer that could not hold all columns.
    """
    vf = _vf(client, "AIE_STATUS")
    info = _tile_info(vf)
    if info.cols * info.size > size:
        raise InvalidArgument(f"AIE status into {size} bytes", f"give {info.cols} columns of {info.size} bytes")
    bitmap = 0
    for owner, _, context in _contexts(vf):
        statistics = _statistics(owner.function, context)
        if statistics is not None:
            bitmap |= ((1 << statistics.columns) - 1) << statistics.column
    if not bitmap:
        return b"", 0
    with vf.memory.driver_memory(info.cols * info.size, vf.store) as (backing, address):
        response = vf.ask("AIE_COLUMN_INFO", dump_buff_addr=address, dump_buff_size=info.cols * info.size, aie4_col_bitmap=bitmap)
        return os.pread(backing.fd, min(response.size, backing.length), backing.offset), bitmap


def get_array(client: Client, param: int, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
    """GET_ARRAY: element size and number of elements given, and their bytes; ``data`` is what the caller's buffer holds.

    Raises:
        InvalidArgument: ``EINVAL`` for a size or count out of range, and for a process or context that is not there.
        BufferTooSmall: ``ENOSPC``, more contexts than elements, or a core dump that does not fit.
        Busy: ``EPERM``, another process's tiles.
        Unsupported: ``EOPNOTSUPP`` for arrays that AIE4 has not.
    """
    query = _ARRAYS.get(param)
    if query is None:
        raise Unsupported(f"GET_ARRAY {param} of {client.function.name}: an AIE4 function has no such thing", "leave it out")
    if not 0 < count <= uapi_next.MAX_ELEMENTS or not 0 < element_size <= uapi_next.MAX_ELEMENT_SIZE:
        raise InvalidArgument(
            f"GET_ARRAY of {count} elements of {element_size} bytes",
            f"ask for 1 to {uapi_next.MAX_ELEMENTS} of at most {uapi_next.MAX_ELEMENT_SIZE} bytes",
        )
    return query(client, element_size, count, data)


def set_state(client: Client, param: int, data: bytes) -> None:
    """SET_STATE.

    Raises:
        InvalidArgument: ``EINVAL`` for a mode or state that does not exist, a tile that is not the context's.
        Busy: ``EBUSY``, to or from TURBO while there are contexts; ``EPERM``, another process's tiles.
        Unsupported: ``EOPNOTSUPP`` for states that AIE4 has not.
    """
    setter = _STATES.get(param)
    if setter is None:
        raise Unsupported(f"SET_STATE {param} of {client.function.name}: an AIE4 function has no such thing", "leave it out")
    setter(client, data)


def _versions(message: str, fields: tuple[str, ...]) -> Callable[[Client, int, bytes], bytes]:
    def query(client: Client, _size: int, _data: bytes) -> bytes:
        answer = client.function.ask(message)
        values = dict(zip(("major", "minor", "patch", "build"), (answer[field] for field in fields), strict=True))
        return uapi.QUERY_FIRMWARE_VERSION.pack(**values)

    return query


def _metadata(client: Client, _size: int, _data: bytes) -> bytes:
    return _vf(client, "AIE_METADATA").metadata()


def _aie_version(client: Client, _size: int, _data: bytes) -> bytes:
    answer = _vf(client, "AIE_VERSION").ask("AIE_VERSION_INFO")
    return uapi.QUERY_AIE_VERSION.pack(major=answer.major, minor=answer.minor)


def _clocks(client: Client, _size: int, _data: bytes) -> bytes:
    metrics = client.function.ask("METRICS")
    return uapi.QUERY_CLOCK_METADATA.pack(
        mp_npu_clock_name=_text(uapi.QUERY_CLOCK_METADATA, "mp_npu_clock_name", "MP-NPU Clock"),
        mp_npu_clock_freq_mhz=metrics.mpnpuclk_freq,
        h_clock_name=_text(uapi.QUERY_CLOCK_METADATA, "h_clock_name", "H Clock"),
        h_clock_freq_mhz=metrics.npuclk_freq,
    )


def _sensors(client: Client, size: int, _data: bytes) -> bytes:
    """Whole sensors only. There is no temperature: nothing here gets warm."""
    metrics = client.function.ask("METRICS")
    busy = _each(metrics, "npu_busy")
    sensors = [_sensor("Total Power", metrics.npu_power, "mW", -3, SensorType.POWER)]
    sensors += [
        _sensor(f"Column {column} Utilization", busy[column], "%", 0, SensorType.COLUMN_UTILIZATION)
        for column in range(min(metrics.columns, len(busy)))
    ]
    return b"".join(sensors[: size // uapi.QUERY_SENSOR.size])


def _sensor(label: str, value: int, units: str, exponent: int, kind: SensorType) -> bytes:
    layout = uapi.QUERY_SENSOR
    return layout.pack(
        label=_text(layout, "label", label), input=value, units=_text(layout, "units", units), unitm=exponent, type=kind
    )


def _hw_contexts(client: Client, size: int, _data: bytes) -> bytes:
    rows = []
    for owner, handle, context in _contexts(client.function):
        statistics = _statistics(client.function, context)
        if statistics is not None:
            rows.append(uapi.QUERY_HWCTX.pack(context_id=handle, pid=owner.pid, **_progress(statistics)))
    data = b"".join(rows)
    if len(data) > size:
        raise BufferTooSmall(f"{len(rows)} contexts into {size} bytes", needed=len(data), errno=errno.EINVAL)
    return data


def _power_mode(client: Client, _size: int, _data: bytes) -> bytes:
    return uapi.GET_POWER_MODE.pack(power_mode=_vf(client, "POWER_MODE").power_mode)


def _telemetry(client: Client, size: int, data: bytes) -> bytes:
    kind = int.from_bytes(data[:4], "little")
    if size < firmware.TELEMETRY_MINIMUM:
        raise BufferTooSmall(f"telemetry into {size} bytes", needed=firmware.TELEMETRY_MINIMUM)
    if kind not in set(TelemetryType):
        raise InvalidArgument(f"telemetry type {kind}", "ask for 0 or 1")
    function = client.function
    with function.memory.driver_memory(firmware.TELEMETRY_MINIMUM, function.store) as (backing, address):
        function.ask("GET_TELEMETRY", type=kind, buf_addr=address, buf_size=backing.length)
        counters = firmware.TELEMETRY.unpack(os.pread(backing.fd, firmware.TELEMETRY.size, backing.offset))
    return uapi_next.NEXT_TELEMETRY.pack(**counters).ljust(firmware.TELEMETRY_MINIMUM, b"\0")


def _force_preempt(client: Client, _size: int, _data: bytes) -> bytes:
    answer = client.function.ask("GET_RUNTIME_CONFIG", type=RuntimeConfig.FORCE_PREEMPTION)
    return uapi.ATTRIBUTE_STATE.pack(state=int(bool(answer.data & 0xFF)))


def _frame_boundary(_client: Client, _size: int, _data: bytes) -> bytes:
    """Always on, as in AMD's driver."""
    return uapi.ATTRIBUTE_STATE.pack(state=1)


def _resources(client: Client, _size: int, _data: bytes) -> bytes:
    vf = _vf(client, "RESOURCE_INFO")
    metrics, table = vf.ask("METRICS"), vf.ask("GET_DPM_FREQ_TABLE")
    frequencies = _each(table, "npuhclk_values")
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


def _context_array(client: Client, element_size: int, count: int, _data: bytes) -> tuple[int, int, bytes]:
    size = min(element_size, uapi_next.NEXT_HWCTX_ENTRY.size)
    rows = [
        row[:size]
        for owner, handle, context in _contexts(client.function)
        if (row := _context_entry(owner, handle, context)) is not None
    ]
    if len(rows) > count:
        raise BufferTooSmall(f"{len(rows)} contexts into {count} elements", needed=len(rows), unit="elements")
    return size, len(rows), b"".join(rows)


def _context_by_id(client: Client, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
    size = min(element_size, uapi_next.NEXT_HWCTX_ENTRY.size)
    wanted = uapi.HWCTX_ENTRY.unpack(data[: uapi.HWCTX_ENTRY.size].ljust(uapi.HWCTX_ENTRY.size, b"\0"))
    owner, context = _find(client, wanted.pid, wanted.context_id)
    row = _context_entry(owner, wanted.context_id, context)
    if row is None:
        raise _not_there(wanted.pid, wanted.context_id)
    return size, 1, row[:size]


def _context_entry(owner: Client, handle: int, context: HardwareContext) -> bytes | None:
    statistics = _statistics(owner.function, context)
    if statistics is None:
        return None
    qos = owner.qos(handle)
    busy = statistics.submitted > statistics.completed + statistics.errors
    failed = bool(statistics.error_time_us)
    return uapi_next.NEXT_HWCTX_ENTRY.pack(
        context_id=handle,
        hwctx_id=context.id,
        pid=owner.pid,
        **_progress(statistics),
        priority=qos.priority,
        state=ContextState.ACTIVE if busy or statistics.ctx_status == ContextStatus.RUNNING else ContextState.IDLE,
        gops=qos.gops,
        fps=qos.fps,
        dma_bandwidth=qos.dma_bandwidth,
        latency=qos.latency,
        frame_exec_time=qos.frame_exec_time,
        ctx_pc=statistics.error_page * PAGE_SIZE + PAGE_HEADER_SIZE + statistics.error_offset if failed else 0,
        fatal_error_type=statistics.error_code,
        fatal_error_app_module=statistics.error_uc,
        name=_text(uapi_next.NEXT_HWCTX_ENTRY, "name", _process_name(owner.pid)),
    )


def _progress(statistics: Record) -> dict[str, int]:
    return {
        "start_col": statistics.column,
        "num_col": statistics.columns,
        "command_submissions": statistics.submitted,
        "command_completions": statistics.completed,
        "preemptions": statistics.preemptions,
        "errors": statistics.errors,
    }


def _last_error(client: Client, element_size: int, _count: int, _data: bytes) -> tuple[int, int, bytes]:
    size = min(element_size, uapi.ASYNC_ERROR.size)
    answer = _vf(client, "LAST_ASYNC_ERROR").ask("LAST_ERROR")
    if not answer.hw_context_id:
        return size, 0, b""
    scheduler = answer.error_type in (ContextErrorType.HWSCH_FAILURE, ContextErrorType.STOP_FAILURE)
    number = uapi_next.ErrorNumber.KDS_CU if scheduler else uapi_next.ErrorNumber.KDS_EXEC
    data = uapi.ASYNC_ERROR.pack(
        err_code=uapi_next.error_code(number),
        ts_us=answer.time_us,
        ex_err_code=answer.ctx_status << 32 | answer.hw_context_id,
    )
    return size, 1, data[:size]


def _bo_usage(client: Client, element_size: int, _count: int, data: bytes) -> tuple[int, int, bytes]:
    size = min(element_size, uapi.BO_USAGE.size)
    pid = uapi.BO_USAGE.unpack(data[: uapi.BO_USAGE.size].ljust(uapi.BO_USAGE.size, b"\0")).pid
    if not pid:
        raise InvalidArgument("BO usage of process 0", "name a process")
    used = [other.bo_usage for other in _clients(client.function) if other.pid == pid]
    answer = uapi.BO_USAGE.pack(
        pid=pid, total_usage=sum(total for total, _ in used), internal_usage=sum(internal for _, internal in used)
    )
    return size, 1, answer[:size]


def _core_dump(client: Client, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
    vf = _vf(client, "AIE_COREDUMP")
    wanted = _argument(uapi_next.AIE_COREDUMP, element_size, count, data)
    context = _owned(client, wanted.pid, wanted.context_id)
    size = _tile_info(vf).rows * _tile_info(vf).cols * firmware.COREDUMP_BUFFER_SIZE
    if element_size < size:
        raise BufferTooSmall(f"core dump into {element_size} bytes", needed=size)
    return size, 1, core_dump(vf, context, size // firmware.COREDUMP_BUFFER_SIZE)


def _tile_read(client: Client, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
    vf = _vf(client, "AIE_TILE_READ")
    wanted = _argument(uapi_next.AIE_TILE_ACCESS, element_size, count, data)
    context = _tile_context(client, vf, wanted)
    read = read_tile(vf, context, wanted)
    return min(element_size, len(read)), 1, read[:element_size]


def _tile_write(client: Client, data: bytes) -> None:
    vf = _vf(client, "AIE_TILE_WRITE")
    wanted = _argument(uapi_next.AIE_TILE_ACCESS, len(data), 1, data)
    context = _tile_context(client, vf, wanted)
    rest = data[uapi_next.AIE_TILE_ACCESS.size :]
    if len(rest) < wanted.size:
        raise InvalidArgument(f"{wanted.size} bytes to write, {len(rest)} given", "put the data behind the request")
    write_tile(vf, context, wanted, rest[: wanted.size])


def _set_power_mode(client: Client, data: bytes) -> None:
    mode = uapi.SET_POWER_MODE.unpack(data[: uapi.SET_POWER_MODE.size].ljust(uapi.SET_POWER_MODE.size, b"\0")).power_mode
    if mode not in set(PowerMode):
        raise InvalidArgument(f"power mode {mode}", f"set 0 to {max(PowerMode).value}")
    vf = _vf(client, "SET_POWER_MODE")
    with vf.lock:
        if mode == vf.power_mode:
            return
        if PowerMode.TURBO in (mode, vf.power_mode) and any(True for _ in _contexts(vf)):
            raise Busy(f"{vf.name} has contexts: TURBO is entered and left without any", "destroy them first")
        vf.ask("POWER_OVERRIDE", power_mode=mode)
        vf.power_mode = PowerMode(mode)
    vf.log.info(f"power mode {PowerMode(mode).name}")


def _set_force_preempt(client: Client, data: bytes) -> None:
    state = uapi.ATTRIBUTE_STATE.unpack(data[:_STATE_SIZE].ljust(_STATE_SIZE, b"\0")).state
    if state > 1:
        raise InvalidArgument(f"preemption state {state}", "set 0 or 1")
    client.function.ask("SET_RUNTIME_CONFIG", type=RuntimeConfig.FORCE_PREEMPTION, data=state)


def _vf(client: Client, what: str) -> Vf:
    if not isinstance(client.function, Vf):
        raise Unsupported(f"{what} of {client.function.name}: a PF has no columns", "ask the node of a VF")
    return client.function


def _tile_info(vf: Vf) -> Record:
    if vf.tile_info is None:
        raise DeviceGone(f"{vf.name} is not started", "probe it")
    return vf.tile_info


def _clients(function: Function) -> list[Client]:
    with function.lock:
        return list(function.clients)


def _contexts(function: Function) -> Iterator[tuple[Client, int, HardwareContext]]:
    """All contexts of the function, with their handles."""
    for client in _clients(function):
        for handle, context in client.contexts().items():
            yield client, handle, context


def _statistics(function: Function, context: HardwareContext) -> Record | None:
    """What firmware says of a context; None if it has gone meanwhile."""
    try:
        return function.ask("CONTEXT_STATISTICS", hw_context_id=context.id)
    except MessageRefused:
        return None


def _find(client: Client, pid: int, handle: int) -> tuple[Client, HardwareContext]:
    for owner, known, context in _contexts(client.function):
        if (owner.pid, known) == (pid, handle):
            return owner, context
    raise _not_there(pid, handle)


def _owned(client: Client, pid: int, handle: int) -> HardwareContext:
    """The context, if the caller's process owns it."""
    _, context = _find(client, pid, handle)
    if pid != client.pid:
        raise Busy(f"context {handle} is process {pid}'s", "look into contexts of your own process", errno=errno.EPERM)
    return context


def _tile_context(client: Client, vf: Vf, wanted: Record) -> HardwareContext:
    context = _owned(client, wanted.pid, wanted.context_id)
    statistics = _statistics(vf, context)
    if statistics is None:
        raise _not_there(wanted.pid, wanted.context_id)
    rows = _tile_info(vf).rows
    if wanted.col >= statistics.columns or wanted.row >= rows:
        raise InvalidArgument(
            f"tile column {wanted.col} row {wanted.row} of a context of {statistics.columns} columns", f"rows are 0 to {rows - 1}"
        )
    return context


def _not_there(pid: int, handle: int) -> InvalidArgument:
    return InvalidArgument(f"process {pid} has no context {handle}", "take both from HW_CONTEXT_ALL")


def _argument(layout: Struct, element_size: int, count: int, data: bytes) -> Record:
    if count != 1:
        raise InvalidArgument(f"{count} elements", "ask for one")
    if element_size < layout.size or len(data) < layout.size:
        raise BufferTooSmall(f"a request in {min(element_size, len(data))} bytes", needed=layout.size)
    return layout.unpack(data)


def _each(record: Record, field: str) -> tuple[int, ...]:
    """A field that is an array."""
    value: object = record[field]
    assert isinstance(value, tuple)
    return value


def _text(layout: Struct, field: str, text: str) -> tuple[int, ...]:
    """``text`` as a field of characters, cut so that a 0 ends it."""
    size = next(item.count for item in layout.fields if item.name == field)
    return tuple(text.encode()[: size - 1].ljust(size, b"\0"))


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


_INFO: Final[dict[int, Callable[[Client, int, bytes], bytes]]] = {
    InfoParam.AIE_METADATA: _metadata,
    InfoParam.AIE_VERSION: _aie_version,
    InfoParam.CLOCK_METADATA: _clocks,
    InfoParam.SENSORS: _sensors,
    InfoParam.HW_CONTEXTS: _hw_contexts,
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
_ARRAYS: Final[dict[int, Callable[[Client, int, int, bytes], tuple[int, int, bytes]]]] = {
    ArrayParam.HW_CONTEXT_ALL: _context_array,
    ArrayParam.LAST_ASYNC_ERROR: _last_error,
    ArrayParam.BO_USAGE: _bo_usage,
    NextArray.HW_CONTEXT_BY_ID: _context_by_id,
    NextArray.AIE_COREDUMP: _core_dump,
    NextArray.AIE_TILE_READ: _tile_read,
}
_STATES: Final[dict[int, Callable[[Client, bytes], None]]] = {
    StateParam.POWER_MODE: _set_power_mode,
    StateParam.FORCE_PREEMPT: _set_force_preempt,
    NextState.AIE_TILE_WRITE: _tile_write,
}
