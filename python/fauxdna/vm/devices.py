"""The guest's die: its functions behind vfio-user sockets, and the VFs' BARs."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from fauxdna.serve import LocalDie

from .qtest import Qtest


class Devices:
    """Functions of a die, each on its socket in ``folder``."""

    def __init__(self, folder: Path, vfs: int, pf: bool, die: LocalDie | None) -> None:
        self._cleanup = ExitStack()
        self.sockets: dict[int, Path] = {}
        self.qtest_end: int | None = None
        own, other = socket.socketpair()
        self._guest_end = self._cleanup.enter_context(other)
        self.qtest_end = other.fileno()
        self._qtest = Qtest(self._cleanup.enter_context(own))

    def started(self) -> None:
        """QEMU runs and holds its end of the qtest socket."""
        self._guest_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()
