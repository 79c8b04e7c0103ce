"""PCI identity and configuration space of an AIE4 function: header, PCI Express, MSI-X, ARI and SR-IOV capabilities.

Register layouts are the PCI Express Base Specification's, by the names of Linux 7.2 ``include/uapi/linux/pci_regs.h``.
"""

from __future__ import annotations

from typing import Final

from ._declare import Field, Struct
from .identity import CLASS_SIGNAL_PROCESSING as CLASS_SIGNAL_PROCESSING
from .identity import DEVICE_PF as DEVICE_PF
from .identity import DEVICE_VF as DEVICE_VF
from .identity import FIRST_VF_OFFSET as FIRST_VF_OFFSET
from .identity import REVISION as REVISION
from .identity import TOTAL_VFS as TOTAL_VFS
from .identity import VENDOR_AMD as VENDOR_AMD
from .identity import VF_STRIDE as VF_STRIDE
from .identity import bdf as bdf
from .identity import routing_id as routing_id
from .identity import vf_routing_id as vf_routing_id

_SOURCE = "Linux 7.2 include/uapi/linux/pci_regs.h"

DEVICE_ABSENT: Final = 0xFF
"""What each byte of an absent function reads."""

CONFIG_SIZE: Final = 4096
"""Bytes of extended configuration space."""
CAPABILITIES_OFFSET: Final = 0x40
EXTENDED_CAPABILITIES_OFFSET: Final = 0x100
BARS: Final = 6

HEADER = Struct(
    "config_header",
    64,
    [
        Field("vendor_id", "u16"),
        Field("device_id", "u16"),
        Field("command", "u16"),
        Field("status", "u16"),
        Field("revision_id", "u8"),
        Field("interface", "u8"),
        Field("subclass", "u8"),
        Field("base_class", "u8"),
        Field("cache_line_size", "u8"),
        Field("latency_timer", "u8"),
        Field("header_type", "u8"),
        Field("self_test", "u8"),
        Field("bar", "u32", count=BARS),
        Field("cardbus_cis", "u32"),
        Field("subsystem_vendor_id", "u16"),
        Field("subsystem_id", "u16"),
        Field("rom_address", "u32"),
        Field("capability_pointer", "u8"),
        Field("reserved", "u8", count=7),
        Field("interrupt_line", "u8"),
        Field("interrupt_pin", "u8"),
        Field("minimum_grant", "u8"),
        Field("maximum_latency", "u8"),
    ],
    source=_SOURCE + " PCI_VENDOR_ID to PCI_MAX_LAT",
)
COMMAND_MEMORY: Final = 0x2
COMMAND_MASTER: Final = 0x4
COMMAND_INTX_DISABLE: Final = 0x400
STATUS_CAPABILITY_LIST: Final = 0x10
BAR_64BIT: Final = 0x4
BAR_FLAGS: Final = 0xF

CAPABILITY_ID_MSIX: Final = 0x11
CAPABILITY_ID_PCIE: Final = 0x10

PCIE_CAPABILITY = Struct(
    "pcie_capability",
    60,
    [
        Field("id", "u8"),
        Field("next", "u8"),
        Field("flags", "u16", doc="version in bits 3:0, port type in bits 7:4 (0: endpoint)"),
        Field("device_capabilities", "u32"),
        Field("device_control", "u16"),
        Field("device_status", "u16"),
        Field("link_capabilities", "u32"),
        Field("link_control", "u16"),
        Field("link_status", "u16"),
        Field("slot_capabilities", "u32"),
        Field("slot_control", "u16"),
        Field("slot_status", "u16"),
        Field("root_control", "u16"),
        Field("root_capabilities", "u16"),
        Field("root_status", "u32"),
        Field("device_capabilities_2", "u32"),
        Field("device_control_2", "u16"),
        Field("device_status_2", "u16"),
        Field("link_capabilities_2", "u32"),
        Field("link_control_2", "u16"),
        Field("link_status_2", "u16"),
        Field("slot_capabilities_2", "u32"),
        Field("slot_control_2", "u16"),
        Field("slot_status_2", "u16"),
    ],
    source=_SOURCE + " PCI_EXP_*",
)
PCIE_VERSION: Final = 2
DEVICE_CAPABILITIES_ROLE_BASED_ERRORS: Final = 0x8000
DEVICE_CAPABILITIES_FLR: Final = 0x1000_0000
DEVICE_CONTROL_FLR: Final = 0x8000
DEVICE_CONTROL_WRITABLE: Final = 0x78FF
"""Error reporting, ordering, payload, snoop and read-request size; extended tags and phantom functions are not offered."""
LINK_GEN4_X8: Final = 0x84
"""Speed 4 (16 GT/s) in bits 3:0, width 8 in bits 9:4; what the link registers report (chosen)."""

MSIX_CAPABILITY = Struct(
    "msix_capability",
    12,
    [
        Field("id", "u8"),
        Field("next", "u8"),
        Field("control", "u16", doc="table size - 1 in bits 10:0"),
        Field("table", "u32", doc="BAR in bits 2:0, offset in the others"),
        Field("pending", "u32", doc="BAR in bits 2:0, offset in the others"),
    ],
    source=_SOURCE + " PCI_MSIX_*",
)
MSIX_ENABLE: Final = 0x8000
MSIX_MASK_ALL: Final = 0x4000
MSIX_SIZE_MASK: Final = 0x7FF
MSIX_ENTRY = Struct(
    "msix_entry",
    16,
    [
        Field("address_low", "u32"),
        Field("address_high", "u32"),
        Field("data", "u32"),
        Field("control", "u32"),
    ],
    source=_SOURCE + " PCI_MSIX_ENTRY_*",
)
MSIX_ENTRY_MASKED: Final = 1

EXTENDED_CAPABILITY_ID_VENDOR: Final = 0x0B
EXTENDED_CAPABILITY_ID_ARI: Final = 0x0E
EXTENDED_CAPABILITY_ID_SRIOV: Final = 0x10


def extended_header(identifier: int, following: int, version: int = 1) -> int:
    """First word of an extended capability: its id, its version, and the offset of the one that follows (0: none)."""
    return identifier | version << 16 | following << 20


VENDOR_CAPABILITY = Struct(
    "vendor_capability",
    8,
    [Field("header", "u32"), Field("vendor_header", "u32", doc="id in bits 15:0, revision 19:16, length 31:20")],
    source=_SOURCE + " PCI_VNDR_HEADER",
)
ARI_CAPABILITY = Struct(
    "ari_capability",
    8,
    [Field("header", "u32"), Field("capabilities", "u16", doc="next function in bits 15:8"), Field("control", "u16")],
    source=_SOURCE + " PCI_ARI_*",
)
SRIOV_CAPABILITY = Struct(
    "sriov_capability",
    64,
    [
        Field("header", "u32"),
        Field("capabilities", "u32"),
        Field("control", "u16"),
        Field("status", "u16"),
        Field("initial_vfs", "u16"),
        Field("total_vfs", "u16"),
        Field("num_vfs", "u16"),
        Field("function_dependency_link", "u8"),
        Field("reserved0", "u8"),
        Field("first_vf_offset", "u16"),
        Field("vf_stride", "u16"),
        Field("reserved1", "u16"),
        Field("vf_device_id", "u16"),
        Field("supported_page_sizes", "u32"),
        Field("system_page_size", "u32"),
        Field("vf_bar", "u32", count=BARS),
        Field("migration_state", "u32"),
    ],
    source=_SOURCE + " PCI_SRIOV_*",
)
SRIOV_VF_ENABLE: Final = 0x1
SRIOV_VF_MEMORY_ENABLE: Final = 0x8
SRIOV_ARI_HIERARCHY: Final = 0x10
SRIOV_PAGE_SIZES: Final = 0x553
"""4 KiB, 8 KiB, 64 KiB, 256 KiB, 1 MiB and 4 MiB: the sizes every SR-IOV device has to support."""
SRIOV_PAGE_SIZE_4K: Final = 0x1
