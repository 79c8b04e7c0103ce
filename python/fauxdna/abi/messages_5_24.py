"""Management messages of protocol 5.24 beyond those of 5.10: what AMD's newer driver asks firmware, and three of our own.

Firmware that speaks 5.24 serves drivers of 5.10, which send none of these. Opcodes, layouts and field names are those of
amd/xdna-driver ``aie4_msg_priv.h`` (its structures are packed to 4 bytes).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ._declare import Field, Struct
from .messages import PROTOCOL_5_10, STATUS_RESPONSE, VF_STATES, Message, Protocol, State, extend

_SOURCE = "amd/xdna-driver aie4_msg_priv.h struct aie4_msg_"
_OWN = "fauxdna"
_STATUS = Field("status", "u32")
_RESERVED = [Field("resvd", "u32")]

UC_COUNT: Final = 6
"""``AIE4_MPNPUFW_MAX_UC_COUNT``."""
DPM_LEVEL_COUNT: Final = 10
"""``AIE4_MPNPUFW_MAX_DPM_LEVEL_COUNT``."""
TELEMETRY_MINIMUM: Final = 128 << 10
"""``MIN_TELEMETRY_BUFF_SIZE``: AMD's driver refuses smaller buffers."""
TELEMETRY_OPCODES: Final = 16
"""``TRACE_COUNT_API``: how many of the newest opcodes each counter keeps."""
TELEMETRY_SUPERVISORS: Final = 4
"""``MAX_NUM_SUPERVISORS_API``."""
TELEMETRY_CONTEXTS: Final = 128
"""``MAX_NUM_HW_CTX_API``."""
COREDUMP_BUFFER_SIZE: Final = 1 << 20
"""Bytes of each of a core dump's buffers, one for each tile (``aie4_get_coredump``)."""


class ContextProperty(IntEnum):
    """``enum aie4_msg_configure_hw_context_property``."""

    PRIORITY_BAND = 0
    SCHEDULING = 1
    DPM = 2
    CERT_LOG_BUFFER = 3
    CERT_DEBUG_BUFFER = 4
    CERT_TRACE_BUFFER = 5
    CERT_DEBUG_QUEUE = 6
    HANDLE = 7


class RuntimeConfig(IntEnum):
    """``enum aie4_msg_runtime_config_type``, of those that this firmware has."""

    FORCE_PREEMPTION = 1
    DYNAMIC_LOGGING_LEVEL = 5
    CONTEXT_TIMEOUT = 12
    CTX_SWITCH_HYSTERESIS = 13


class LogLevel(IntEnum):
    """``enum aie4_msg_dynamic_log_level``."""

    NONE = 0
    ERROR = 1
    WARNING = 2
    INFORMATION = 3
    DEBUG = 4


class TelemetryType(IntEnum):
    """``enum aie4_msg_telemetry_type``."""

    DISABLED = 0
    PERF_COUNTER = 1


class DebugAccess(IntEnum):
    """``enum aie4_aie_debug_op``."""

    BLOCK_READ = 0
    BLOCK_WRITE = 1
    REG_READ = 2
    REG_WRITE = 3


class ContextStatus(IntEnum):
    """``enum hw_ctx_status``."""

    UNASSIGNED = 0
    ERROR = 1
    IDLE = 2
    RUNNABLE = 3
    RUNNING = 4
    PREEMPTING = 5


class ContextErrorType(IntEnum):
    """``enum aie4_msg_async_ctx_error_type``."""

    HWSCH_FAILURE = 0
    STOP_FAILURE = 1
    AIE_FAILURE = 2
    PREEMPTION_TIMEOUT = 3
    NEW_PROCESS_FAILURE = 4
    UC_CRITICAL_ERROR = 5
    UC_COMPLETION_TIMEOUT = 6


class EventDestination(IntEnum):
    """``enum aie4_msg_event_trace_destination``."""

    DRAM = 0


class EventTimestamp(IntEnum):
    """``enum aie4_msg_event_trace_timestamp``."""

    NONE = 0
    NS_OFFSET = 1


ECHO_REQUEST = Struct("echo_req", 8, [Field("val1", "u32"), Field("val2", "u32")], source=_SOURCE + "echo_req")
ECHO_RESPONSE = Struct("echo_resp", 12, [_STATUS, Field("val1", "u32"), Field("val2", "u32")], source=_SOURCE + "echo_resp")
IDENTIFY_REQUEST = Struct("identify_req", 4, _RESERVED, source=_SOURCE + "identify_req")
IDENTIFY_RESPONSE = Struct(
    "identify_resp",
    20,
    [_STATUS, Field("fw_major", "u32"), Field("fw_minor", "u32"), Field("fw_patch", "u32"), Field("fw_build", "u32")],
    source=_SOURCE + "identify_resp",
)
CERT_VERSION_REQUEST = Struct("query_cert_firmware_version_req", 4, _RESERVED, source=_SOURCE + "query_cert_firmware_version_req")
CERT_VERSION_RESPONSE = Struct(
    "query_cert_firmware_version_resp",
    60,
    [
        _STATUS,
        Field("major_version", "u8"),
        Field("minor_version", "u8"),
        Field("git_hash", "u8", 41, doc="ends with 0"),
        Field("date", "u8", 11, doc="ends with 0"),
        Field("hotfix", "u8"),
        Field("build", "u8"),
    ],
    source=_SOURCE + "query_cert_firmware_version_resp",
)
GET_TELEMETRY_REQUEST = Struct(
    "get_telemetry_req",
    24,
    [
        Field("type", "u32", doc=":class:`TelemetryType`"),
        Field("buf_addr", "u64"),
        Field("pasid", "u32"),
        Field("buf_size", "u32"),
        Field("hw_context_id", "u32"),
    ],
    source=_SOURCE + "get_telemetry_req",
)
TELEMETRY = Struct(
    "aie4_telemetry",
    2520,
    [
        Field("enabled", "u8"),
        Field("reserved", "u8", 3),
        Field("deep_slp", "u8", 8, doc="ipuaie, ipuhclk, nbif, axi2sdp, mpipu: not 0 while that clock sleeps"),
        Field("l1_interrupt", "u64"),
        Field("context_starting", "u64", TELEMETRY_SUPERVISORS + 1),
        Field("scheduler_scheduled", "u64", TELEMETRY_SUPERVISORS + 1),
        Field("did_dma", "u64"),
        Field("resource_acquired", "u64", TELEMETRY_SUPERVISORS),
        Field("hyp_opcode", "u32", TELEMETRY_OPCODES),
        Field("sup_opcode", "u32", TELEMETRY_SUPERVISORS * TELEMETRY_OPCODES),
        Field("hyp_at", "u16"),
        Field("sup_at", "u16", TELEMETRY_SUPERVISORS),
        Field("reserved1", "u16"),
        Field("preemption_frame_boundary_counter", "u64", TELEMETRY_CONTEXTS),
        Field("preemption_checkpoint_event_counter", "u64", TELEMETRY_CONTEXTS),
    ],
    source="amd/xdna-driver aie4_msg_priv.h struct aie4_telemetry",
)
SET_RUNTIME_CONFIG_REQUEST = Struct(
    "set_runtime_cfg_req",
    8,
    [Field("type", "u32", doc=":class:`RuntimeConfig`"), Field("data", "u32")],
    source=_SOURCE + "set_runtime_cfg_req",
)
GET_RUNTIME_CONFIG_REQUEST = Struct("get_runtime_cfg_req", 4, [Field("type", "u32")], source=_SOURCE + "get_runtime_cfg_req")
GET_RUNTIME_CONFIG_RESPONSE = Struct(
    "get_runtime_cfg_resp", 8, [_STATUS, Field("data", "u32")], source=_SOURCE + "get_runtime_cfg_resp, and 4 bytes of data"
)
CONFIGURE_HW_CONTEXT_REQUEST = Struct(
    "configure_hw_context_req",
    84,
    [
        Field("hw_context_id", "u32"),
        Field("property", "u32", doc=":class:`ContextProperty`"),
        Field("data", "u32", 19, doc="a priority band, :data:`CERT_LOGGING`, ..."),
    ],
    source=_SOURCE + "configure_hw_context_req",
)
CERT_LOGGING = Struct(
    "context_config_cert_logging",
    76,
    [Field("num", "u8"), Field("rsvd", "u8", 3), Field("info", "u32", 3 * UC_COUNT, doc="address low, high, size of each uC")],
    source=_SOURCE + "context_config_cert_logging",
)
VERSION_INFO_REQUEST = Struct("aie4_version_info_req", 4, _RESERVED, source=_SOURCE + "aie4_version_info_req")
VERSION_INFO_RESPONSE = Struct(
    "aie4_version_info_resp",
    8,
    [_STATUS, Field("major", "u16"), Field("minor", "u16")],
    source=_SOURCE + "aie4_version_info_resp",
)
COLUMN_INFO_REQUEST = Struct(
    "aie4_column_info_req",
    24,
    [
        Field("dump_buff_addr", "u64"),
        Field("dump_buff_size", "u32"),
        Field("pasid", "u32"),
        Field("deprecated_num_cols", "u32"),
        Field("aie4_col_bitmap", "u32"),
    ],
    source=_SOURCE + "aie4_column_info_req",
)
COLUMN_INFO_RESPONSE = Struct(
    "aie4_column_info_resp", 8, [_STATUS, Field("size", "u32")], source=_SOURCE + "aie4_column_info_resp"
)
POWER_OVERRIDE_REQUEST = Struct("power_override_req", 4, [Field("power_mode", "u32")], source=_SOURCE + "power_override_req")
DEBUG_ACCESS_REQUEST = Struct(
    "aie4_debug_access_req",
    28,
    [
        Field("opcode", "u8", doc=":class:`DebugAccess`"),
        Field("hw_context_id", "u8"),
        Field("row", "u8"),
        Field("col", "u8"),
        Field("buffer_addr", "u64", doc="of a register access: its offset, then the value to write, as u32"),
        Field("buffer_size", "u32"),
        Field("mem_addr", "u32"),
        Field("mem_size", "u32"),
        Field("pasid", "u32"),
    ],
    source=_SOURCE + "aie4_debug_access_req",
)
DEBUG_ACCESS_RESPONSE = Struct(
    "aie4_debug_access_resp", 8, [_STATUS, Field("reg_rval", "u32")], source=_SOURCE + "aie4_debug_access_resp"
)
COREDUMP_REQUEST = Struct(
    "aie4_coredump_req",
    24,
    [
        Field("context_id", "u32"),
        Field("pasid", "u32"),
        Field("num_buffers", "u32"),
        Field("reserved", "u32"),
        Field("buffer_list_addr", "u64"),
    ],
    source=_SOURCE + "aie4_coredump_req",
)
COREDUMP_RESPONSE = Struct(
    "aie4_coredump_resp", 36, [_STATUS, Field("error_detail", "u32", 8)], source=_SOURCE + "aie4_coredump_resp"
)
COREDUMP_BUFFER = Struct(
    "coredump_buffer_list_entry",
    16,
    [Field("buffer_address", "u64"), Field("buffer_size", "u32"), Field("reserved", "u32")],
    source="amd/xdna-driver aie4_msg_priv.h struct coredump_buffer_list_entry",
)
DPM_TABLE_REQUEST = Struct("get_dpm_freq_table_req", 4, [Field("resv", "u32")], source=_SOURCE + "get_dpm_freq_table_req")
DPM_TABLE_RESPONSE = Struct(
    "get_dpm_freq_table_resp",
    92,
    [
        _STATUS,
        Field("aieclk_num_levels", "u32"),
        Field("aieclk_values", "u32", DPM_LEVEL_COUNT, doc="MHz"),
        Field("npuhclk_num_levels", "u32"),
        Field("npuhclk_values", "u32", DPM_LEVEL_COUNT, doc="MHz"),
    ],
    source=_SOURCE + "get_dpm_freq_table_resp",
)
DPM_LEVEL_REQUEST = Struct("get_dpm_level_req", 4, [Field("resv", "u32")], source=_SOURCE + "get_dpm_level_req")
DPM_LEVEL_RESPONSE = Struct(
    "get_dpm_level_resp",
    12,
    [_STATUS, Field("aieclk_dpm_level", "u32"), Field("npuhclk_dpm_level", "u32")],
    source=_SOURCE + "get_dpm_level_resp",
)

LOGGING_START_REQUEST = Struct(
    "dram_logging_start_req",
    20,
    [
        Field("buff_addr", "u64"),
        Field("buff_size", "u32"),
        Field("log_level", "u32", doc=":class:`LogLevel`"),
        Field("pasid", "u32"),
    ],
    source=_SOURCE + "dram_logging_start_req",
)
LOGGING_STOP_REQUEST = Struct("dram_logging_stop_req", 4, [Field("resv", "u32")], source=_SOURCE + "dram_logging_stop_req")
TRACE_START_REQUEST = Struct(
    "start_event_trace_req",
    32,
    [
        Field("event_trace_categories", "u64"),
        Field("event_trace_dest", "u32", doc=":class:`EventDestination`"),
        Field("event_trace_timestamp", "u32", doc=":class:`EventTimestamp`"),
        Field("dram_buffer_address", "u64"),
        Field("dram_buffer_size", "u32"),
        Field("pasid", "u32"),
    ],
    source=_SOURCE + "start_event_trace_req",
)
TRACE_STOP_REQUEST = Struct("stop_event_trace_req", 4, _RESERVED, source=_SOURCE + "stop_event_trace_req")
TRACE_CATEGORIES_REQUEST = Struct(
    "set_event_trace_categories_req",
    8,
    [Field("event_trace_categories", "u64")],
    source=_SOURCE + "set_event_trace_categories_req",
)

METRICS_REQUEST = Struct("metrics_req", 4, _RESERVED, source=_OWN)
METRICS_RESPONSE = Struct(
    "metrics_resp",
    48,
    [
        _STATUS,
        Field("npuclk_freq", "u32", doc="MHz: the array's clock, which Linux reports as H clock"),
        Field("mpnpuclk_freq", "u32", doc="MHz: the management processor's clock"),
        Field("npu_power", "u32", doc="mW"),
        Field("npu_busy", "u16", 8, doc="per cent, of each column"),
        Field("task_count", "u32", doc="contexts"),
        Field("columns", "u32"),
        Field("dpm_level", "u32"),
        Field("dpm_level_max", "u32"),
    ],
    source=_OWN + ": after Linux 7.2 struct amd_pmf_npu_metrics",
)
"""What AMD's driver gets of the NPU from the platform (PMF), which is not there for a VF in a guest."""
CONTEXT_STATISTICS_REQUEST = Struct("context_statistics_req", 4, [Field("hw_context_id", "u32")], source=_OWN)
CONTEXT_STATISTICS_RESPONSE = Struct(
    "context_statistics_resp",
    92,
    [
        _STATUS,
        Field("ctx_status", "u32", doc=":class:`ContextStatus`"),
        Field("column", "u32"),
        Field("columns", "u32"),
        Field("submitted", "u64"),
        Field("completed", "u64"),
        Field("errors", "u64"),
        Field("preemptions", "u64"),
        Field("simulated_ns", "u64"),
        Field("energy_pj", "u64"),
        Field("error_code", "u32", doc="completion word of the last packet that failed, or 0"),
        Field("error_uc", "u32"),
        Field("error_page", "u32"),
        Field("error_offset", "u32"),
        Field("error_opcode", "u32"),
        Field("error_time_us", "u64", doc="since 1970"),
    ],
    source=_OWN,
)
LAST_ERROR_REQUEST = Struct("last_error_req", 4, _RESERVED, source=_OWN)
LAST_ERROR_RESPONSE = Struct(
    "last_error_resp",
    24,
    [
        _STATUS,
        Field("hw_context_id", "u32", doc="0: no context has failed"),
        Field("error_type", "u32", doc=":class:`ContextErrorType`"),
        Field("ctx_status", "u32", doc=":class:`ContextStatus`"),
        Field("time_us", "u64", doc="since 1970"),
    ],
    source=_OWN,
)
"""The newest context error of the function. AMD's firmware reports one when it happens, in answer to a standing request
(ASYNC_EVENT_MSG); this one can be asked for, and knows the time."""

_COMMON = State.PF_BOOTED | State.PF_READY | State.PF_VIRTUAL | VF_STATES

PROTOCOL_5_24: Final[Protocol] = extend(
    PROTOCOL_5_10,
    24,
    Message("ECHO", 0x10001, ECHO_REQUEST, ECHO_RESPONSE, _COMMON),
    Message("IDENTIFY", 0x10002, IDENTIFY_REQUEST, IDENTIFY_RESPONSE, _COMMON),
    Message("GET_TELEMETRY", 0x10006, GET_TELEMETRY_REQUEST, STATUS_RESPONSE, _COMMON),
    Message("SET_RUNTIME_CONFIG", 0x10007, SET_RUNTIME_CONFIG_REQUEST, STATUS_RESPONSE, _COMMON),
    Message("GET_RUNTIME_CONFIG", 0x10008, GET_RUNTIME_CONFIG_REQUEST, GET_RUNTIME_CONFIG_RESPONSE, _COMMON),
    Message("START_EVENT_TRACE", 0x1000A, TRACE_START_REQUEST, STATUS_RESPONSE, _COMMON),
    Message("STOP_EVENT_TRACE", 0x1000B, TRACE_STOP_REQUEST, STATUS_RESPONSE, _COMMON),
    Message("SET_EVENT_TRACE_CATEGORIES", 0x1000C, TRACE_CATEGORIES_REQUEST, STATUS_RESPONSE, _COMMON),
    Message("QUERY_CERT_FIRMWARE_VERSION", 0x1000F, CERT_VERSION_REQUEST, CERT_VERSION_RESPONSE, _COMMON),
    Message("DRAM_LOGGING_START", 0x20004, LOGGING_START_REQUEST, STATUS_RESPONSE, _COMMON),
    Message("DRAM_LOGGING_STOP", 0x20005, LOGGING_STOP_REQUEST, STATUS_RESPONSE, _COMMON),
    Message("CONFIGURE_HW_CONTEXT", 0x30005, CONFIGURE_HW_CONTEXT_REQUEST, STATUS_RESPONSE, State.VF_ACTIVE),
    Message("AIE_VERSION_INFO", 0x30007, VERSION_INFO_REQUEST, VERSION_INFO_RESPONSE, VF_STATES),
    Message("AIE_COLUMN_INFO", 0x30008, COLUMN_INFO_REQUEST, COLUMN_INFO_RESPONSE, VF_STATES),
    Message("POWER_OVERRIDE", 0x3000B, POWER_OVERRIDE_REQUEST, STATUS_RESPONSE, VF_STATES),
    Message("AIE_DEBUG_ACCESS", 0x3000E, DEBUG_ACCESS_REQUEST, DEBUG_ACCESS_RESPONSE, State.VF_ACTIVE),
    Message("AIE_COREDUMP", 0x30010, COREDUMP_REQUEST, COREDUMP_RESPONSE, State.VF_ACTIVE),
    Message("GET_DPM_FREQ_TABLE", 0x30012, DPM_TABLE_REQUEST, DPM_TABLE_RESPONSE, VF_STATES),
    Message("GET_CURRENT_DPM_LEVEL", 0x30013, DPM_LEVEL_REQUEST, DPM_LEVEL_RESPONSE, VF_STATES),
    Message("METRICS", 0xFA0001, METRICS_REQUEST, METRICS_RESPONSE, _COMMON),
    Message("CONTEXT_STATISTICS", 0xFA0002, CONTEXT_STATISTICS_REQUEST, CONTEXT_STATISTICS_RESPONSE, State.VF_ACTIVE),
    Message("LAST_ERROR", 0xFA0003, LAST_ERROR_REQUEST, LAST_ERROR_RESPONSE, VF_STATES),
)
"""Opcodes 0xFA0001 and on are this project's own; AMD's end at 0x3FFFF."""
