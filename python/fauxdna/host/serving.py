"""``fauxdna serve``'s work: a die of this process behind a socket, until a signal."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fauxdna.log import Level, Log

from .daemon import PER_USER, Daemon, Server
from .dies import bring_up
from .sysfs import free_bus


def serve(
    path: str,
    *,
    columns: int,
    vfs: int,
    pace: str,
    per_user: int = PER_USER,
    log_file: Path | None = None,
    ready: Callable[[list[str]], None] = lambda functions: None,
) -> None:
    """Serves one die at the socket ``path`` until SIGINT or SIGTERM; then its programs get errors, and nothing is left behind.

    Args:
        path: The socket.
        columns: Columns of the array.
        vfs: Virtual functions.
        pace: ``"fast"`` or ``"real"``.
        per_user: Sandboxes and launchers that one user may have.
        log_file: Where the log is written.
        ready: Called with the functions' names when programs may come. A service manager is told too (``NOTIFY_SOCKET``).
    """
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    log = Log()
    with ExitStack() as undo:
        if log_file is not None:
            output = undo.enter_context(log_file.open("a", buffering=1))
            undo.callback(log.subscribe(lambda entry: print(entry, file=output), Level.INFO))
        machine = undo.enter_context(bring_up(free_bus(), vfs=vfs, columns=columns, pace=pace, log=log))
        daemon = Daemon([machine], log)
        undo.callback(daemon.close)
        server = Server(daemon, path, log, per_user=per_user)
        undo.callback(server.close)
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.signal(number, lambda *_: server.stop())
            undo.callback(signal.signal, number, previous)
        ready(list(machine.nodes))
        _notify("READY=1")
        server.run()
        _notify("STOPPING=1")


def _notify(state: str) -> None:
    """Tells systemd, if it asked (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
