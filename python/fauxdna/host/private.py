"""The die of one sandbox: ``python -m fauxdna.host.private SETTINGS``, with the launcher's socket as descriptor 3.

Started by :mod:`fauxdna.host.launch`; ends with the sandbox. If it fails, the program's own standard error gets a sentence.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import socket
import sys
import threading
import traceback
from contextlib import ExitStack, suppress
from typing import Any, Final

from fauxdna.errors import FauxdnaError
from fauxdna.log import Level, Log

from . import _system, _wire
from .peers import credentials

_LINK: Final = 3
_STDERR: Final = 2
_PATIENCE_MS: Final = 1000
"""How long a program's standard error may be full."""
_NO_MEMORY: Final = (errno.ENOMEM, errno.ENOSPC)
_NO_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE)


def main() -> None:
    """Brings the dies up, takes the sandbox, waits for its end."""
    settings = json.loads(sys.argv[1])
    os.chdir("/")
    with socket.socket(fileno=_LINK) as link:
        try:
            _serve(settings, link)
        except Exception as error:
            # Whatever it was: the log gets all of it, the user one sentence.
            traceback.print_exc()
            _tell(link, settings["stderr"], explain(error))
            sys.exit(1)


def _serve(settings: dict[str, Any], link: socket.socket) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    from .daemon import Daemon
    from .dies import bring_up

    log = Log()
    log.subscribe(lambda entry: print(entry, flush=True), Level.INFO)
    over = threading.Event()
    with ExitStack() as undo:
        machines = [
            undo.enter_context(bring_up(bdf, vfs=settings["vfs"], pace=settings["pace"], log=log)) for bdf in settings["dies"]
        ]
        daemon = Daemon(machines, log, idle=over.set)
        undo.callback(daemon.close)
        try:
            request, descriptors = _wire.receive(link)
        except FauxdnaError:
            # The launcher gave up before there was anything to serve.
            return
        daemon.take(descriptors[0], descriptors[1:], request["nodes"], settings["uapi"], str(request["run"]))
        link.close()
        over.wait()


def explain(error: Exception) -> FauxdnaError:
    """Why a die can't be had, and what to do about it."""
    if isinstance(error, FauxdnaError):
        return FauxdnaError(f"the die failed: {error.problem}", error.remedy, errno=error.errno)
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None) or errno.EIO
    what = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, ImportError):
        return FauxdnaError(f"the die can't start: {error}", "install fauxdna again, or ./dev setup", errno=errno.ENOEXEC)
    if number in _NO_MEMORY:
        return FauxdnaError(
            f"the die has no memory ({what})", "free some, or raise the limits: ulimit -v, the container's memory", errno=number
        )
    if number in _NO_DESCRIPTORS:
        return FauxdnaError(f"the die has no descriptors left ({what})", "raise the limit: ulimit -Hn 4096", errno=number)
    return FauxdnaError(f"the die failed: {type(error).__name__}: {what}", "its log says more: --log FILE", errno=number)


def _tell(link: socket.socket, identity: list[int], error: FauxdnaError) -> None:
    """Writes to the standard error of the process that made ``link``, if that is still what it was when it was the launcher."""
    text = f"fauxdna: {error}\n".encode()
    with suppress(OSError):
        pidfd = os.pidfd_open(credentials(link).pid)
        try:
            stderr = _system.pidfd_getfd(pidfd, _STDERR)
        finally:
            os.close(pidfd)
        try:
            status = os.fstat(stderr)
            poll = select.poll()
            poll.register(stderr, select.POLLOUT)
            if [status.st_dev, status.st_ino] == identity and poll.poll(_PATIENCE_MS):
                os.write(stderr, text)
        finally:
            os.close(stderr)


if __name__ == "__main__":
    main()
