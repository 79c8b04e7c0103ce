"""abi.drm against the numbers that a C compile of Linux 7.2's header printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fauxdna.abi import drm
from fauxdna.abi._declare import Struct
from fauxdna.abi.drm import Capability, CoreIoctl, SyncobjCreate, SyncobjFd, SyncobjQuery, SyncobjWait

ROWS = [
    line.split() for line in (Path(__file__).parent / "data/drm_7.2.txt").read_text().splitlines() if not line.startswith("#")
]
STRUCTS = {value.name: value for value in vars(drm).values() if isinstance(value, Struct)}
MACROS = {
    "DRM_IOCTL_BASE": drm.IOCTL_TYPE,
    "DRM_COMMAND_BASE": drm.COMMAND_BASE,
    "DRM_COMMAND_END": drm.COMMAND_END,
    "DRM_CLIENT_NAME_MAX_LEN": drm.CLIENT_NAME_MAX,
    "DRM_CAP_PRIME": Capability.PRIME,
    "DRM_CAP_TIMESTAMP_MONOTONIC": Capability.TIMESTAMP_MONOTONIC,
    "DRM_CAP_SYNCOBJ": Capability.SYNCOBJ,
    "DRM_CAP_SYNCOBJ_TIMELINE": Capability.SYNCOBJ_TIMELINE,
    "DRM_SYNCOBJ_CREATE_SIGNALED": SyncobjCreate.SIGNALED,
    "DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE": SyncobjFd.SYNC_FILE,
    "DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE": SyncobjFd.TIMELINE,
    "DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE": SyncobjFd.SYNC_FILE,
    "DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE": SyncobjFd.TIMELINE,
    "DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL": SyncobjWait.ALL,
    "DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT": SyncobjWait.FOR_SUBMIT,
    "DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE": SyncobjWait.AVAILABLE,
    "DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE": SyncobjWait.DEADLINE,
    "DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED": SyncobjQuery.LAST_SUBMITTED,
}


@pytest.mark.parametrize(("name", "size"), [(row[1], int(row[2])) for row in ROWS if row[0] == "S"])
def test_structure_sizes(name: str, size: int) -> None:
    assert STRUCTS[name].size == size


@pytest.mark.parametrize(("name", "field", "offset"), [(row[1], row[2], int(row[3])) for row in ROWS if row[0] == "F"])
def test_field_offsets(name: str, field: str, offset: int) -> None:
    assert STRUCTS[name].offsets[field] == offset


@pytest.mark.parametrize(("name", "number"), [(row[1], int(row[2], 16)) for row in ROWS if row[0] == "I"])
def test_ioctl_numbers(name: str, number: int) -> None:
    assert CoreIoctl[name] == number
    if CoreIoctl[name] in drm.ARGUMENTS:
        assert drm.ARGUMENTS[CoreIoctl[name]].size == number >> 16 & 0x3FFF


def test_everything_declared_was_compared() -> None:
    assert {row[1] for row in ROWS if row[0] == "S"} == set(STRUCTS)
    assert {row[1] for row in ROWS if row[0] == "I"} == set(CoreIoctl.__members__)


@pytest.mark.parametrize("name", MACROS)
def test_macros(name: str) -> None:
    assert {row[1]: int(row[2], 16) for row in ROWS if row[0] == "D"}[name] == MACROS[name]


def test_import_and_export() -> None:
    values = {row[1]: int(row[2], 16) for row in ROWS if row[0] == "D"}
    assert values["DRM_PRIME_CAP_IMPORT"] | values["DRM_PRIME_CAP_EXPORT"] == drm.PRIME_IMPORT_EXPORT
