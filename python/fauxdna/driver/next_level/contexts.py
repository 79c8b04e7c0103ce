"""What contexts and processes of a function do and did."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fauxdna.abi import uapi, uapi_next
from fauxdna.abi._declare import Record
from fauxdna.abi.control_code import PAGE_HEADER_SIZE, PAGE_SIZE
from fauxdna.abi.messages_5_24 import ContextErrorType, ContextStatus
from fauxdna.abi.uapi import ArrayParam, ContextState, InfoParam
from fauxdna.abi.uapi_next import NextArray

from ...errors import BufferTooSmall, InvalidArgument
from ..client import Client
from ..function import Function
from ..open_files import HardwareContext, OpenFile
from ._common import clients_of, contexts_of, find, not_there, statistics_of, text_of, vf_of


def _hw_contexts(client: Client, size: int, _data: bytes) -> bytes:
    rows = []
    for owner, handle, context in contexts_of(client.function):
        statistics = statistics_of(client.function, context)
        if statistics is not None:
            rows.append(uapi.QUERY_HWCTX.pack(context_id=handle, pid=owner.pid, **_progress(statistics)))
    data = b"".join(rows)
    if len(data) > size:
        raise BufferTooSmall(f"{len(rows)} contexts into {size} bytes", needed=len(data), errno=errno.EINVAL)
    return data


def _context_array(client: Client, element_size: int, count: int, _data: bytes) -> tuple[int, int, bytes]:
    size = min(element_size, uapi_next.NEXT_HWCTX_ENTRY.size)
    rows = [
        row[:size]
        for owner, handle, context in contexts_of(client.function)
        if (row := _context_entry(client.function, owner, handle, context)) is not None
    ]
    if len(rows) > count:
        raise BufferTooSmall(f"{len(rows)} contexts into {count} elements", needed=len(rows), unit="elements")
    return size, len(rows), b"".join(rows)


def _context_by_id(client: Client, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
    size = min(element_size, uapi_next.NEXT_HWCTX_ENTRY.size)
    wanted = uapi.HWCTX_ENTRY.unpack(data[: uapi.HWCTX_ENTRY.size].ljust(uapi.HWCTX_ENTRY.size, b"\0"))
    owner, context = find(client, wanted.pid, wanted.context_id)
    row = _context_entry(client.function, owner, wanted.context_id, context)
    if row is None:
        raise not_there(wanted.pid, wanted.context_id)
    return size, 1, row[:size]


def _context_entry(function: Function, owner: OpenFile, handle: int, context: HardwareContext) -> bytes | None:
    statistics = statistics_of(function, context)
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
        name=text_of(uapi_next.NEXT_HWCTX_ENTRY, "name", _process_name(owner.pid)),
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
    answer = vf_of(client, "LAST_ASYNC_ERROR").ask("LAST_ERROR")
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
    used = [other.bo_usage for other in clients_of(client.function) if other.pid == pid]
    answer = uapi.BO_USAGE.pack(
        pid=pid, total_usage=sum(total for total, _ in used), internal_usage=sum(internal for _, internal in used)
    )
    return size, 1, answer[:size]


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


INFO: Final[dict[int, Callable[[Client, int, bytes], bytes]]] = {
    InfoParam.HW_CONTEXTS: _hw_contexts,
}
ARRAYS: Final[dict[int, Callable[[Client, int, int, bytes], tuple[int, int, bytes]]]] = {
    ArrayParam.HW_CONTEXT_ALL: _context_array,
    ArrayParam.LAST_ASYNC_ERROR: _last_error,
    ArrayParam.BO_USAGE: _bo_usage,
    NextArray.HW_CONTEXT_BY_ID: _context_by_id,
}
