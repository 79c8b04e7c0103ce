"""Answers VERSION and nothing else, until the door proper is in."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import threading
from collections.abc import Callable

_RECV, _SEND = 0xC0502100, 0xC0182101
_VERSION = 0xC0406400
_NAME = b"amdxdna_accel_driver"


class StubDoor:
    """A thread that answers at a listener."""

    def __init__(self, listener: int, ended: Callable[[], None]) -> None:
        self._listener = listener
        self._ended = ended
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._closing = False

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        self._closing = True

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while not self._closing:
            for _, event in poll.poll(200):
                if event & select.POLLHUP:
                    self._ended()
                    return
                if event & select.POLLIN:
                    self._answer()

    def _answer(self) -> None:
        notification = bytearray(80)
        try:
            fcntl.ioctl(self._listener, _RECV, notification)
        except OSError:
            return
        identity, pid = struct.unpack_from("<QI", notification)
        request, argument = struct.unpack_from("<QQ", notification, 16 + 16 + 8)
        error = -errno.ENOTTY
        if request & 0xFFFFFFFF == _VERSION:
            error = self._version(pid, argument)
        try:
            fcntl.ioctl(self._listener, _SEND, struct.pack("<QqiI", identity, 0, error, 0))
        except OSError:
            return

    @staticmethod
    def _version(pid: int, argument: int) -> int:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            data = bytearray(os.pread(memory, 64, argument))
            struct.pack_into("<iii", data, 0, 0, 10, 0)
            length, address = struct.unpack_from("<QQ", data, 16)
            if address:
                os.pwrite(memory, _NAME[:length], address)
            struct.pack_into("<Q", data, 16, len(_NAME))
            os.pwrite(memory, bytes(data), argument)
        finally:
            os.close(memory)
        return 0
