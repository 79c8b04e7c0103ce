"""The guest's die: its functions behind vfio-user sockets, and the VFs' BARs."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Final, Self

from fauxdna.abi import pci
from fauxdna.bus.sriov import SriovCapability, ecam_address
from fauxdna.driver import Pf, probe
from fauxdna.firmware import build_images
from fauxdna.serve import Fault, LocalDie
from fauxdna.serve.vfio_user import VfioUserServer

from .command import ECAM, PF_ROUTING_ID, SLOT
from .errors import GuestError
from .qtest import Qtest

_COMMAND: Final = pci.HEADER.offsets["command"]
_BAR: Final = pci.HEADER.offsets["bar"]


class Devices:
    """Functions of a die, each on its socket in ``folder``, as a guest's QEMU attaches them."""

    def __init__(
        self, folder: Path, vfs: int, pf: bool, die: LocalDie | None, mirror: bool, faults: Iterable[Fault] = ()
    ) -> None:
        self.sockets: dict[tuple[int, int], Path] = {}
        """By slot and function number."""
        self.problems: list[str] = []
        """What went wrong beside the guest; the die's log has it too."""
        self._vfs = vfs
        with ExitStack() as undo:
            self.die = die or undo.enter_context(LocalDie(pci.bdf(0, PF_ROUTING_ID), mirror_write_index=mirror))
            if faults:
                self.die.inject(*faults)
            self.server = undo.enter_context(VfioUserServer(self.die, on_vf_enable=self._vfs_enabled if pf else None))
            self._own_end, self._guest_end = socket.socketpair()
            self._qtest = Qtest(self._own_end)
            undo.callback(self._close_qtest)
            if not pf:
                self._start_pf(vfs, undo)
            places = {"pf": (SLOT, 0)} if pf else {}
            for index in range(vfs):
                routing = pci.vf_routing_id(PF_ROUTING_ID, index)
                places[f"vf{index}"] = (routing >> 3, routing & 7) if pf else (SLOT + index, 0)
            for name, place in places.items():
                self.sockets[place] = folder / f"{name}.sock"
                self.server.listen(self.sockets[place], name)
            self._undo = undo.pop_all()

    @property
    def qtest_end(self) -> int:
        """What QEMU inherits; closed by :meth:`started`."""
        return self._guest_end.fileno()

    def renew(self) -> None:
        """Another QEMU is to come, on the same sockets."""
        self._close_qtest()
        self.problems = []
        self._own_end, self._guest_end = socket.socketpair()
        self._qtest = Qtest(self._own_end)

    def started(self) -> None:
        """QEMU runs and holds its end of the qtest socket."""
        self._guest_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _close_qtest(self) -> None:
        self._own_end.close()
        self._guest_end.close()

    def _vfs_enabled(self, count: int) -> None:
        """Programs the BARs of VFs, as hardware does: QEMU does not forward the guest's writes to the SR-IOV capability."""
        if not count:
            return
        try:
            capability = self._capability()
            for index in range(min(count, self._vfs)):
                routing = capability.routing_id(PF_ROUTING_ID, index)
                for number, address in enumerate(capability.vf_bar_addresses(index)):
                    if address:
                        self._qtest.write32(ecam_address(ECAM, routing, _BAR + 4 * number), address)
                self._qtest.write16(ecam_address(ECAM, routing, _COMMAND), pci.COMMAND_MEMORY | pci.COMMAND_MASTER)
        except GuestError as error:
            self.problems.append(str(error))
            self.die.log.logger(self.die.functions()[0], "vm").error(f"BARs of {count} VFs are not programmed: {error}")

    def _capability(self) -> SriovCapability:
        """The PF's SR-IOV capability, as the guest wrote it."""
        at = pci.EXTENDED_CAPABILITIES_OFFSET
        while at:
            header = self._qtest.read32(ecam_address(ECAM, PF_ROUTING_ID, at))
            if header & 0xFFFF == pci.EXTENDED_CAPABILITY_ID_SRIOV:
                words = range(at, at + pci.SRIOV_CAPABILITY.size, 4)
                values = [self._qtest.read32(ecam_address(ECAM, PF_ROUTING_ID, word)) for word in words]
                return SriovCapability.decode(b"".join(value.to_bytes(4, "little") for value in values))
            at = header >> 20
        raise GuestError("the PF shows the guest no SR-IOV capability", "reset the PF")

    def _start_pf(self, vfs: int, undo: ExitStack) -> None:
        """Brings the PF up outside the guest and creates VFs, as a hypervisor's host does."""
        bdf = self.die.functions()[0]
        images = build_images()
        pf = probe(self.die.open(bdf), bdf, lambda path: images[PurePosixPath(path).name], self.die.log)
        undo.callback(pf.close)
        assert isinstance(pf, Pf)
        pf.sriov_configure(vfs)
