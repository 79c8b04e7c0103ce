"""The vfio-user protocol: messages between a VMM (client) and a device in another process (server), on a Unix socket.

Layouts are QEMU's ``docs/interop/vfio-user.rst`` (version 0.9.2), which takes structures and flags from Linux ``linux/vfio.h``.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from ._declare import Field, Struct

_SOURCE = "QEMU docs/interop/vfio-user.rst"


class Command(IntEnum):
    """What a message asks for."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


HEADER = Struct(
    "vfio_user_header",
    16,
    [
        Field("message_id", "u16", doc="the sender's; echoed in the reply"),
        Field("command", "u16"),
        Field("message_size", "u32", doc="of the whole message, this header included"),
        Field("flags", "u32"),
        Field("error", "u32", doc="errno, in a reply with ERROR"),
    ],
    source=_SOURCE + " Header",
)
TYPE_MASK: Final = 0xF
TYPE_COMMAND: Final = 0
TYPE_REPLY: Final = 1
NO_REPLY: Final = 0x10
ERROR: Final = 0x20

VERSION = Struct("vfio_user_version", 4, [Field("major", "u16"), Field("minor", "u16")], source=_SOURCE + " VFIO_USER_VERSION")
MAJOR: Final = 0
MINOR: Final = 1
"""libvfio-user's LIBVFIO_USER_MINOR; QEMU proposes 0."""
VERSION_DATA_MAX: Final = 4096
"""Bytes of JSON that a peer may send; the capabilities of the protocol take some 200 (chosen)."""

MAX_MSG_FDS: Final = 16
"""Descriptors that one message may carry. QEMU gives up on a server that says more (``VFIO_USER_MAX_MAX_FDS``)."""
MAX_DATA_XFER_SIZE: Final = 1 << 20
"""Bytes that one read or write may carry: the protocol's default, and QEMU's limit (``VFIO_USER_MAX_MAX_XFER``)."""
MAX_DMA_MAPS: Final = 65535
"""DMA maps that may exist at one time: the protocol's default."""
PAGE_SIZES: Final = 4096
"""Page sizes of DMA maps, or'ed together."""

DEVICE_INFO = Struct(
    "vfio_user_device_info",
    16,
    [Field("argsz", "u32"), Field("flags", "u32"), Field("num_regions", "u32"), Field("num_irqs", "u32")],
    source=_SOURCE + " VFIO_USER_DEVICE_GET_INFO; linux/vfio.h struct vfio_device_info",
)
DEVICE_FLAGS_RESET: Final = 0x1
DEVICE_FLAGS_PCI: Final = 0x2
NUM_REGIONS: Final = 9
"""``VFIO_PCI_NUM_REGIONS``: six BARs, ROM, configuration space, VGA."""
NUM_IRQS: Final = 5
"""``VFIO_PCI_NUM_IRQS``: INTx, MSI, MSI-X, error, request."""

REGION_INFO = Struct(
    "vfio_user_region_info",
    32,
    [
        Field("argsz", "u32"),
        Field("flags", "u32"),
        Field("index", "u32"),
        Field("cap_offset", "u32", doc="from the start of this structure"),
        Field("size", "u64"),
        Field("offset", "u64", doc="for mmap, of the region's byte 0"),
    ],
    source=_SOURCE + " VFIO_USER_DEVICE_GET_REGION_INFO; linux/vfio.h struct vfio_region_info",
)


class RegionFlag(IntFlag):
    """``VFIO_REGION_INFO_FLAG_*``."""

    READ = 1
    WRITE = 2
    MMAP = 4
    CAPS = 8


CAP_HEADER = Struct(
    "vfio_info_cap_header",
    8,
    [Field("id", "u16"), Field("version", "u16"), Field("next", "u32", doc="from the start of the region information; 0: last")],
    source="linux/vfio.h struct vfio_info_cap_header",
)
REGION_INFO_CAP_SPARSE_MMAP: Final = 1
SPARSE_MMAP = Struct(
    "vfio_region_info_cap_sparse_mmap",
    16,
    [
        Field("id", "u16"),
        Field("version", "u16"),
        Field("next", "u32"),
        Field("nr_areas", "u32"),
        Field("reserved", "u32"),
    ],
    source="linux/vfio.h struct vfio_region_info_cap_sparse_mmap, followed by its areas",
)
SPARSE_MMAP_VERSION: Final = 1
SPARSE_MMAP_AREA = Struct(
    "vfio_region_sparse_mmap_area",
    16,
    [Field("offset", "u64"), Field("size", "u64")],
    source="linux/vfio.h struct vfio_region_sparse_mmap_area",
)

REGION_IO_FDS = Struct(
    "vfio_user_region_io_fds",
    16,
    [Field("argsz", "u32"), Field("flags", "u32"), Field("index", "u32"), Field("count", "u32")],
    source=_SOURCE + " VFIO_USER_DEVICE_GET_REGION_IO_FDS",
)

IRQ_INFO = Struct(
    "vfio_user_irq_info",
    16,
    [Field("argsz", "u32"), Field("flags", "u32"), Field("index", "u32"), Field("count", "u32")],
    source=_SOURCE + " VFIO_USER_DEVICE_GET_IRQ_INFO; linux/vfio.h struct vfio_irq_info",
)
IRQ_INFO_EVENTFD: Final = 0x1
IRQ_INFO_MASKABLE: Final = 0x2

IRQ_SET = Struct(
    "vfio_user_irq_set",
    20,
    [
        Field("argsz", "u32"),
        Field("flags", "u32"),
        Field("index", "u32"),
        Field("start", "u32"),
        Field("count", "u32"),
    ],
    source=_SOURCE + " VFIO_USER_DEVICE_SET_IRQS; linux/vfio.h struct vfio_irq_set",
)


class IrqSet(IntFlag):
    """``VFIO_IRQ_SET_*``: one kind of data, one action."""

    DATA_NONE = 0x01
    DATA_BOOL = 0x02
    DATA_EVENTFD = 0x04
    ACTION_MASK = 0x08
    ACTION_UNMASK = 0x10
    ACTION_TRIGGER = 0x20


IRQ_SET_DATA_MASK: Final = 0x07
IRQ_SET_ACTION_MASK: Final = 0x38

DMA_MAP = Struct(
    "vfio_user_dma_map",
    32,
    [
        Field("argsz", "u32"),
        Field("flags", "u32"),
        Field("offset", "u64", doc="in the file, if one came along"),
        Field("address", "u64"),
        Field("size", "u64"),
    ],
    source=_SOURCE + " VFIO_USER_DMA_MAP",
)


class DmaFlag(IntFlag):
    """``VFIO_USER_F_DMA_REGION_*`` of libvfio-user's ``vfio-user.h``; the first two are VFIO's."""

    READ = 1
    WRITE = 2
    MMAP = 4
    FILE_IO = 8


DMA_UNMAP = Struct(
    "vfio_user_dma_unmap",
    24,
    [Field("argsz", "u32"), Field("flags", "u32"), Field("address", "u64"), Field("size", "u64")],
    source=_SOURCE + " VFIO_USER_DMA_UNMAP",
)


class UnmapFlag(IntFlag):
    """``VFIO_DMA_UNMAP_FLAG_*``."""

    GET_DIRTY_BITMAP = 1
    ALL = 2


REGION_ACCESS = Struct(
    "vfio_user_region_access",
    16,
    [Field("offset", "u64"), Field("region", "u32"), Field("count", "u32")],
    source=_SOURCE + " VFIO_USER_REGION_READ and _WRITE, followed by data",
)
WRITE_MULTI = Struct("vfio_user_write_multi", 8, [Field("count", "u64")], source=_SOURCE + " VFIO_USER_REGION_WRITE_MULTI")
WRITE_MULTI_DATA: Final = 8
WRITE_MULTI_ENTRY = Struct(
    "vfio_user_write_multi_entry",
    24,
    [Field("offset", "u64"), Field("region", "u32"), Field("count", "u32"), Field("data", "u8", count=WRITE_MULTI_DATA)],
    source=_SOURCE + " Single Device Write Format",
)
WRITE_MULTI_MAX: Final = 200
"""Writes in one message: QEMU's ``VFIO_USER_MULTI_MAX``."""

DEVICE_FEATURE = Struct(
    "vfio_user_device_feature",
    8,
    [Field("argsz", "u32"), Field("flags", "u32", doc="feature in bits 15:0")],
    source=_SOURCE + " VFIO_USER_DEVICE_FEATURE, followed by data",
)
FEATURE_MASK: Final = 0xFFFF
FEATURE_GET: Final = 0x1_0000
FEATURE_SET: Final = 0x2_0000
FEATURE_PROBE: Final = 0x4_0000

MESSAGE_MAX: Final = HEADER.size + REGION_ACCESS.size + MAX_DATA_XFER_SIZE
"""The longest message: a REGION_WRITE of all the bytes that one may carry."""
