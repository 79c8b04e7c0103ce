"""Writes to the guest's physical addresses through QEMU's qtest socket.

Protocol: QEMU 11.1 ``system/qtest.c``: a line for each command, answered with ``OK`` and its result.
"""

from __future__ import annotations

import socket
import threading
from typing import Final

from .errors import GuestError

_SECONDS: Final = 10.0


class Qtest:
    """A qtest client. Thread-safe."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(_SECONDS)
        self._lock = threading.Lock()

    def write16(self, address: int, value: int) -> None:
        """Stores 16 bits."""
        self._command(f"writew {address:#x} {value:#x}")

    def write32(self, address: int, value: int) -> None:
        """Stores 32 bits."""
        self._command(f"writel {address:#x} {value:#x}")

    def read32(self, address: int) -> int:
        """Loads 32 bits."""
        return int(self._command(f"readl {address:#x}"), 16)

    def _command(self, line: str) -> str:
        with self._lock:
            try:
                self._connection.sendall(line.encode() + b"\n")
                answer = b""
                while not answer.endswith(b"\n"):
                    data = self._connection.recv(4096)
                    if not data:
                        raise ConnectionResetError
                    answer += data
            except OSError as error:
                raise GuestError(f"QEMU's qtest socket does not answer '{line}': {error}", "boot the guest again") from error
        status, _, result = answer.decode(errors="replace").strip().partition(" ")
        if status != "OK":
            raise GuestError(f"QEMU's qtest socket refused '{line}': {answer.decode(errors='replace').strip()}", "report this")
        return result
