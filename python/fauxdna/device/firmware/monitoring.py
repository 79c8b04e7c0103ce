"""Messages that ask what firmware, clocks, sensors and contexts are and do, and that set the power mode (protocol 5.24).

A VF is told of its own contexts only; clocks and versions are the die's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fauxdna.abi import messages_5_24 as abi
from fauxdna.abi import timing
from fauxdna.abi.host_queue import CompletionState
from fauxdna.abi.messages import Status
from fauxdna.abi.messages_5_24 import ContextErrorType, ContextStatus, LogLevel, RuntimeConfig, TelemetryType
from fauxdna.abi.uapi import PowerMode

from .contexts import context_of
from .state import Counters, Refusal, Request

_STATUS: Final = {"idle": ContextStatus.IDLE, "running": ContextStatus.RUNNING, "error": ContextStatus.ERROR}
"""What the engine calls a context's state; one that exited counts as failed."""
_LAST_LEVEL: Final = len(timing.DPM_LEVELS) - 1


def echo(request: Request) -> bytes:
    """Gives back what was sent."""
    return request.answer(val1=request.fields.val1, val2=request.fields.val2)


def identify(request: Request) -> bytes:
    """Version of the npu image."""
    major, minor, patch, build = request.firmware.npu_version
    return request.answer(fw_major=major, fw_minor=minor, fw_patch=patch, fw_build=build)


def cert_version(request: Request) -> bytes:
    """Version of the cert image. It has no hash and no date."""
    major, minor, hotfix, build = request.firmware.cert_version
    return request.answer(major_version=major, minor_version=minor, hotfix=hotfix, build=build)


def power_override(request: Request) -> bytes:
    """The VF's power mode; the die's clocks follow that of the VF which wants most."""
    mode = request.fields.power_mode
    if mode not in set(PowerMode):
        raise Refusal(f"power mode {mode}; there are {', '.join(f'{item.value} {item.name}' for item in PowerMode)}")
    request.sender.power_mode = PowerMode(mode)
    request.firmware.follow_modes()
    request.log.info(f"power mode {PowerMode(mode).name}: {request.firmware.power}")
    return request.answer()


def dpm_table(request: Request) -> bytes:
    """The array runs on the H clock, so both domains have its frequencies."""
    values = tuple(hclk for _, hclk in timing.DPM_LEVELS)
    padded = values + (0,) * (abi.DPM_LEVEL_COUNT - len(values))
    return request.answer(
        aieclk_num_levels=len(values), aieclk_values=padded, npuhclk_num_levels=len(values), npuhclk_values=padded
    )


def dpm_level(request: Request) -> bytes:
    """The level in force."""
    level = request.firmware.power.level
    return request.answer(aieclk_dpm_level=level, npuhclk_dpm_level=level)


def metrics(request: Request) -> bytes:
    """Clocks, power, utilisation: a VF's own share, or that of all if the PF asks."""
    firmware = request.firmware
    vfs = list(firmware.vfs.values()) if request.vf is None else [request.vf]
    if request.vf is None:
        reading = firmware.meter.read(firmware.work())
    else:
        reading = request.vf.meter.read(request.vf.work(firmware.engine))
    return request.answer(
        npuclk_freq=firmware.power.hclk,
        mpnpuclk_freq=firmware.power.npuclk,
        npu_power=reading.power_mw,
        npu_busy=tuple(reading.busy.get(column, 0) for column in range(8)),
        task_count=sum(len(vf.contexts) for vf in vfs),
        columns=firmware.columns,
        dpm_level=firmware.power.level,
        dpm_level_max=_LAST_LEVEL,
    )


def context_statistics(request: Request) -> bytes:
    """What a context has done since it was created."""
    context = context_of(request, request.fields.hw_context_id)
    state = request.firmware.engine.context_state(context.handle)
    values = {name: _number(state, name) for name in ("completed", "errors", "preemptions", "simulated_ns", "energy_pj")}
    failure = _failure(state)
    return request.answer(
        ctx_status=_status(state),
        column=context.column,
        columns=context.columns,
        # What was aborted counts as an error.
        submitted=values["completed"] + values["errors"] + _number(state, "waiting"),
        error_code=failure.get("word", 0),
        error_uc=failure.get("uc", 0),
        error_page=failure.get("page", 0),
        error_offset=failure.get("offset", 0),
        error_opcode=failure.get("opcode", 0),
        error_time_us=failure.get("time_us", 0),
        **values,
    )


def last_error(request: Request) -> bytes:
    """The newest failure of the VF's contexts, those that have gone included."""
    vf, engine = request.sender, request.firmware.engine
    for identifier, context in vf.contexts.items():
        vf.note_failure(identifier, engine.context_state(context.handle))
    if vf.last_failure is None:
        return request.answer()
    identifier, failure = vf.last_failure
    word = failure["word"]
    kind = ContextErrorType.UC_CRITICAL_ERROR if word else ContextErrorType.HWSCH_FAILURE
    if word & 0xF == CompletionState.TIMEOUT:
        kind = ContextErrorType.UC_COMPLETION_TIMEOUT
    return request.answer(hw_context_id=identifier, error_type=kind, ctx_status=ContextStatus.ERROR, time_us=failure["time_us"])


def telemetry(request: Request) -> bytes:
    """Counters into host memory. A VF finds its own as supervisor 0; the PF finds those of the first VFs."""
    fields, firmware = request.fields, request.firmware
    if fields.type not in set(TelemetryType):
        raise Refusal(f"telemetry type {fields.type}; there are 0 and 1")
    if fields.buf_size < abi.TELEMETRY.size:
        raise Refusal(f"telemetry takes {abi.TELEMETRY.size} bytes; the buffer has {fields.buf_size}")
    hypervisor = firmware.counters if request.vf is None else Counters()
    vfs = list(firmware.vfs.values())[: abi.TELEMETRY_SUPERVISORS] if request.vf is None else [request.vf]
    supervisors = [vf.counters for vf in vfs]
    packets = [0] * len(vfs)
    preemptions = [0] * abi.TELEMETRY_CONTEXTS
    for index, vf in enumerate(vfs):
        for identifier, context in vf.contexts.items():
            state = firmware.engine.context_state(context.handle)
            packets[index] += _number(state, "completed") + _number(state, "errors")
            if identifier < len(preemptions):
                preemptions[identifier] += _number(state, "preemptions")
    # No clock of a die with power sleeps deeply, so ``deep_slp`` stays 0.
    data = abi.TELEMETRY.pack(
        enabled=1,
        l1_interrupt=hypervisor.messages + sum(item.messages for item in supervisors),
        context_starting=_each([0, *(item.contexts for item in supervisors)], abi.TELEMETRY_SUPERVISORS + 1),
        scheduler_scheduled=_each([0, *packets], abi.TELEMETRY_SUPERVISORS + 1),
        did_dma=hypervisor.transfers + sum(item.transfers for item in supervisors),
        resource_acquired=_each([item.partitions for item in supervisors], abi.TELEMETRY_SUPERVISORS),
        hyp_opcode=tuple(hypervisor.opcodes),
        sup_opcode=_each(
            [opcode for item in supervisors for opcode in item.opcodes], abi.TELEMETRY_SUPERVISORS * abi.TELEMETRY_OPCODES
        ),
        hyp_at=hypervisor.messages & 0xFFFF,
        sup_at=_each([item.messages & 0xFFFF for item in supervisors], abi.TELEMETRY_SUPERVISORS),
        preemption_checkpoint_event_counter=tuple(preemptions),
    )
    request.write_memory(fields.buf_addr, data)
    return request.answer()


def set_runtime_config(request: Request) -> bytes:
    """Settings of the function that asks; a PF's hold for all its VFs."""
    kind = _config(request)
    data = request.fields.data
    if kind is RuntimeConfig.FORCE_PREEMPTION:
        data = int(bool(data & 0xFF))
    if kind is RuntimeConfig.DYNAMIC_LOGGING_LEVEL and request.rings.logs:
        if data not in set(LogLevel) or data == LogLevel.NONE:
            raise Refusal(f"log level {data}; there are 1 to {LogLevel.DEBUG.value}")
        request.rings.level = LogLevel(data)
    request.config[kind] = data
    if kind is RuntimeConfig.FORCE_PREEMPTION:
        for vf in request.firmware.vfs.values() if request.vf is None else [request.vf]:
            for context in vf.contexts.values():
                request.firmware.engine.set_force_preempt(context.handle, request.firmware.preempts(vf))
    return request.answer()


def get_runtime_config(request: Request) -> bytes:
    """What was set; 0 before."""
    return request.answer(data=request.config.get(_config(request), 0))


def _config(request: Request) -> RuntimeConfig:
    kind = request.fields.type
    if kind not in set(RuntimeConfig):
        raise Refusal(f"runtime configuration {kind}; there are {', '.join(map(str, RuntimeConfig))}", Status.NOTSUPP)
    return RuntimeConfig(kind)


def _status(state: Mapping[str, object]) -> ContextStatus:
    return _STATUS.get(str(state.get("state")), ContextStatus.ERROR)


def _number(state: Mapping[str, object], name: str) -> int:
    value = state.get(name, 0)
    return int(value) if isinstance(value, (int, float)) else 0


def _failure(state: Mapping[str, object]) -> Mapping[str, int]:
    failure = state.get("failure")
    return failure if isinstance(failure, dict) else {}


def _each(values: list[int], count: int) -> tuple[int, ...]:
    return tuple(values[:count]) + (0,) * (count - len(values))


HANDLERS: Final[Mapping[str, Callable[[Request], bytes]]] = {
    "ECHO": echo,
    "IDENTIFY": identify,
    "QUERY_CERT_FIRMWARE_VERSION": cert_version,
    "POWER_OVERRIDE": power_override,
    "GET_DPM_FREQ_TABLE": dpm_table,
    "GET_CURRENT_DPM_LEVEL": dpm_level,
    "METRICS": metrics,
    "CONTEXT_STATISTICS": context_statistics,
    "LAST_ERROR": last_error,
    "GET_TELEMETRY": telemetry,
    "SET_RUNTIME_CONFIG": set_runtime_config,
    "GET_RUNTIME_CONFIG": get_runtime_config,
}
