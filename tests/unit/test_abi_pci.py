"""Configuration space: offsets as Linux 7.2 ``include/uapi/linux/pci_regs.h`` gives them."""

from __future__ import annotations

import pytest

from fauxdna.abi import pci


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("vendor_id", 0x00),
        ("device_id", 0x02),
        ("command", 0x04),
        ("status", 0x06),
        ("revision_id", 0x08),
        ("interface", 0x09),
        ("base_class", 0x0B),
        ("header_type", 0x0E),
        ("bar", 0x10),
        ("subsystem_vendor_id", 0x2C),
        ("rom_address", 0x30),
        ("capability_pointer", 0x34),
        ("interrupt_line", 0x3C),
        ("interrupt_pin", 0x3D),
        ("minimum_grant", 0x3E),
        ("maximum_latency", 0x3F),
    ],
)
def test_header_offsets(name: str, offset: int) -> None:
    """PCI_VENDOR_ID ... PCI_MAX_LAT."""
    assert pci.HEADER.offsets[name] == offset


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("flags", 0x02),
        ("device_capabilities", 0x04),
        ("device_control", 0x08),
        ("device_status", 0x0A),
        ("link_status", 0x12),
        ("root_status", 0x20),
        ("device_capabilities_2", 0x24),
        ("device_control_2", 0x28),
        ("link_control_2", 0x30),
        ("link_status_2", 0x32),
        ("slot_status_2", 0x3A),
    ],
)
def test_pcie_capability_offsets(name: str, offset: int) -> None:
    """PCI_EXP_FLAGS ... PCI_EXP_SLTSTA2."""
    assert pci.PCIE_CAPABILITY.offsets[name] == offset


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("capabilities", 0x04),
        ("control", 0x08),
        ("status", 0x0A),
        ("initial_vfs", 0x0C),
        ("total_vfs", 0x0E),
        ("num_vfs", 0x10),
        ("function_dependency_link", 0x12),
        ("first_vf_offset", 0x14),
        ("vf_stride", 0x16),
        ("vf_device_id", 0x1A),
        ("supported_page_sizes", 0x1C),
        ("system_page_size", 0x20),
        ("vf_bar", 0x24),
        ("migration_state", 0x3C),
    ],
)
def test_sriov_capability_offsets(name: str, offset: int) -> None:
    """PCI_SRIOV_CAP ... PCI_SRIOV_VFM."""
    assert pci.SRIOV_CAPABILITY.offsets[name] == offset


def test_sizes() -> None:
    """PCI_STD_HEADER_SIZEOF 64, PCI_CAP_MSIX_SIZEOF 12, PCI_MSIX_ENTRY_SIZE 16, PCI_EXT_CAP_SRIOV_SIZEOF 0x40, _ARI_ 8."""
    assert pci.HEADER.size == 64
    assert pci.MSIX_CAPABILITY.size == 12
    assert pci.MSIX_ENTRY.size == 16
    assert pci.MSIX_ENTRY.offsets["control"] == 0xC
    assert pci.SRIOV_CAPABILITY.size == 0x40
    assert pci.ARI_CAPABILITY.size == 8


def test_flag_values() -> None:
    """PCI_EXP_DEVCAP_FLR, PCI_EXP_DEVCTL_BCR_FLR, PCI_MSIX_FLAGS_*, PCI_SRIOV_CTRL_*, capability ids."""
    assert pci.DEVICE_CAPABILITIES_FLR == 0x10000000
    assert pci.DEVICE_CONTROL_FLR == 0x8000
    assert (pci.MSIX_ENABLE, pci.MSIX_MASK_ALL) == (0x8000, 0x4000)
    assert (pci.SRIOV_VF_ENABLE, pci.SRIOV_VF_MEMORY_ENABLE, pci.SRIOV_ARI_HIERARCHY) == (1, 8, 0x10)
    assert (pci.CAPABILITY_ID_PCIE, pci.CAPABILITY_ID_MSIX) == (0x10, 0x11)
    assert (pci.EXTENDED_CAPABILITY_ID_VENDOR, pci.EXTENDED_CAPABILITY_ID_ARI, pci.EXTENDED_CAPABILITY_ID_SRIOV) == (
        0x0B,
        0x0E,
        0x10,
    )


def test_identity() -> None:
    """``amdxdna_pci_drv.c``: { 0x17f2, 0x10, &dev_npu3_pf_info }, { 0x17f3, 0x10, &dev_npu3_vf_info }."""
    assert (pci.VENDOR_AMD, pci.DEVICE_PF, pci.DEVICE_VF, pci.REVISION) == (0x1022, 0x17F2, 0x17F3, 0x10)


def test_routing_ids() -> None:
    """Bus in bits 15:8, device in 7:3, function in 2:0."""
    assert pci.routing_id("0000:05:00.0") == 0x500
    assert pci.bdf(0, 0x500 + 64) == "0000:05:08.0"
    assert pci.bdf(1, pci.routing_id("0001:c5:1f.7")) == "0001:c5:1f.7"


@pytest.mark.parametrize("name", ["", "05:00.0", "0000:05:00", "0000:05:20.0", "0000:05:00.8", "0000:100:00.0", "zz:05:00.0"])
def test_bad_names_are_refused(name: str) -> None:
    """A sentence, not a traceback from deeper down."""
    if name == "zz:05:00.0":
        assert pci.routing_id(name) == 0x500  # a domain is a name of its own
    else:
        with pytest.raises(ValueError, match="is not a PCI address"):
            pci.routing_id(name)
