"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

_CREDENTIALS: Final = struct.Struct("3i")
"""``struct ucred``."""


class Credentials(NamedTuple):
    """As the kernel knew them when the socket was connected."""

    pid: int
    user: int
    group: int


def credentials(link: socket.socket) -> Credentials:
    """``SO_PEERCRED``: of a pair, who made it."""
    return Credentials(*_CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)))
