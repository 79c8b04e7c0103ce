"""vfio-user structures: sizes and offsets as QEMU's docs/interop/vfio-user.rst and Linux 7.2's linux/vfio.h give them."""

from __future__ import annotations

import pytest

from fauxdna.abi import vfio_user as abi
from fauxdna.abi._declare import Struct


@pytest.mark.parametrize(
    ("layout", "size", "offsets"),
    [
        (abi.HEADER, 16, {"message_id": 0, "command": 2, "message_size": 4, "flags": 8, "error": 12}),
        (abi.VERSION, 4, {"major": 0, "minor": 2}),
        (abi.DEVICE_INFO, 16, {"argsz": 0, "flags": 4, "num_regions": 8, "num_irqs": 12}),
        (abi.REGION_INFO, 32, {"argsz": 0, "flags": 4, "index": 8, "cap_offset": 12, "size": 16, "offset": 24}),
        (abi.CAP_HEADER, 8, {"id": 0, "version": 2, "next": 4}),
        (abi.SPARSE_MMAP, 16, {"id": 0, "version": 2, "next": 4, "nr_areas": 8}),
        (abi.SPARSE_MMAP_AREA, 16, {"offset": 0, "size": 8}),
        (abi.REGION_IO_FDS, 16, {"argsz": 0, "flags": 4, "index": 8, "count": 12}),
        (abi.IRQ_INFO, 16, {"argsz": 0, "flags": 4, "index": 8, "count": 12}),
        (abi.IRQ_SET, 20, {"argsz": 0, "flags": 4, "index": 8, "start": 12, "count": 16}),
        (abi.DMA_MAP, 32, {"argsz": 0, "flags": 4, "offset": 8, "address": 16, "size": 24}),
        (abi.DMA_UNMAP, 24, {"argsz": 0, "flags": 4, "address": 8, "size": 16}),
        (abi.REGION_ACCESS, 16, {"offset": 0, "region": 8, "count": 12}),
        (abi.WRITE_MULTI, 8, {"count": 0}),
        (abi.WRITE_MULTI_ENTRY, 24, {"offset": 0, "region": 8, "count": 12, "data": 16}),
        (abi.DEVICE_FEATURE, 8, {"argsz": 0, "flags": 4}),
    ],
    ids=lambda value: value.name if isinstance(value, Struct) else "",
)
def test_layouts(layout: Struct, size: int, offsets: dict[str, int]) -> None:
    assert layout.size == size
    for name, offset in offsets.items():
        assert layout.offsets[name] == offset, name


def test_command_numbers() -> None:
    """The table of commands; 14 was DIRTY_PAGES and is no more."""
    assert [command.value for command in abi.Command] == [*range(1, 14), 15, 16, 17, 18]
    assert abi.Command.DEVICE_RESET == 13
    assert abi.Command.REGION_WRITE_MULTI == 15


def test_flags() -> None:
    """linux/vfio.h: VFIO_IRQ_SET_*, VFIO_REGION_INFO_FLAG_*, VFIO_DEVICE_FEATURE_*."""
    assert abi.IrqSet.DATA_EVENTFD | abi.IrqSet.ACTION_TRIGGER == 0x24
    assert abi.IRQ_SET_DATA_MASK | abi.IRQ_SET_ACTION_MASK == 0x3F
    assert abi.RegionFlag.MMAP | abi.RegionFlag.CAPS == 0xC
    assert (abi.FEATURE_GET, abi.FEATURE_SET, abi.FEATURE_PROBE) == (1 << 16, 1 << 17, 1 << 18)
    assert abi.MESSAGE_MAX == 16 + 16 + (1 << 20)
