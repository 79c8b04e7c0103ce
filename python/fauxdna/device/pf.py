"""The physical function: it manages and cannot compute. PSP, SMU and SR-IOV are here."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from typing import Protocol

from fauxdna.abi import bars, pci
from fauxdna.log import Log

from .config import NUM_VFS, SRIOV_CONTROL, ConfigSpace
from .function import Function
from .psp import Psp
from .smu import Smu


class SriovOwner(Protocol):
    """Who makes VFs: the die."""

    def enable_vfs(self, count: int) -> None:
        """VFs 0 to ``count`` - 1 appear on the bus."""
        ...

    def disable_vfs(self) -> None:
        """All VFs vanish from it."""
        ...


@dataclass(frozen=True)
class PfBlocks:
    """The register blocks that only a PF has."""

    psp: Psp
    smu: Smu


class PhysicalFunction(Function):
    """The PF of a die."""

    def __init__(self, bdf: str, total_vfs: int, owner: SriovOwner, log: Log, lock: RLock) -> None:
        config = ConfigSpace(pci.DEVICE_PF, bars.PF_BAR_SIZES, total_vfs)
        super().__init__(bdf, 0, config, bars.PF_BAR_SIZES, log, lock)
        self._owner = owner
        self._total_vfs = total_vfs
        self._vfs_enabled = False
        self._own: PfBlocks | None = None
        self.physical: Callable[[int, int], bytes] | None = None
        """Reads memory by the host's physical addresses where those are not device addresses: no IOMMU translates for PSP."""

    def attach(self, blocks: PfBlocks) -> None:
        """Puts PSP and SMU behind BAR4 and BAR5; they need the PF's DMA, so they come after it."""
        self._own = blocks
        self._blocks[bars.PSP_BAR] = blocks.psp
        self._blocks[bars.SMU_BAR] = blocks.smu

    def vf_memory_enabled(self) -> bool:
        """Whether the BARs of VFs answer."""
        return bool(self.config.get(SRIOV_CONTROL, 2) & pci.SRIOV_VF_MEMORY_ENABLE)

    def read_physical(self, address: int, length: int) -> bytes:
        """:meth:`read_memory` for PSP, whose addresses are physical."""
        try:
            return self.read_memory(address, length)
        except OSError as error:
            if self.physical is None or error.errno != errno.EFAULT:
                raise
            return self.physical(address, length)

    def before_reset(self) -> None:
        """Firmware stops, and PSP and SMU forget. The VFs go when VF Enable is cleared."""
        if self._own is not None:
            self._own.psp.reset()
            self._own.smu.reset()

    def after_reset(self) -> None:
        """Nothing runs until a driver has loaded firmware."""

    def on_config(self) -> None:
        """VF Enable may have changed."""
        wanted = bool(self._total_vfs and self.config.get(SRIOV_CONTROL, 2) & pci.SRIOV_VF_ENABLE)
        if wanted == self._vfs_enabled:
            return
        if not wanted:
            self._vfs_enabled = False
            self._owner.disable_vfs()
            return
        count = self.config.get(NUM_VFS, 2)
        if not 1 <= count <= self._total_vfs:
            self.log.error(f"VF Enable with NumVFs {count} ignored: the function has 1 to {self._total_vfs} VFs")
            self.config.clear_bits(SRIOV_CONTROL, 2, pci.SRIOV_VF_ENABLE)
            return
        self._vfs_enabled = True
        self._owner.enable_vfs(count)

    def on_doorbell(self) -> None:
        """A PF has no doorbells."""
