"""What launcher and daemon say to each other: JSON documents with descriptors over a Unix socket that keeps message bounds."""

from __future__ import annotations

import array
import json
import os
import socket
from contextlib import suppress

from fauxdna.errors import DeviceGone, FauxdnaError, InvalidArgument, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

VERSION = 1
"""Of these messages; launcher and daemon have to be of one."""
LARGEST = 1 << 16
"""Bytes of a message."""
DESCRIPTORS_MAX = 72
"""A listener, and a node for a PF and 64 VFs."""
_SCM_MAX_FD = 253
"""Descriptors that one message can have (``include/net/scm.h``). There is room for all: the kernel closes those that do not fit,
and closing a stranger's descriptor may take as long as he likes."""


def default_socket() -> str:
    """Where ``fauxdna serve`` listens unless it is told otherwise."""
    folder = os.environ.get("XDG_RUNTIME_DIR") or ("/run" if os.geteuid() == 0 else f"/tmp/fauxdna-{os.geteuid()}")
    return f"{folder}/fauxdna.sock"


def connect(path: str) -> socket.socket:
    """A connection to the daemon at ``path``. ``ENODEV``: nobody listens there."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(path)
    except OSError as error:
        link.close()
        raise DeviceGone(
            f"no die at {path} ({os.strerror(error.errno or 0)})", f"start one: fauxdna serve --socket {path}"
        ) from error
    return link


def send(link: socket.socket, document: dict[str, Any], descriptors: Iterable[int] = ()) -> None:
    """Sends one message."""
    data = json.dumps(document).encode()
    rights = array.array("i", descriptors)
    link.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else [])


def receive(link: socket.socket, discard: Callable[[list[int]], None] | None = None) -> tuple[dict[str, Any], list[int]]:
    """One message and its descriptors, which are the caller's to close.

    Args:
        link: Where it comes from.
        discard: Gets the descriptors of a message that is refused; by default they are closed.

    Raises:
        DeviceGone: the other side has hung up.
        InvalidArgument: no JSON object, or too long.
    """
    rights = array.array("i")
    data, ancillary, flags, _ = link.recvmsg(LARGEST, socket.CMSG_SPACE(_SCM_MAX_FD * rights.itemsize), socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            rights.frombytes(content[: len(content) // rights.itemsize * rights.itemsize])
    descriptors = rights.tolist()
    try:
        if not data:
            raise DeviceGone("the other side of the die's socket has gone", "look at its log")
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(descriptors) > DESCRIPTORS_MAX:
            raise InvalidArgument(f"a message of more than {LARGEST} bytes or {DESCRIPTORS_MAX} descriptors", "send less")
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(f"a message that is no JSON: {error}", "speak fauxdna's protocol") from error
        if not isinstance(document, dict):
            raise InvalidArgument("a message that is no JSON object", "speak fauxdna's protocol")
    except FauxdnaError:
        (discard or _close)(descriptors)
        raise
    return document, descriptors


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def ask(link: socket.socket, document: dict[str, Any], descriptors: Iterable[int] = ()) -> dict[str, Any]:
    """Sends a request and gives the answer; an error that the daemon names is raised here."""
    try:
        # A daemon that refuses a caller says so and hangs up, maybe before it was asked.
        with suppress(BrokenPipeError):
            send(link, {"version": VERSION, **document}, descriptors)
        try:
            answer, extra = receive(link)
        except ConnectionResetError:
            # Linux says so first when the other side closed with our request unread, and then gives what it had sent.
            answer, extra = receive(link)
    except FauxdnaError:
        raise
    except OSError as error:
        raise DeviceGone(f"the die's daemon has gone ({error.strerror})", "start it again: fauxdna serve") from error
    _close(extra)
    if "problem" in answer:
        raise FauxdnaError(str(answer["problem"]), str(answer.get("remedy", "")), errno=int(answer.get("errno", 5)))
    if answer.get("version") != VERSION:
        raise Unsupported(
            f"the daemon speaks version {answer.get('version')}, this program {VERSION}", "use one release of fauxdna for both"
        )
    return answer
