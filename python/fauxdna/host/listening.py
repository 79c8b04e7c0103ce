"""The daemon's place in the file system: its socket appears there ready, and takes no living daemon's place."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from fauxdna.errors import Busy, FauxdnaError, InvalidArgument

_BACKLOG: Final = 128
_PATIENCE_S: Final = 5.0
_ATTEMPTS: Final = 100
"""How often several daemons may be in each other's way at one stale socket."""


def listen(path: str) -> socket.socket:
    """A socket that listens at ``path``; root's for everybody, an ordinary user's for that user.

    It is made beside ``path`` and linked there, which fails where something is: of several daemons that start at once, one wins.

    Raises:
        Busy: ``EADDRINUSE``, a living daemon listens there, or it is no socket at all.
        InvalidArgument: no socket can be made there.
    """
    # As short as can be: a socket's path has 107 bytes.
    beside = f"{path}.{threading.get_native_id():x}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        listener.bind(beside)
        try:
            os.chmod(beside, 0o666 if os.geteuid() == 0 else 0o600)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            with _turn(os.path.dirname(path) or "."):
                _link(beside, path)
        finally:
            os.unlink(beside)
    except OSError as error:
        listener.close()
        if isinstance(error, FauxdnaError):
            raise
        raise InvalidArgument(
            f"no socket can be made at {path}: {error.strerror or error}", "name another place: --socket PATH", errno=error.errno
        ) from error
    return listener


@contextmanager
def _turn(folder: str) -> Iterator[None]:
    """One daemon after the other in a directory. Who may read it can hold its lock, but delay nobody for longer than this."""
    with ExitStack() as undo:
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, lock)
            until = time.monotonic() + _PATIENCE_S
            while time.monotonic() < until:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.01)
        yield


def _link(beside: str, path: str) -> None:
    for _ in range(_ATTEMPTS):
        try:
            os.link(beside, path)
        except FileExistsError:
            _remove_stale(path, f"{beside}-")
        else:
            return
    raise Busy(f"other daemons come and go at {path}", "name another place: --socket PATH", errno=errno.EADDRINUSE)


def _remove_stale(path: str, aside: str) -> None:
    """Removes a socket that nobody listens at. It is taken aside first: between a look and the removal another may have come."""
    _refuse_living(path, path)
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    try:
        _refuse_living(aside, path)
    except Busy:
        with suppress(FileExistsError):
            os.link(aside, path)
        raise
    finally:
        os.unlink(aside)


def _refuse_living(place: str, path: str) -> None:
    """:class:`Busy` unless ``place`` is nothing, or a socket whose daemon has gone."""
    try:
        if not stat.S_ISSOCK(os.lstat(place).st_mode):
            raise Busy(f"{path} is no socket", "name another place: --socket PATH", errno=errno.EADDRINUSE)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            # A daemon with a full backlog lives.
            probe.setblocking(False)
            probe.connect(place)
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except BlockingIOError:
        pass
    except OSError as error:
        if isinstance(error, FauxdnaError):
            raise
        raise Busy(
            f"{path} is no socket of a daemon that has gone ({error.strerror})", "name another place: --socket PATH"
        ) from error
    raise Busy(
        f"a daemon listens at {path} already", "use it: fauxdna exec --die SOCKET, or stop it first", errno=errno.EADDRINUSE
    )
