"""Configuration space of a function: what it says, and which bits can be written."""

from __future__ import annotations

from typing import Final

from fauxdna.abi import bars, pci

PCIE: Final = pci.CAPABILITIES_OFFSET
MSIX: Final = PCIE + 0x40
ARI: Final = pci.EXTENDED_CAPABILITIES_OFFSET
SRIOV: Final = ARI + 0x40

COMMAND: Final = pci.HEADER.offsets["command"]
DEVICE_CONTROL: Final = PCIE + pci.PCIE_CAPABILITY.offsets["device_control"]
MSIX_CONTROL: Final = MSIX + pci.MSIX_CAPABILITY.offsets["control"]
SRIOV_CONTROL: Final = SRIOV + pci.SRIOV_CAPABILITY.offsets["control"]
NUM_VFS: Final = SRIOV + pci.SRIOV_CAPABILITY.offsets["num_vfs"]
SYSTEM_PAGE_SIZE: Final = SRIOV + pci.SRIOV_CAPABILITY.offsets["system_page_size"]
VF_BAR: Final = SRIOV + pci.SRIOV_CAPABILITY.offsets["vf_bar"]


class ConfigSpace:
    """4096 bytes with a write mask for each; ``total_vfs`` 0 leaves the SR-IOV capability out."""

    def __init__(self, device_id: int, bar_sizes: tuple[int, ...], total_vfs: int = 0) -> None:
        self._device_id = device_id
        self._bar_sizes = bar_sizes
        self._total_vfs = total_vfs
        self._bytes = bytearray()
        self._mask = bytearray()
        self.reset()

    def reset(self) -> None:
        """Everything as after power-up."""
        self._bytes = bytearray(pci.CONFIG_SIZE)
        self._mask = bytearray(pci.CONFIG_SIZE)
        self._put(0, self._header())
        self._allow(COMMAND, 2, pci.COMMAND_MEMORY | pci.COMMAND_MASTER | pci.COMMAND_INTX_DISABLE)
        self._allow(pci.HEADER.offsets["cache_line_size"], 1, 0xFF)
        self._allow(pci.HEADER.offsets["interrupt_line"], 1, 0xFF)
        for index, size in enumerate(self._bar_sizes):
            self._allow(pci.HEADER.offsets["bar"] + 4 * index, 4, -size & 0xFFFFFFF0)
        self._put(PCIE, self._pcie())
        self._allow(DEVICE_CONTROL, 2, pci.DEVICE_CONTROL_WRITABLE)
        self._put(MSIX, self._msix())
        self._allow(MSIX_CONTROL, 2, pci.MSIX_ENABLE | pci.MSIX_MASK_ALL)
        following = SRIOV if self._total_vfs else 0
        self._put(ARI, pci.ARI_CAPABILITY.pack(header=pci.extended_header(pci.EXTENDED_CAPABILITY_ID_ARI, following)))
        if self._total_vfs:
            self._put(SRIOV, self._sriov())
            self._allow_sriov()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as the host reads them."""
        return bytes(self._bytes[offset : offset + length])

    def write(self, offset: int, data: bytes) -> bool:
        """Changes the writable bits under ``data``; true if the write asks for a function-level reset."""
        for at, value in enumerate(data, offset):
            mask = self._mask[at]
            self._bytes[at] = self._bytes[at] & ~mask | value & mask
        if self._total_vfs:
            self._allow_sriov()
        reset_byte = DEVICE_CONTROL + 1 - offset
        return 0 <= reset_byte < len(data) and bool(data[reset_byte] & pci.DEVICE_CONTROL_FLR >> 8)

    def get(self, offset: int, size: int) -> int:
        """A little-endian value."""
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def clear_bits(self, offset: int, size: int, bits: int) -> None:
        """Clears bits from the device's side."""
        self._put(offset, (self.get(offset, size) & ~bits).to_bytes(size, "little"))

    def set_bits(self, offset: int, size: int, bits: int) -> None:
        """Sets bits from the device's side."""
        self._put(offset, (self.get(offset, size) | bits).to_bytes(size, "little"))

    def snapshot(self) -> bytes:
        """What :meth:`restore` takes: a copy of the writable state."""
        return bytes(self._bytes)

    def restore(self, saved: bytes) -> None:
        """Writes the header and the standard capabilities back, as VFIO does after a reset. SR-IOV stays off."""
        self.write(0, saved[: pci.EXTENDED_CAPABILITIES_OFFSET])

    @property
    def memory_enabled(self) -> bool:
        """Whether the BARs answer."""
        return bool(self.get(COMMAND, 2) & pci.COMMAND_MEMORY)

    @property
    def master_enabled(self) -> bool:
        """Whether the function may do DMA."""
        return bool(self.get(COMMAND, 2) & pci.COMMAND_MASTER)

    def _header(self) -> bytes:
        return pci.HEADER.pack(
            vendor_id=pci.VENDOR_AMD,
            device_id=self._device_id,
            status=pci.STATUS_CAPABILITY_LIST,
            revision_id=pci.REVISION,
            interface=pci.CLASS_SIGNAL_PROCESSING & 0xFF,
            subclass=pci.CLASS_SIGNAL_PROCESSING >> 8 & 0xFF,
            base_class=pci.CLASS_SIGNAL_PROCESSING >> 16,
            subsystem_vendor_id=pci.VENDOR_AMD,
            subsystem_id=self._device_id,
            capability_pointer=PCIE,
        )

    def _pcie(self) -> bytes:
        return pci.PCIE_CAPABILITY.pack(
            id=pci.CAPABILITY_ID_PCIE,
            next=MSIX,
            flags=pci.PCIE_VERSION,
            device_capabilities=pci.DEVICE_CAPABILITIES_ROLE_BASED_ERRORS | pci.DEVICE_CAPABILITIES_FLR,
            link_capabilities=pci.LINK_GEN4_X8,
            link_status=pci.LINK_GEN4_X8,
        )

    def _msix(self) -> bytes:
        return pci.MSIX_CAPABILITY.pack(
            id=pci.CAPABILITY_ID_MSIX,
            control=bars.MSIX_VECTORS - 1,
            table=bars.MSIX_TABLE | bars.MSIX_BAR,
            pending=bars.MSIX_PENDING | bars.MSIX_BAR,
        )

    def _sriov(self) -> bytes:
        return pci.SRIOV_CAPABILITY.pack(
            header=pci.extended_header(pci.EXTENDED_CAPABILITY_ID_SRIOV, 0),
            initial_vfs=self._total_vfs,
            total_vfs=self._total_vfs,
            first_vf_offset=pci.FIRST_VF_OFFSET,
            vf_stride=pci.VF_STRIDE,
            vf_device_id=pci.DEVICE_VF,
            supported_page_sizes=pci.SRIOV_PAGE_SIZES,
            system_page_size=pci.SRIOV_PAGE_SIZE_4K,
        )

    def _allow_sriov(self) -> None:
        """SR-IOV's masks depend on its registers: NumVFs, page size and VF BARs stand still while VF Enable is set."""
        enabled = self.get(SRIOV_CONTROL, 2) & pci.SRIOV_VF_ENABLE
        self._allow(SRIOV_CONTROL, 2, pci.SRIOV_VF_ENABLE | pci.SRIOV_VF_MEMORY_ENABLE | pci.SRIOV_ARI_HIERARCHY)
        self._allow(NUM_VFS, 2, 0 if enabled else 0xFFFF)
        self._allow(SYSTEM_PAGE_SIZE, 4, 0 if enabled else pci.SRIOV_PAGE_SIZES)
        page = bars.PAGE_SIZE << max(self.get(SYSTEM_PAGE_SIZE, 4).bit_length() - 1, 0)
        for index, size in enumerate(bars.VF_BAR_SIZES):
            mask = -max(size, page) & 0xFFFFFFF0 if size else 0
            self.clear_bits(VF_BAR + 4 * index, 4, ~mask & 0xFFFFFFFF)
            self._allow(VF_BAR + 4 * index, 4, 0 if enabled else mask)

    def _put(self, offset: int, data: bytes) -> None:
        self._bytes[offset : offset + len(data)] = data

    def _allow(self, offset: int, size: int, mask: int) -> None:
        self._mask[offset : offset + size] = mask.to_bytes(size, "little")
