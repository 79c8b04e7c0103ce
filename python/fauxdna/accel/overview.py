"""What a node tells of itself, gathered into one document: what ``fauxdna smi`` shows, through whatever door the file is open."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from fauxdna.abi import uapi, uapi_next
from fauxdna.abi._declare import Record, Struct
from fauxdna.abi.messages_5_24 import TELEMETRY_MINIMUM
from fauxdna.abi.uapi import ArrayParam, ContextState, InfoParam, PowerMode, Priority, SensorType, StateParam
from fauxdna.abi.uapi_next import ErrorNumber, NextInfo
from fauxdna.errors import Unsupported

from . import AccelFile

_SENSORS_MOST: Final = 32
_CONTEXTS_MOST: Final = uapi_next.MAX_ELEMENTS
_ERRORS: Final = {
    uapi_next.error_code(ErrorNumber.KDS_CU): "a context's queue could not be served",
    uapi_next.error_code(ErrorNumber.KDS_EXEC): "a context's packet failed",
}
_Answer = TypeVar("_Answer")


def overview(file: AccelFile) -> dict[str, Any]:
    """Everything at once; what the node does not tell (Linux 7.2 tells nearly nothing) is None.

    Keys: ``node``, ``attributes``, ``driver``, ``firmware`` (``npu``, ``cert``), ``array`` (``columns``, ``rows``),
    ``power_mode``, ``clocks_mhz`` (``mp_npu``, ``h``), ``tops`` (``now``, ``max``), ``power_mw``, ``utilization`` (per cent, by
    column), ``force_preemption``, ``contexts``, ``processes``, ``memory_bytes`` (of all processes), ``telemetry`` (as XRT 2.25
    takes it apart), ``last_error``.
    """
    version = file.version()
    sensors = _told(lambda: _sensors(file))
    resources = _told(lambda: _ask(file, InfoParam.RESOURCE_INFO, uapi.GET_RESOURCE_INFO))
    contexts = _told(lambda: _contexts(file))
    processes = None if contexts is None else _told(lambda: _processes(file, contexts))
    metadata = _told(lambda: _ask(file, InfoParam.AIE_METADATA, uapi.QUERY_AIE_METADATA))
    return {
        "node": file.name,
        "attributes": file.attributes(),
        "driver": f"{version.name} {version.major}.{version.minor}",
        "firmware": {
            "npu": _told(lambda: _version(file, InfoParam.FIRMWARE_VERSION)),
            "cert": _told(lambda: _version(file, NextInfo.CERT_FIRMWARE_VERSION)),
        },
        "array": None if metadata is None else {"columns": metadata.cols, "rows": metadata.rows},
        "power_mode": _told(lambda: PowerMode(_ask(file, InfoParam.POWER_MODE, uapi.GET_POWER_MODE).power_mode).name.lower()),
        "clocks_mhz": _told(lambda: _clocks(file)),
        "tops": None if resources is None else {"now": resources.npu_tops_curr, "max": resources.npu_tops_max},
        "power_mw": None if sensors is None else sensors[0],
        "utilization": None if sensors is None else sensors[1],
        "force_preemption": _told(lambda: bool(_ask(file, InfoParam.FORCE_PREEMPT, uapi.ATTRIBUTE_STATE).state)),
        "contexts": contexts,
        "processes": processes,
        "memory_bytes": None if processes is None else sum(process["bo_bytes"] for process in processes),
        "telemetry": _told(lambda: _telemetry(file)),
        "last_error": _told(lambda: _last_error(file)),
    }


def set_power_mode(file: AccelFile, mode: PowerMode) -> None:
    """Sets the function's power mode; errors as SET_STATE."""
    file.set_state(StateParam.POWER_MODE, uapi.SET_POWER_MODE.pack(power_mode=mode))


def set_force_preemption(file: AccelFile, forced: bool) -> None:
    """Whether packets are preempted at their first preemption point; errors as SET_STATE."""
    file.set_state(StateParam.FORCE_PREEMPT, uapi.ATTRIBUTE_STATE.pack(state=int(forced)))


def _told(query: Callable[[], _Answer]) -> _Answer | None:
    try:
        return query()
    except Unsupported:
        return None


def _ask(file: AccelFile, param: int, layout: Struct) -> Record:
    return layout.unpack(file.get_info(param, layout.size).ljust(layout.size, b"\0"))


def _version(file: AccelFile, param: int) -> str:
    return ".".join(str(number) for number in _ask(file, param, uapi.QUERY_FIRMWARE_VERSION).values())


def _clocks(file: AccelFile) -> dict[str, int]:
    clocks = _ask(file, InfoParam.CLOCK_METADATA, uapi.QUERY_CLOCK_METADATA)
    return {"mp_npu": clocks.mp_npu_clock_freq_mhz, "h": clocks.h_clock_freq_mhz}


def _sensors(file: AccelFile) -> tuple[int | None, list[int]]:
    """Milliwatt, and per cent of each column."""
    layout = uapi.QUERY_SENSOR
    data = file.get_info(InfoParam.SENSORS, _SENSORS_MOST * layout.size)
    power, busy = None, []
    for at in range(0, len(data) // layout.size * layout.size, layout.size):
        sensor = layout.unpack(data, at)
        if sensor.type == SensorType.POWER:
            power = round(sensor.input * 10 ** (sensor.unitm + 3))
        elif sensor.type == SensorType.COLUMN_UTILIZATION:
            busy.append(sensor.input)
    return power, busy


def _contexts(file: AccelFile) -> list[dict[str, Any]]:
    layout = uapi_next.NEXT_HWCTX_ENTRY
    size, count, data = file.get_array(ArrayParam.HW_CONTEXT_ALL, layout.size, _CONTEXTS_MOST)
    found = []
    for at in range(0, size * count, size):
        entry = layout.unpack(data[at : at + size].ljust(layout.size, b"\0"))
        found.append(
            {
                "id": entry.context_id,
                "pid": entry.pid,
                "process": _text(entry, "name"),
                "columns": [entry.start_col, entry.start_col + entry.num_col - 1],
                "priority": Priority(entry.priority).name.lower() if entry.priority in set(Priority) else entry.priority,
                "state": "active" if entry.state == ContextState.ACTIVE else "idle",
                "submitted": entry.command_submissions,
                "completed": entry.command_completions,
                "errors": entry.errors,
                "preemptions": entry.preemptions,
                "suspensions": entry.suspensions,
                "migrations": entry.migrations,
                "gops": entry.gops,
                "fps": entry.fps,
                "latency": entry.latency,
            }
        )
    return found


def _processes(file: AccelFile, contexts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Memory of the processes that have contexts."""
    layout = uapi.BO_USAGE
    found = []
    for pid, name in {context["pid"]: context["process"] for context in contexts}.items():
        _, _, data = file.get_array(ArrayParam.BO_USAGE, layout.size, 1, layout.pack(pid=pid))
        usage = layout.unpack(data)
        found.append({"pid": pid, "process": name, "bo_bytes": usage.total_usage, "internal_bytes": usage.internal_usage})
    return found


def _telemetry(file: AccelFile) -> dict[str, Any]:
    """Counters of firmware: interrupts, what each of its tasks did, and preemptions by the number that it gave a context."""
    counters = uapi_next.NEXT_TELEMETRY.unpack(file.get_info(InfoParam.TELEMETRY, TELEMETRY_MINIMUM, bytes(4)))

    def each(name: str) -> tuple[int, ...]:
        value: object = counters[name]
        return value if isinstance(value, tuple) else (counters[name],)

    tasks = zip(each("context_starting"), each("scheduler_scheduled"), (0, *each("resource_acquired")), strict=True)
    return {
        "interrupts": counters.l1_interrupt,
        "tasks": [
            {"started": started, "scheduled": scheduled, "dma": counters.did_dma if index == 0 else 0, "resources": resources}
            for index, (started, scheduled, resources) in enumerate(tasks)
        ],
        "layer_preemptions": list(each("preemption_checkpoint_event_counter")),
        "frame_preemptions": list(each("preemption_frame_boundary_counter")),
    }


def _last_error(file: AccelFile) -> dict[str, Any] | None:
    layout = uapi.ASYNC_ERROR
    _, count, data = file.get_array(ArrayParam.LAST_ASYNC_ERROR, layout.size, 1)
    if not count:
        return None
    error = layout.unpack(data)
    return {
        "code": error.err_code,
        "text": _ERRORS.get(error.err_code, "unknown"),
        "time": datetime.fromtimestamp(error.ts_us / 1e6, UTC).isoformat(timespec="milliseconds"),
        "hw_context": error.ex_err_code & 0xFFFF_FFFF,
    }


def _text(record: Record, field: str) -> str:
    value: object = record[field]
    return struct.pack(f"{len(value)}B", *value).partition(b"\0")[0].decode(errors="replace") if isinstance(value, tuple) else ""
