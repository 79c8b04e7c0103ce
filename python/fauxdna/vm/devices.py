"""The guest's die: its functions behind vfio-user sockets, and the VFs' BARs."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from fauxdna.abi import bars, pci
from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer

from .command import ECAM, FUNCTIONS, SLOT
from .errors import GuestError
from .qtest import Qtest

_COMMAND: Final = pci.HEADER.offsets["command"]
_BAR: Final = pci.HEADER.offsets["bar"]
_VF_BAR: Final = pci.SRIOV_CAPABILITY.offsets["vf_bar"]
_FUNCTION_SIZE: Final = 4096
"""Bytes of configuration space that each function has in ECAM."""


class Devices:
    """Functions of a die, each on its socket in ``folder``, as a guest's QEMU attaches them."""

    def __init__(self, folder: Path, vfs: int, pf: bool, die: LocalDie | None) -> None:
        self.sockets: dict[int, Path] = {}
        """By function number."""
        self.problems: list[str] = []
        """What went wrong beside the guest."""
        self._vfs = vfs
        with ExitStack() as undo:
            self.die = die or undo.enter_context(LocalDie(total_vfs=FUNCTIONS - 1))
            self.server = undo.enter_context(VfioUserServer(self.die, on_vf_enable=self._vfs_enabled if pf else None))
            own, self._guest_end = socket.socketpair()
            undo.enter_context(own)
            undo.enter_context(self._guest_end)
            self._qtest = Qtest(own)
            self.qtest_end = self._guest_end.fileno()
            """What QEMU inherits; closed by :meth:`started`."""
            names = [*(["pf"] if pf else []), *(f"vf{index}" for index in range(vfs))]
            for number, name in enumerate(names):
                self.sockets[number] = folder / f"{name}.sock"
                self.server.listen(self.sockets[number], name)
            self._undo = undo.pop_all()

    def started(self) -> None:
        """QEMU runs and holds its end of the qtest socket."""
        self._guest_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _vfs_enabled(self, count: int) -> None:
        """Programs the BARs of VFs, as hardware does: QEMU does not forward the guest's writes to the SR-IOV capability."""
        try:
            base = self._vf_bars() if count else []
            for index in range(min(count, self._vfs)):
                place = _ecam(pci.FIRST_VF_OFFSET + index * pci.VF_STRIDE)
                for number, size in enumerate(bars.VF_BAR_SIZES):
                    if size:
                        self._qtest.write32(place + _BAR + 4 * number, base[number] + index * size)
                self._qtest.write16(place + _COMMAND, pci.COMMAND_MEMORY | pci.COMMAND_MASTER)
        except GuestError as error:
            self.problems.append(str(error))

    def _vf_bars(self) -> list[int]:
        """VF BARs of the PF's SR-IOV capability, as the guest wrote them."""
        at = pci.EXTENDED_CAPABILITIES_OFFSET
        while at:
            header = self._qtest.read32(_ecam(0) + at)
            if header & 0xFFFF == pci.EXTENDED_CAPABILITY_ID_SRIOV:
                return [self._qtest.read32(_ecam(0) + at + _VF_BAR + 4 * bar) & ~pci.BAR_FLAGS for bar in range(pci.BARS)]
            at = header >> 20
        raise GuestError("the PF shows the guest no SR-IOV capability", "reset the PF")


def _ecam(function: int) -> int:
    return ECAM + SLOT * 8 * _FUNCTION_SIZE + function * _FUNCTION_SIZE
