"""abi.uapi against the numbers that a C compile of Linux 7.2's header printed."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import pytest

from fauxdna.abi import uapi
from fauxdna.abi._declare import Struct

ROWS = [
    line.split()
    for line in (Path(__file__).parent / "data/amdxdna_accel_7.2.txt").read_text().splitlines()
    if not line.startswith("#")
]
STRUCTS = {value.name: value for value in vars(uapi).values() if isinstance(value, Struct)}
NESTED = {"version", "core", "mem", "shim", "mp_npu_clock", "h_clock"}
FLEXIBLE = {"cu_configs", "va_entries", "map"}

ENUMS: dict[str, tuple[type[IntEnum], str]] = {
    "amdxdna_device_type": (uapi.DeviceType, "AMDXDNA_DEV_TYPE_"),
    "amdxdna_bo_type": (uapi.BoType, "AMDXDNA_BO_"),
    "amdxdna_sensor_type": (uapi.SensorType, "AMDXDNA_SENSOR_TYPE_"),
    "amdxdna_power_mode_type": (uapi.PowerMode, "POWER_MODE_"),
}
VALUES_ONLY = {
    "amdxdna_drm_get_param": uapi.InfoParam,
    "amdxdna_drm_set_param": uapi.StateParam,
    "amdxdna_drm_config_hwctx_param": uapi.ConfigParam,
    "amdxdna_cmd_type": uapi.CommandType,
}
MACROS = {
    "AMDXDNA_INVALID_ADDR": uapi.INVALID_ADDRESS,
    "AMDXDNA_INVALID_CTX_HANDLE": uapi.INVALID_CONTEXT,
    "AMDXDNA_INVALID_BO_HANDLE": uapi.INVALID_BO,
    "AMDXDNA_INVALID_DOORBELL_OFFSET": uapi.INVALID_DOORBELL,
    "AMDXDNA_QOS_REALTIME_PRIORITY": uapi.Priority.REALTIME,
    "AMDXDNA_QOS_HIGH_PRIORITY": uapi.Priority.HIGH,
    "AMDXDNA_QOS_NORMAL_PRIORITY": uapi.Priority.NORMAL,
    "AMDXDNA_QOS_LOW_PRIORITY": uapi.Priority.LOW,
    "SYNC_DIRECT_TO_DEVICE": uapi.SyncDirection.TO_DEVICE,
    "SYNC_DIRECT_FROM_DEVICE": uapi.SyncDirection.FROM_DEVICE,
    "AMDXDNA_HWCTX_STATE_IDLE": uapi.ContextState.IDLE,
    "AMDXDNA_HWCTX_STATE_ACTIVE": uapi.ContextState.ACTIVE,
    "DRM_AMDXDNA_HW_CONTEXT_ALL": uapi.ArrayParam.HW_CONTEXT_ALL,
    "DRM_AMDXDNA_HW_LAST_ASYNC_ERR": uapi.ArrayParam.LAST_ASYNC_ERROR,
    "DRM_AMDXDNA_BO_USAGE": uapi.ArrayParam.BO_USAGE,
}


def test_every_structure_of_the_header_is_declared_and_no_other() -> None:
    assert {row[1] for row in ROWS if row[0] == "S"} == set(STRUCTS)


@pytest.mark.parametrize(("name", "size"), [(row[1], int(row[2])) for row in ROWS if row[0] == "S"])
def test_structure_sizes(name: str, size: int) -> None:
    assert STRUCTS[name].size == size


@pytest.mark.parametrize(("name", "field", "offset"), [(row[1], row[2], int(row[3])) for row in ROWS if row[0] == "F"])
def test_field_offsets(name: str, field: str, offset: int) -> None:
    struct = STRUCTS[name]
    if field in FLEXIBLE:
        assert offset == struct.size
    elif field in NESTED:
        assert offset == min(at for key, at in struct.offsets.items() if key.startswith(field + "_"))
    else:
        assert struct.offsets[field] == offset


@pytest.mark.parametrize(("name", "number"), [(row[1], int(row[2], 16)) for row in ROWS if row[0] == "I"])
def test_ioctl_numbers(name: str, number: int) -> None:
    ours = name.removeprefix("DRM_IOCTL_AMDXDNA_")
    ours = {"HANDLE_TO_FD": "PRIME_HANDLE_TO_FD", "FD_TO_HANDLE": "PRIME_FD_TO_HANDLE"}.get(ours, ours)
    assert uapi.Ioctl[ours] == number
    assert uapi.ARGUMENTS[uapi.Ioctl[ours]].size == number >> 16 & 0x3FFF


@pytest.mark.parametrize(("enum", "member", "value"), [(row[1], row[2], int(row[3])) for row in ROWS if row[0] == "E"])
def test_enum_values(enum: str, member: str, value: int) -> None:
    if enum == "amdxdna_drm_ioctl_id":
        assert uapi.Ioctl[member.removeprefix("DRM_AMDXDNA_")] & 0xFF == 0x40 + value
    elif enum in ENUMS:
        ours, prefix = ENUMS[enum]
        name = member.removeprefix(prefix)
        assert ours["SHARE" if name == "SHMEM" else name] == value
    else:
        assert value in set(VALUES_ONLY[enum])


@pytest.mark.parametrize("enum", VALUES_ONLY)
def test_enums_have_no_other_values(enum: str) -> None:
    assert {int(row[3]) for row in ROWS if row[:2] == ["E", enum]} == set(VALUES_ONLY[enum])


@pytest.mark.parametrize("name", MACROS)
def test_macros(name: str) -> None:
    assert {row[1]: int(row[2], 16) for row in ROWS if row[0] == "D"}[name] == MACROS[name]
