"""Clients that can't be served: each is told why in answer to its first message, however late, in whatever parts it comes."""

from __future__ import annotations

import errno
import selectors
import socket
from contextlib import suppress
from typing import Final

from fauxdna.abi import vfio_user as abi
from fauxdna.bus.vfio_user.wire import Channel, Message, WireError

LIMIT: Final = 64
"""Clients that have said nothing yet; for one more, the one that has been silent longest goes."""
_CHUNK: Final = 1 << 16


class Refused:
    """One such client. Nothing here waits for it, and of its message only the header is kept."""

    def __init__(self, connection: socket.socket, error: int) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._error = error
        self._head = b""
        self._left = 0

    def go_on(self) -> bool:
        """Takes what has come; true if the connection is done with: the client was answered, has gone, or sends no message."""
        try:
            part = self.connection.recv(min(self._left, _CHUNK) or abi.HEADER.size - len(self._head))
        except BlockingIOError:
            return False
        except OSError:
            return True
        if not part:
            return True
        if self._left:
            self._left -= len(part)
        else:
            self._head += part
            if len(self._head) < abi.HEADER.size:
                return False
            self._left = abi.HEADER.unpack(self._head).message_size - abi.HEADER.size
        if 0 < self._left <= abi.MESSAGE_MAX - abi.HEADER.size:
            return False
        self._answer(errno.EINVAL if self._left else self._error)
        return True

    def _answer(self, error: int) -> None:
        header = abi.HEADER.unpack(self._head)
        message = Message(header.message_id, header.command, header.flags, header.error)
        if not message.is_reply:
            with suppress(WireError):
                Channel(self.connection).refuse(message, error)


class Refusals:
    """All of a server's, in the selector that its acceptor waits with. The server's lock guards them."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._clients: dict[socket.socket, Refused] = {}

    def add(self, connection: socket.socket, error: int) -> None:
        """Has a client told ``error``; takes its connection over."""
        if len(self._clients) >= LIMIT:
            self._drop(next(iter(self._clients)))
        client = Refused(connection, error)
        try:
            self._selector.register(connection, selectors.EVENT_READ, client)
        except OSError:  # The system has no room for it (epoll_ctl: ENOSPC, ENOMEM).
            connection.close()
            return
        self._clients[connection] = client

    def go_on(self, client: Refused) -> None:
        """A client has sent something, unless it was dropped since."""
        if client.connection in self._clients and client.go_on():
            self._drop(client.connection)

    def close(self) -> None:
        """Hangs up on all."""
        for connection in list(self._clients):
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self._clients[connection]
        self._selector.unregister(connection)
        connection.close()
