"""The accel UAPI of Linux 7.2: ioctl numbers, structures and values of ``amdxdna_accel.h``, and the DRM ioctls that go with them.

Field names are the header's. A nested structure's fields are flattened with its name in front (``core_row_count``).
Sizes, offsets and numbers are checked against a C compile of the header.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ._declare import Struct, fields_of

_SOURCE = "Linux 7.2 include/uapi/drm/amdxdna_accel.h"
_DRM = "Linux 7.2 include/uapi/drm/drm.h"

DRIVER_MAJOR: Final = 0
"""``amdxdna_pci_drv.c`` of Linux 7.2."""
DRIVER_MINOR: Final = 10

INVALID_ADDRESS: Final = 0xFFFF_FFFF_FFFF_FFFF
INVALID_CONTEXT: Final = 0
INVALID_BO: Final = 0
INVALID_DOORBELL: Final = 0xFFFF_FFFF
MAP_OFFSET_BASE: Final = 1 << 32
"""Lowest BO offset of mmap on a 64-bit host (``DRM_FILE_PAGE_OFFSET_START``, ``drm_vma_manager.h``); doorbells lie below."""


class DeviceType(IntEnum):
    """``enum amdxdna_device_type``: what the ``device_type`` attribute says."""

    UNKNOWN = -1
    KMQ = 0
    UMQ = 1
    PF = 2


class BoType(IntEnum):
    """``enum amdxdna_bo_type``."""

    INVALID = 0
    SHARE = 1
    DEV_HEAP = 2
    DEV = 3
    CMD = 4


class Priority(IntEnum):
    """``AMDXDNA_QOS_*_PRIORITY``."""

    REALTIME = 0x100
    HIGH = 0x180
    NORMAL = 0x200
    LOW = 0x280


class SyncDirection(IntEnum):
    """``SYNC_DIRECT_*``."""

    TO_DEVICE = 0
    FROM_DEVICE = 1


class ConfigParam(IntEnum):
    """``enum amdxdna_drm_config_hwctx_param``."""

    CONFIG_CU = 0
    ASSIGN_DEBUG_BUFFER = 1
    REMOVE_DEBUG_BUFFER = 2


class CommandType(IntEnum):
    """``enum amdxdna_cmd_type``."""

    EXEC_BUF = 0
    DEPENDENCY = 1
    SIGNAL = 2


class InfoParam(IntEnum):
    """``enum amdxdna_drm_get_param``: what GET_INFO is asked for."""

    AIE_STATUS = 0
    AIE_METADATA = 1
    AIE_VERSION = 2
    CLOCK_METADATA = 3
    SENSORS = 4
    HW_CONTEXTS = 5
    FIRMWARE_VERSION = 8
    POWER_MODE = 9
    TELEMETRY = 10
    FORCE_PREEMPT = 11
    RESOURCE_INFO = 12
    FRAME_BOUNDARY_PREEMPT = 13


class StateParam(IntEnum):
    """``enum amdxdna_drm_set_param``: what SET_STATE sets."""

    POWER_MODE = 0
    WRITE_AIE_MEM = 1
    WRITE_AIE_REG = 2
    FORCE_PREEMPT = 3
    FRAME_BOUNDARY_PREEMPT = 4


class ArrayParam(IntEnum):
    """``DRM_AMDXDNA_*`` of GET_ARRAY."""

    HW_CONTEXT_ALL = 0
    LAST_ASYNC_ERROR = 2
    BO_USAGE = 6


class PowerMode(IntEnum):
    """``enum amdxdna_power_mode_type``."""

    DEFAULT = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    TURBO = 4


class SensorType(IntEnum):
    """``enum amdxdna_sensor_type``."""

    POWER = 0
    COLUMN_UTILIZATION = 1


class ContextState(IntEnum):
    """``AMDXDNA_HWCTX_STATE_*``."""

    IDLE = 0
    ACTIVE = 1


def _struct(name: str, size: int, fields: str) -> Struct:
    """A declaration from ``"type name, type name[count]"``."""
    return Struct(name, size, fields_of(fields), source=_DRM if name.startswith("drm_") else _SOURCE)


_TILE = "u16 {0}_row_count,u16 {0}_row_start,u16 {0}_dma_channel_count,u16 {0}_lock_count,u16 {0}_event_reg_count,u16 {0}_pad[3]"
_CLOCK = "u8 {0}_name[16],u32 {0}_freq_mhz,u32 {0}_pad"

QOS_INFO: Final = _struct(
    "amdxdna_qos_info", 24, "u32 gops,u32 fps,u32 dma_bandwidth,u32 latency,u32 frame_exec_time,u32 priority"
)
CREATE_HWCTX: Final = _struct(
    "amdxdna_drm_create_hwctx",
    56,
    "u64 ext,u64 ext_flags,u64 qos_p,u32 umq_bo,u32 log_buf_bo,u32 max_opc,u32 num_tiles,u32 mem_size,u32 umq_doorbell,"
    "u32 handle,u32 syncobj_handle",
)
DESTROY_HWCTX: Final = _struct("amdxdna_drm_destroy_hwctx", 8, "u32 handle,u32 pad")
CU_CONFIG: Final = _struct("amdxdna_cu_config", 8, "u32 cu_bo,u8 cu_func,u8 pad[3]")
PARAM_CONFIG_CU: Final = _struct("amdxdna_hwctx_param_config_cu", 8, "u16 num_cus,u16 pad[3]")
CONFIG_HWCTX: Final = _struct(
    "amdxdna_drm_config_hwctx", 24, "u32 handle,u32 param_type,u64 param_val,u32 param_val_size,u32 pad"
)
VA_ENTRY: Final = _struct("amdxdna_drm_va_entry", 16, "u64 vaddr,u64 len")
VA_TABLE: Final = _struct("amdxdna_drm_va_tbl", 8, "i32 dmabuf_fd,u32 num_entries")
CREATE_BO: Final = _struct("amdxdna_drm_create_bo", 32, "u64 flags,u64 vaddr,u64 size,u32 type,u32 handle")
GET_BO_INFO: Final = _struct(
    "amdxdna_drm_get_bo_info", 48, "u64 ext,u64 ext_flags,u32 handle,u32 pad,u64 map_offset,u64 vaddr,u64 xdna_addr"
)
SYNC_BO: Final = _struct("amdxdna_drm_sync_bo", 24, "u32 handle,u32 direction,u64 offset,u64 size")
EXEC_CMD: Final = _struct(
    "amdxdna_drm_exec_cmd",
    56,
    "u64 ext,u64 ext_flags,u32 hwctx,u32 type,u64 cmd_handles,u64 args,u32 cmd_count,u32 arg_count,u64 seq",
)
WAIT_CMD: Final = _struct("amdxdna_drm_wait_cmd", 16, "u32 hwctx,u32 timeout,u64 seq")
QUERY_AIE_STATUS: Final = _struct("amdxdna_drm_query_aie_status", 16, "u64 buffer,u32 buffer_size,u32 cols_filled")
QUERY_AIE_VERSION: Final = _struct("amdxdna_drm_query_aie_version", 8, "u32 major,u32 minor")
QUERY_AIE_TILE_METADATA: Final = _struct(
    "amdxdna_drm_query_aie_tile_metadata",
    16,
    "u16 row_count,u16 row_start,u16 dma_channel_count,u16 lock_count,u16 event_reg_count,u16 pad[3]",
)
QUERY_AIE_METADATA: Final = _struct(
    "amdxdna_drm_query_aie_metadata",
    64,
    "u32 col_size,u16 cols,u16 rows,u32 version_major,u32 version_minor,"
    + ",".join(_TILE.format(tile) for tile in ("core", "mem", "shim")),
)
QUERY_CLOCK: Final = _struct("amdxdna_drm_query_clock", 24, "u8 name[16],u32 freq_mhz,u32 pad")
QUERY_CLOCK_METADATA: Final = _struct(
    "amdxdna_drm_query_clock_metadata", 48, _CLOCK.format("mp_npu_clock") + "," + _CLOCK.format("h_clock")
)
QUERY_SENSOR: Final = _struct(
    "amdxdna_drm_query_sensor",
    168,
    "u8 label[64],u32 input,u32 max,u32 average,u32 highest,u8 status[64],u8 units[16],i8 unitm,u8 type,u8 pad[6]",
)
QUERY_HWCTX: Final = _struct(
    "amdxdna_drm_query_hwctx",
    64,
    "u32 context_id,u32 start_col,u32 num_col,u32 pad,i64 pid,u64 command_submissions,u64 command_completions,"
    "u64 migrations,u64 preemptions,u64 errors",
)
GET_POWER_MODE: Final = _struct("amdxdna_drm_get_power_mode", 8, "u8 power_mode,u8 pad[7]")
QUERY_FIRMWARE_VERSION: Final = _struct("amdxdna_drm_query_firmware_version", 16, "u32 major,u32 minor,u32 patch,u32 build")
GET_RESOURCE_INFO: Final = _struct(
    "amdxdna_drm_get_resource_info",
    40,
    "u64 npu_clk_max,u64 npu_tops_max,u64 npu_task_max,u64 npu_tops_curr,u64 npu_task_curr",
)
ATTRIBUTE_STATE: Final = _struct("amdxdna_drm_attribute_state", 8, "u8 state,u8 pad[7]")
QUERY_TELEMETRY_HEADER: Final = _struct(
    "amdxdna_drm_query_telemetry_header", 16, "u32 major,u32 minor,u32 type,u32 map_num_elements"
)
GET_INFO: Final = _struct("amdxdna_drm_get_info", 16, "u32 param,u32 buffer_size,u64 buffer")
HWCTX_ENTRY: Final = _struct(
    "amdxdna_drm_hwctx_entry",
    144,
    "u32 context_id,u32 start_col,u32 num_col,u32 hwctx_id,i64 pid,u64 command_submissions,u64 command_completions,"
    "u64 migrations,u64 preemptions,u64 errors,u64 priority,u64 heap_usage,u64 suspensions,u32 state,u32 pasid,u32 gops,"
    "u32 fps,u32 dma_bandwidth,u32 latency,u32 frame_exec_time,u32 txn_op_idx,u32 ctx_pc,u32 fatal_error_type,"
    "u32 fatal_error_exception_type,u32 fatal_error_exception_pc,u32 fatal_error_app_module,u32 pad",
)
ASYNC_ERROR: Final = _struct("amdxdna_async_error", 24, "u64 err_code,u64 ts_us,u64 ex_err_code")
BO_USAGE: Final = _struct("amdxdna_drm_bo_usage", 32, "i64 pid,u64 total_usage,u64 internal_usage,u64 heap_usage")
GET_ARRAY: Final = _struct("amdxdna_drm_get_array", 24, "u32 param,u32 element_size,u32 num_element,u32 pad,u64 buffer")
SET_STATE: Final = _struct("amdxdna_drm_set_state", 16, "u32 param,u32 buffer_size,u64 buffer")
SET_POWER_MODE: Final = _struct("amdxdna_drm_set_power_mode", 8, "u8 power_mode,u8 pad[7]")

DRM_VERSION: Final = _struct(
    "drm_version",
    64,
    "i32 version_major,i32 version_minor,i32 version_patchlevel,u32 hole,u64 name_len,u64 name,u64 date_len,u64 date,"
    "u64 desc_len,u64 desc",
)
GEM_CLOSE: Final = _struct("drm_gem_close", 8, "u32 handle,u32 pad")
PRIME_HANDLE: Final = _struct("drm_prime_handle", 12, "u32 handle,u32 flags,i32 fd")

_WRITE, _READ_WRITE = 1, 3
_DRM_TYPE = ord("d")
_COMMAND_BASE = 0x40


def _ioctl(direction: int, number: int, argument: Struct) -> int:
    """``_IOC`` of ``asm-generic/ioctl.h``: direction[31:30], size[29:16], type[15:8], number[7:0]."""
    return direction << 30 | argument.size << 16 | _DRM_TYPE << 8 | number


class Ioctl(IntEnum):
    """Request numbers of the node's ioctls."""

    CREATE_HWCTX = _ioctl(_READ_WRITE, _COMMAND_BASE + 0, CREATE_HWCTX)
    DESTROY_HWCTX = _ioctl(_READ_WRITE, _COMMAND_BASE + 1, DESTROY_HWCTX)
    CONFIG_HWCTX = _ioctl(_READ_WRITE, _COMMAND_BASE + 2, CONFIG_HWCTX)
    CREATE_BO = _ioctl(_READ_WRITE, _COMMAND_BASE + 3, CREATE_BO)
    GET_BO_INFO = _ioctl(_READ_WRITE, _COMMAND_BASE + 4, GET_BO_INFO)
    SYNC_BO = _ioctl(_READ_WRITE, _COMMAND_BASE + 5, SYNC_BO)
    EXEC_CMD = _ioctl(_READ_WRITE, _COMMAND_BASE + 6, EXEC_CMD)
    GET_INFO = _ioctl(_READ_WRITE, _COMMAND_BASE + 7, GET_INFO)
    SET_STATE = _ioctl(_READ_WRITE, _COMMAND_BASE + 8, SET_STATE)
    WAIT_CMD = _ioctl(_WRITE, _COMMAND_BASE + 9, WAIT_CMD)
    GET_ARRAY = _ioctl(_READ_WRITE, _COMMAND_BASE + 10, GET_ARRAY)
    VERSION = _ioctl(_READ_WRITE, 0x00, DRM_VERSION)
    GEM_CLOSE = _ioctl(_WRITE, 0x09, GEM_CLOSE)
    PRIME_HANDLE_TO_FD = _ioctl(_READ_WRITE, 0x2D, PRIME_HANDLE)
    PRIME_FD_TO_HANDLE = _ioctl(_READ_WRITE, 0x2E, PRIME_HANDLE)


AMD_WAIT_CMD: Final = _ioctl(_READ_WRITE, _COMMAND_BASE + 9, WAIT_CMD)
"""WAIT_CMD in AMD's own ``amdxdna_accel.h`` (xdna-driver), which XRT is built with: ``drm_ioctl`` looks at the number alone."""


ARGUMENTS: Final = {
    Ioctl.CREATE_HWCTX: CREATE_HWCTX,
    Ioctl.DESTROY_HWCTX: DESTROY_HWCTX,
    Ioctl.CONFIG_HWCTX: CONFIG_HWCTX,
    Ioctl.CREATE_BO: CREATE_BO,
    Ioctl.GET_BO_INFO: GET_BO_INFO,
    Ioctl.SYNC_BO: SYNC_BO,
    Ioctl.EXEC_CMD: EXEC_CMD,
    Ioctl.GET_INFO: GET_INFO,
    Ioctl.SET_STATE: SET_STATE,
    Ioctl.WAIT_CMD: WAIT_CMD,
    Ioctl.GET_ARRAY: GET_ARRAY,
    Ioctl.VERSION: DRM_VERSION,
    Ioctl.GEM_CLOSE: GEM_CLOSE,
    Ioctl.PRIME_HANDLE_TO_FD: PRIME_HANDLE,
    Ioctl.PRIME_FD_TO_HANDLE: PRIME_HANDLE,
}
"""The structure that each request's argument points to."""
