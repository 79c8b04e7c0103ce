"""vfio-user messages on a Unix stream socket: framing, and the file descriptors that come with them.

What a peer sends is untrusted. Lengths are checked before memory is taken for them, and descriptors that nobody took are closed.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fauxdna.abi import vfio_user as abi

_FD_SIZE: Final = struct.calcsize("i")
_SCM_MAX_FD: Final = 253
"""Descriptors that Linux passes with one sendmsg (``SCM_MAX_FD``): room for all, so that none is cut off unseen."""
_ANCILLARY: Final = socket.CMSG_SPACE(_SCM_MAX_FD * _FD_SIZE)
_CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_CUT_OFF: Final = int(socket.MSG_CTRUNC)
_QUIETLY: Final = int(socket.MSG_NOSIGNAL)
_AT_ONCE: Final = int(socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


class WireError(OSError):
    """The peer broke the framing, or the connection broke: there is no next message."""


@dataclass
class Message:
    """One message. Whoever handles it takes descriptors out of ``fds`` that are to live on, and closes the rest."""

    id: int
    command: int
    flags: int
    error: int
    payload: bytes = b""
    fds: list[int] = field(default_factory=list)

    @property
    def is_reply(self) -> bool:
        """Whether it answers another message."""
        return self.flags & abi.TYPE_MASK == abi.TYPE_REPLY

    @property
    def wants_reply(self) -> bool:
        """Whether the sender waits for an answer."""
        return not self.flags & abi.NO_REPLY

    def close(self) -> None:
        """Closes the descriptors that nobody took."""
        while self.fds:
            os.close(self.fds.pop())


class Channel:
    """One end of a connection. One thread receives; sending is not locked either."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def receive(self) -> Message | None:
        """The next message; ``None`` when the peer has closed the connection between two messages.

        Raises:
            WireError: ``EPROTO`` for a size that no message has, ``ECONNRESET`` for an end inside a message.
        """
        fds: list[int] = []
        try:
            head = self._exactly(abi.HEADER.size, fds)
            if head is None:
                return None
            header = abi.HEADER.unpack(head)
            message = Message(header.message_id, header.command, header.flags, header.error, fds=fds)
            length = header.message_size - abi.HEADER.size
            if not 0 <= length <= abi.MESSAGE_MAX - abi.HEADER.size:
                if not message.is_reply:
                    self.refuse(message, errno.EINVAL)
                raise WireError(
                    errno.EPROTO, f"message of {header.message_size} bytes; one has {abi.HEADER.size} to {abi.MESSAGE_MAX}"
                )
            body = self._exactly(length, fds) if length else b""
            if body is None:
                raise WireError(errno.ECONNRESET, "the connection ended behind a header")
            message.payload = body
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return message

    def send(
        self,
        identifier: int,
        command: int,
        payload: bytes = b"",
        *,
        flags: int = abi.TYPE_COMMAND,
        error: int = 0,
        fds: Sequence[int] = (),
        wait: bool = True,
    ) -> bool:
        """Sends a message. With ``wait`` false it may be refused: false if the peer does not take its messages fast enough."""
        data = abi.HEADER.pack(
            message_id=identifier, command=command, message_size=abi.HEADER.size + len(payload), flags=flags, error=error
        )
        data += payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        try:
            sent = self._socket.sendmsg([data], rights, _QUIETLY if wait else _AT_ONCE)
            if sent < len(data):
                self._socket.sendall(data[sent:], _QUIETLY)
        except BlockingIOError:
            return False
        except OSError as error_:
            raise WireError(error_.errno or errno.EPIPE, f"the peer went away: {error_.strerror}") from None
        return True

    def reply(self, request: Message, payload: bytes = b"", *, fds: Sequence[int] = (), wait: bool = True) -> bool:
        """Answers ``request``, if it wants an answer."""
        if not request.wants_reply:
            return True
        return self.send(request.id, request.command, payload, flags=abi.TYPE_REPLY, fds=fds, wait=wait)

    def refuse(self, request: Message, error: int) -> None:
        """Answers ``request`` with an errno."""
        if request.wants_reply:
            self.send(request.id, request.command, flags=abi.TYPE_REPLY | abi.ERROR, error=error)

    def pending(self) -> bool:
        """Whether something of the peer's is there to be received."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(0))

    def _exactly(self, length: int, fds: list[int]) -> bytes | None:
        """``length`` bytes; descriptors that came with them are added to ``fds``. ``None`` at the end of the connection."""
        data = bytearray()
        while len(data) < length:
            try:
                part, ancillary, flags, _ = self._socket.recvmsg(length - len(data), _ANCILLARY, _CLOEXEC)
            except InterruptedError:
                continue
            except TimeoutError:
                raise  # A client's own limit, which it sets on its socket.
            except OSError as error:
                raise WireError(error.errno or errno.ECONNRESET, f"the connection broke: {error.strerror}") from None
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    whole = len(content) // _FD_SIZE
                    fds.extend(struct.unpack(f"{whole}i", content[: whole * _FD_SIZE]))
            if flags & _CUT_OFF:
                raise WireError(errno.EMFILE, "descriptors of a message were lost: too many are open in this process")
            if not part:
                if data:
                    raise WireError(errno.ECONNRESET, "the connection ended inside a message")
                return None
            if len(fds) > _SCM_MAX_FD:
                raise WireError(errno.EPROTO, f"one message with {len(fds)} descriptors")
            data += part
        return bytes(data)
