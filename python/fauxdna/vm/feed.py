"""A command's standard input: bytes from a descriptor to the guest, no faster than the guest takes them."""

from __future__ import annotations

import os
import selectors
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 16


class Feed:
    """Passes what is read from ``source`` on to the guest's port behind ``path``, after a line that says whose input it is.

    A connection is one command's input: that it is closed for writing is the end of the input in the guest.

    Args:
        path: The socket of QEMU's character device.
        identifier: The command's; what the port still had of another command ends with it.
        source: A descriptor. It is read only when the guest has taken what came before.
    """

    def __init__(self, path: Path, identifier: str, source: int) -> None:
        self._source: int | None = source
        self._never_waits = False
        # What the port still has of another command may end in half a line.
        self._pending = memoryview(b"\n" + identifier.encode() + b"\n")
        self._port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._port.connect(str(path))
        self._port.setblocking(False)
        self._selector: selectors.BaseSelector | None = None
        self._waits_for: int | socket.socket | None = None

    def attach(self, selector: selectors.BaseSelector) -> None:
        """Takes part in a selector's waiting from now on; its keys have this object as their data."""
        if self._source is not None:
            try:
                selector.register(self._source, selectors.EVENT_READ, self)
                selector.unregister(self._source)
            except PermissionError:  # epoll's word for what never keeps a reader waiting: a file, /dev/null.
                self._never_waits = True
        self._selector = selector
        self.go_on()

    def go_on(self) -> None:
        """Does what can be done without waiting, and leaves in the selector what has to be waited for."""
        while self._selector is not None:
            if not self._pending and not self._read():
                return
            try:
                sent = self._port.send(self._pending)
            except BlockingIOError:
                self._wait(self._port, selectors.EVENT_WRITE)
                return
            except OSError:  # The guest has gone; who reads its other ports finds out.
                self.close()
                return
            self._pending = self._pending[sent:]
            if self._never_waits or self._pending:
                continue
            if self._source is not None:
                self._wait(self._source, selectors.EVENT_READ)
                return

    def close(self) -> None:
        """Lets the port go, whatever was not read yet."""
        self._wait(None, 0)
        self._selector = None
        self._port.close()

    def _read(self) -> bool:
        """Reads what comes next; false at the end."""
        data = b""
        if self._source is not None:
            with suppress(OSError):  # A terminal that has gone, for one: its input ends.
                data = os.read(self._source, _CHUNK)
        if not data:
            self._source = None
            self._wait(None, 0)
            with suppress(OSError):
                self._port.shutdown(socket.SHUT_WR)
            self._selector = None
        self._pending = memoryview(data)
        return bool(data)

    def _wait(self, what: int | socket.socket | None, event: int) -> None:
        if self._selector is None or self._waits_for is what:
            return
        if self._waits_for is not None:
            self._selector.unregister(self._waits_for)
        if what is not None:
            self._selector.register(what, event, self)
        self._waits_for = what
