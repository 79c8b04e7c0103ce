"""The physical function: starts firmware, creates VFs. Mirrors the PF's half of ``aie4_pci.c``, and ``aie4_sriov.c``."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import ClassVar, Final

from fauxdna._core import Completions
from fauxdna.abi import bars, pci
from fauxdna.abi.firmware import CERT_FILE, NPU_FILE
from fauxdna.abi.messages import WORK_BUFFER_MINIMUM
from fauxdna.bus import Bus, Region
from fauxdna.log import Log

from ..errors import Busy, FauxdnaError, InvalidArgument, NotFound
from .function import DeviceInfo, Function
from .psp import Psp
from .registers import Registers
from .smu import Smu

FirmwareLoader = Callable[[str], bytes]
"""Returns the image of a name such as ``amdnpu/17f2_10/npu.dev.sbin``; raises ``FileNotFoundError``."""
_SRIOV: Final = pci.SRIOV_CAPABILITY.offsets


class Pf(Function):
    """A running PF."""

    required_bars: ClassVar[tuple[int, ...]] = (bars.MAILBOX_BAR, bars.SRAM_BAR, bars.PSP_BAR, bars.SMU_BAR)

    def __init__(
        self,
        bus: Bus,
        name: str,
        info: DeviceInfo,
        log: Log,
        firmware: FirmwareLoader,
        completions: Completions | None = None,
    ) -> None:
        super().__init__(bus, name, info, log, completions)
        _vendor, device, revision = self.config.identity()
        directory = f"amdnpu/{device:04x}_{revision:02x}"
        self._images = tuple(_load(firmware, f"{directory}/{file}") for file in (NPU_FILE, CERT_FILE))
        self.smu = Smu(Registers(bus, Region(bars.SMU_BAR)))
        self._psp = Psp(Registers(bus, Region(bars.PSP_BAR)), self.memory)
        self._sriov = self.config.find_extended_capability(pci.EXTENDED_CAPABILITY_ID_SRIOV)
        self._running = ExitStack()

    def start(self) -> None:
        """Power, firmware, mailbox, work buffer (``aie4_pf_hw_start``)."""
        with ExitStack() as undo:
            self.smu.start()
            undo.callback(self._quietly, self.smu.stop)
            self._psp.start(*self._images)
            undo.callback(self._quietly, self._psp.stop)
            self.start_management()
            undo.callback(self.stop_management)
            _, address = undo.enter_context(self.memory.driver_memory(WORK_BUFFER_MINIMUM, WORK_BUFFER_MINIMUM))
            self.management.call("ATTACH_WORK_BUFFER", buffer_address=address, buffer_size=WORK_BUFFER_MINIMUM)
            self._running = undo.pop_all()
        self.log.info(f"{self.info.vbnv}: firmware runs, up to {self.total_vfs} VFs")

    @property
    def total_vfs(self) -> int:
        """``sriov_totalvfs``."""
        return self.config.read(self._sriov + _SRIOV["total_vfs"], 2) if self._sriov else 0

    @property
    def num_vfs(self) -> int:
        """``sriov_numvfs``."""
        if not self._sriov or not self.config.read(self._sriov + _SRIOV["control"], 2) & pci.SRIOV_VF_ENABLE:
            return 0
        return self.config.read(self._sriov + _SRIOV["num_vfs"], 2)

    def sriov_configure(self, count: int, assigned: Callable[[], bool] = lambda: False) -> int:
        """Creates ``count`` VFs, or destroys all with 0 (writing ``sriov_numvfs``). ``assigned`` says if any VF is in use.

        Raises:
            NotFound: ``ENOENT`` for a function without SR-IOV.
            InvalidArgument: ``ERANGE`` for more than :attr:`total_vfs`, ``EINVAL`` for less than 0.
            Busy: ``EBUSY`` when other VFs exist already, ``EPERM`` when one to be destroyed is in use.
            MessageRefused: ``EINVAL`` when firmware refuses.
        """
        if not self._sriov:
            raise NotFound(f"{self.name} has no SR-IOV capability", "give it to a PF")
        if count < 0:
            raise InvalidArgument(f"{count} VFs", "give 0 or more")
        if count > self.total_vfs:
            raise InvalidArgument(f"{count} VFs of {self.name}, which has {self.total_vfs}", "ask for fewer", errno=errno.ERANGE)
        with self.lock:
            present = self.num_vfs
            if count == present:
                return count
            if not count:
                self._destroy_vfs(assigned)
                return 0
            if present:
                raise Busy(f"{self.name} has {present} VFs already", "set 0 first, then the new number")
            self.management.call("CREATE_VFS", vf_count=count)
            self.config.write(self._sriov + _SRIOV["num_vfs"], count, 2)
            control = pci.SRIOV_VF_ENABLE | pci.SRIOV_VF_MEMORY_ENABLE
            self.config.write(self._sriov + _SRIOV["control"], control, 2)
            self.log.info(f"{count} VFs created")
            return count

    def attributes(self) -> dict[str, str]:
        """See :meth:`Function.attributes`."""
        return super().attributes() | {"sriov_totalvfs": str(self.total_vfs), "sriov_numvfs": str(self.num_vfs)}

    def stop(self) -> None:
        """SUSPEND, PSP release, power off (``aie4_pf_fini``). A device that no longer answers is left as it is."""
        if self.started:
            if self.num_vfs:
                self._quietly(self._destroy_vfs)
            self._quietly(lambda: self.management.call("SUSPEND"))
        self._running.close()

    def _destroy_vfs(self, assigned: Callable[[], bool] = lambda: False) -> None:
        if assigned():
            raise Busy(f"VFs of {self.name} are in use", "close what has them open", errno=errno.EPERM)
        self.config.write(self._sriov + _SRIOV["control"], 0, 2)
        self.config.write(self._sriov + _SRIOV["num_vfs"], 0, 2)
        self.management.call("DESTROY_VFS")
        self.log.info("VFs destroyed")

    @staticmethod
    def _quietly(step: Callable[[], object]) -> None:
        with suppress(FauxdnaError):
            step()


def _load(firmware: FirmwareLoader, path: str) -> bytes:
    try:
        return firmware(path)
    except FileNotFoundError as error:
        raise NotFound(f"firmware image {path} was not found", "build it with: fauxdna firmware build") from error
