"""A die: one PF, its VFs, one engine, power, and the firmware that runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fauxdna import _core
from fauxdna.abi import array, pci
from fauxdna.firmware import Image, development_public_key
from fauxdna.log import Log

from .faults import Fault, Faults
from .firmware import ManagementFirmware
from .function import Function
from .pf import PfBlocks, PhysicalFunction
from .power import Power
from .psp import Psp, PspServices
from .smu import Smu
from .vf import VirtualFunction


class Die:
    """One NPU. Close it: it owns threads, memory and file descriptors.

    Args:
        bdf: Name of the PF; VFs follow it by routing id.
        columns: Columns of the array.
        total_vfs: VFs that can be enabled (0: no SR-IOV capability).
        root_key: Whose firmware the PSP accepts; the development key by default.
        log: Where device and firmware write; a new one by default.
        engine: What runs contexts; a new one by default.
        faults: What goes wrong, in tests of drivers.
    """

    def __init__(
        self,
        bdf: str = "0000:05:00.0",
        *,
        columns: int = array.COLUMNS,
        total_vfs: int = pci.TOTAL_VFS,
        root_key: Ed25519PublicKey | None = None,
        log: Log | None = None,
        engine: _core.Engine | None = None,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.columns = columns
        self.log = Log() if log is None else log
        self.engine = _core.Engine(columns) if engine is None else engine
        self.power = Power(self.engine)
        self.firmware: ManagementFirmware | None = None
        self.lock = RLock()
        """Held by every verb of every function."""
        self.on_vf: Callable[[VirtualFunction], None] = _ignore
        """Called with each VF that appears, before firmware sees it."""
        self.on_vfs: Callable[[int], None] = _ignore
        """Called when VFs have appeared, with their number, or have vanished, with 0."""
        self._routing_id = pci.routing_id(bdf)
        self._domain = int(bdf.split(":")[0], 16)
        self.vfs: list[VirtualFunction] = []
        self.pf = PhysicalFunction(bdf, total_vfs, self, self.log, self.lock)
        self._faults = Faults((), self.lock)
        services = PspServices(
            self.pf.read_physical,
            self._start_firmware,
            self._stop_firmware,
            lambda: self.power.on,
            lambda kind, image: self._faults.tamper(kind, image),
        )
        self.psp = Psp(services, root_key or development_public_key(), self.log.logger(bdf, "psp"))
        smu = Smu(self.power, self._power_off, self.log.logger(bdf, "smu"))
        self.pf.attach(PfBlocks(self.psp, smu))
        self.inject(faults)

    def functions(self) -> dict[str, Function]:
        """The functions that are on the bus now, by BDF, the PF first."""
        with self.lock:
            return {function.bdf: function for function in (self.pf, *self.vfs)}

    def inject(self, faults: Iterable[Fault]) -> None:
        """These faults, in place of earlier ones, happen from now on."""
        with self.lock:
            self._faults = Faults(faults, self.lock)
            for function in self.functions().values():
                self._spoil(function)
            if self.firmware is not None:
                self._spoil_firmware(self.firmware)
            for fault in self._faults.faults:
                self.pf.log.warning(f"fault {fault} is injected")

    def vf_bdf(self, index: int) -> str:
        """Name of VF ``index`` (from 0), whether it is enabled or not."""
        return pci.bdf(self._domain, pci.vf_routing_id(self._routing_id, index))

    def enable_vfs(self, count: int) -> None:
        """VFs 0 to ``count`` - 1 appear on the bus; firmware serves those that it has been told to create."""
        for index in range(count):
            vf = VirtualFunction(
                self.vf_bdf(index),
                index,
                self.log,
                self.lock,
                vanish=self._vf_vanishes,
                appear=self._vf_appears,
                quiesce=self._vf_quiesces,
                memory_space=self.pf.vf_memory_enabled,
                kick=self.engine.kick,
            )
            self._spoil(vf)
            self.on_vf(vf)
            self.vfs.append(vf)
            self._vf_appears(vf)
        self.pf.log.info(f"{count} VFs enabled")
        self.on_vfs(count)

    def disable_vfs(self) -> None:
        """All VFs vanish: their contexts end, and whoever holds one reads all ones."""
        for vf in self.vfs:
            self._vf_vanishes(vf)
            vf.remove()
        self.pf.log.info(f"{len(self.vfs)} VFs disabled")
        self.vfs.clear()
        self.on_vfs(0)

    def engine_context(self, bdf: str, context: int) -> int:
        """The engine's handle of the hardware context that firmware calls ``context`` on a VF; ``KeyError`` if there is none."""
        with self.lock:
            vfs = self.firmware.state.vfs.values() if self.firmware is not None else ()
            for vf in vfs:
                if vf.function.bdf == bdf:
                    return vf.contexts[context].handle
        raise KeyError(bdf)

    def close(self) -> None:
        """Ends everything; may be called twice."""
        with self.lock:
            if self.pf.removed:
                return
            self.pf.release()
            self.pf.remove()
            self.engine.close()

    def _start_firmware(self, npu: Image, cert: Image) -> None:
        self.firmware = ManagementFirmware(npu, cert, self.pf, self.engine, self.power, self.columns, self.log)
        self._spoil_firmware(self.firmware)
        for vf in self.vfs:
            self.firmware.vf_appeared(vf)

    def _stop_firmware(self) -> None:
        if self.firmware is not None:
            self.firmware.stop()
            self.firmware = None

    def _spoil(self, function: Function) -> None:
        """Gives a function the faults that are for it."""
        is_pf = function is self.pf
        function.mailbox.faults = self._faults.mailbox(is_pf=is_pf)
        for vector, every in self._faults.lost_interrupts(is_pf=is_pf).items():
            function.interrupts.lose(vector, every)

    def _spoil_firmware(self, firmware: ManagementFirmware) -> None:
        """Gives firmware the faults of contexts."""
        firmware.state.fail_packets(*self._faults.failing_packets())
        firmware.state.stale_queue = self._faults.stale_queue()

    def _power_off(self) -> None:
        """Without power, firmware and its images are gone."""
        self.psp.reset()

    def _vf_appears(self, vf: VirtualFunction) -> None:
        if self.firmware is not None:
            self.firmware.vf_appeared(vf)

    def _vf_quiesces(self, vf: VirtualFunction) -> None:
        if self.firmware is not None:
            self.firmware.vf_quiesced(vf)

    def _vf_vanishes(self, vf: VirtualFunction) -> None:
        if self.firmware is not None:
            self.firmware.vf_vanished(vf)


def _ignore(_: object) -> None:
    """Nobody wants to know."""
