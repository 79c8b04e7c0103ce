"""Sockets and threads: who may connect to which function, and what happens when a client goes."""

from __future__ import annotations

import errno
import os
import queue
import select
import selectors
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from fauxdna.bus import BusError
from fauxdna.bus.vfio_user.wire import Channel

from ..local import LocalDie
from ..slot import Slot
from .refusal import Refusals, Refused
from .session import Session, Statistics

Function = int | str
"""``"pf"``, ``"vf0"`` and so on, or the index of a VF."""

_BACKLOG: Final = 128
_END_S: Final = 5.0
_RETRY_S: Final = 0.05


@dataclass
class _Endpoint:
    """One listening socket: a function, and who is connected to it."""

    path: str
    name: str
    vf: int | None
    listener: socket.socket
    client: socket.socket | None = None
    session: Session | None = None
    thread: threading.Thread | None = None
    waiting: list[socket.socket] = field(default_factory=list)
    done: Statistics = field(default_factory=Statistics)
    slot: Slot | None = None
    left: int = 0
    """DMA maps of clients that have gone: 0 unless cleaning up failed."""


class VfioUserServer:
    """Serves functions of ``die``, each on a socket of its own and to one client at a time. Close it before the die.

    Each connection has a thread, so no client's messages wait for another's. When a client goes, its function is reset, its
    contexts end, its memory is unmapped and its interrupts are disconnected; the next one finds a fresh function.

    Args:
        die: Whose functions are served. In-process hosts may use others of its functions at the same time.
        on_vf_enable: Called with the number of VFs when a host has enabled them, and with 0 when they are gone, on a thread of
            its own and after the host's write was answered: a VMM that has to program the BARs of VFs does it here.
    """

    def __init__(self, die: LocalDie, on_vf_enable: Callable[[int], None] | None = None) -> None:
        self.die = die
        self._endpoints: dict[str, _Endpoint] = {}
        self._lock = threading.RLock()
        self._closed = False
        self._selector = selectors.DefaultSelector()
        self._refusals = Refusals(self._selector)
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._acceptor = threading.Thread(target=self._accept_all, name="vfio-user-accept", daemon=True)
        self._acceptor.start()
        self._events: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._notifier: threading.Thread | None = None
        self._unwatch: Callable[[], None] = lambda: None
        if on_vf_enable is not None:
            self._notifier = threading.Thread(target=self._notify, args=(on_vf_enable,), name="vfio-user-vfs", daemon=True)
            self._notifier.start()
            self._unwatch = die.watch_vfs(self._events.put)

    def listen(self, path: str | os.PathLike[str], function: Function = "pf") -> None:
        """Offers a function on the socket ``path``, which is made for this user alone.

        Raises:
            BusError: ``ENODEV`` for a function that the die can't have; ``EADDRINUSE`` if someone listens there, or this server
                offers the function already; ``EEXIST`` if ``path`` is not a socket; others of bind(2).
        """
        name, vf = self._resolve(function)
        path = os.fspath(path)
        with self._lock:
            if self._closed:
                raise BusError(errno.EBADF, "the server is closed")
            if any(endpoint.name == name for endpoint in self._endpoints.values()):
                raise BusError(errno.EADDRINUSE, f"{name} is offered already; a function has one socket")
            listener = _bind(path)
            self._endpoints[path] = _Endpoint(path, name, vf, listener)
            self._selector.register(listener, selectors.EVENT_READ, self._endpoints[path])
        self._waker.send(b"\0")

    def unplug(self, function: Function) -> None:
        """Takes a function from under its client, as a card that is pulled: it reads all ones. ``ENOTCONN`` without a client."""
        self._slot(function).unplug()

    def plug(self, function: Function) -> None:
        """Puts an unplugged function back, as after power-up."""
        self._slot(function).plug()

    @property
    def statistics(self) -> Statistics:
        """Figures of all clients, of those that have gone too."""
        total = Statistics()
        with self._lock:
            for endpoint in self._endpoints.values():
                total.add(endpoint.done)
                if endpoint.session is not None:
                    total.add(endpoint.session.statistics)
        return total

    @property
    def messages(self) -> dict[str, int]:
        """Messages by kind."""
        return dict(self.statistics.messages)

    @property
    def busy_ns(self) -> int:
        """Nanoseconds in which a client waited for this server, at most."""
        return self.statistics.busy_ns

    @property
    def dma_maps(self) -> int:
        """DMA maps that exist now: of all clients, and those that clients left behind, should there be any."""
        with self._lock:
            endpoints = self._endpoints.values()
            return sum(endpoint.left + (endpoint.slot.dma_maps if endpoint.slot is not None else 0) for endpoint in endpoints)

    @property
    def clients(self) -> tuple[str, ...]:
        """Functions that have a client, as ``"pf"`` or ``"vf0"``."""
        with self._lock:
            return tuple(endpoint.name for endpoint in self._endpoints.values() if endpoint.client is not None)

    def close(self) -> None:
        """Ends all connections, gives the functions back and removes the sockets. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            endpoints = list(self._endpoints.values())
            for endpoint in endpoints:
                if endpoint.client is not None:
                    _hang_up(endpoint.client)
        self._waker.send(b"\0")
        self._acceptor.join()
        for endpoint in endpoints:
            if endpoint.thread is not None:
                endpoint.thread.join()
            endpoint.listener.close()
            with suppress(FileNotFoundError):
                os.unlink(endpoint.path)
        with self._lock:
            self._refusals.close()
        self._unwatch()
        self._events.put(None)
        if self._notifier is not None and self._notifier is not threading.current_thread():
            self._notifier.join(_END_S)
        self._selector.close()
        self._wake.close()
        self._waker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _resolve(self, function: Function) -> tuple[str, int | None]:
        if function == "pf":
            return "pf", None
        text = str(function).removeprefix("vf")
        if not (text.isascii() and text.isdigit()):
            raise BusError(errno.ENODEV, f"no function {function!r}; there are pf, vf0 to vf{self.die.total_vfs - 1}")
        self.die.vf_bdf(int(text))
        return f"vf{int(text)}", int(text)

    def _slot(self, function: Function) -> Slot:
        name, _ = self._resolve(function)
        with self._lock:
            for endpoint in self._endpoints.values():
                if endpoint.name == name and endpoint.slot is not None:
                    return endpoint.slot
        raise BusError(errno.ENOTCONN, f"{name} has no client; attach it first")

    def _accept_all(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake:
                    with suppress(BlockingIOError):
                        self._wake.recv(64)
                elif isinstance(key.data, _Endpoint):
                    self._accept(key.data)
                elif isinstance(key.data, Refused):
                    with self._lock:
                        self._refusals.go_on(key.data)

    def _accept(self, endpoint: _Endpoint) -> None:
        try:
            connection, _ = endpoint.listener.accept()
        except OSError:
            time.sleep(_RETRY_S)  # The client has gone, or this process has no descriptor left for it.
            return
        with self._lock:
            if self._closed:
                connection.close()
            elif endpoint.client is None:
                self._serve(endpoint, connection)
            elif _has_gone(endpoint.client) and len(endpoint.waiting) < _BACKLOG:
                endpoint.waiting.append(connection)
            else:
                self._refusals.add(connection, errno.EBUSY)

    def _serve(self, endpoint: _Endpoint, connection: socket.socket) -> None:
        """Starts a connection's thread. The lock is held."""
        endpoint.client = connection
        endpoint.thread = threading.Thread(
            target=self._run, args=(endpoint, connection), name=f"vfio-user-{endpoint.name}", daemon=True
        )
        try:
            endpoint.thread.start()
        except RuntimeError:  # No thread can be started.
            endpoint.client = endpoint.thread = None
            connection.close()

    def _run(self, endpoint: _Endpoint, connection: socket.socket) -> None:
        refused = 0
        try:
            slot = self.die.hold(endpoint.vf)
        except OSError as error:  # Taken, or this process has nothing left for it.
            refused = error.errno or errno.EIO
        else:
            log = self.die.log.logger(slot.bdf, "vfio-user")
            session = Session(Channel(connection), slot, log)
            with self._lock:
                endpoint.session, endpoint.slot = session, slot
            try:
                session.run()
            finally:
                try:
                    slot.close()
                except OSError as error:
                    log.error(f"what a client left is not all cleaned up: {error.strerror or error}")
                with self._lock:
                    endpoint.session = endpoint.slot = None
                    endpoint.left += slot.dma_maps
                    endpoint.done.add(session.statistics)
        finally:
            with self._lock:
                if refused and not self._closed:
                    self._refusals.add(connection, refused)
                else:
                    # The client sees the end of the connection when its function is free again.
                    connection.close()
                endpoint.client = None
                waiting, endpoint.waiting = endpoint.waiting, []
                for following in waiting:
                    if self._closed or _has_gone(following):
                        following.close()
                    elif endpoint.client is None:
                        self._serve(endpoint, following)
                    else:
                        self._refusals.add(following, errno.EBUSY)

    def _notify(self, callback: Callable[[int], None]) -> None:
        while (count := self._events.get()) is not None:
            try:
                callback(count)
            except Exception as error:  # A VMM's own code: what it raises must not keep later changes from it.
                log = self.die.log.logger(self.die.functions()[0], "vfio-user")
                log.error(f"on_vf_enable({count}) failed: {type(error).__name__}: {error}")


def _bind(path: str) -> socket.socket:
    """A listening socket that only this user can connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _remove_stale(path):
                raise BusError(error.errno, f"socket {path}: {error.strerror or error}; name another path") from None
            listener.bind(path)
        # Nobody can connect before listen().
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _remove_stale(path: str) -> bool:
    """Removes a socket that nobody listens on any more; false if there is something else."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return True
        except OSError:
            return False
    return False


def _has_gone(connection: socket.socket) -> bool:
    """Whether the client has closed its end, so that the function will be free in a moment."""
    poller = select.poll()
    poller.register(connection, select.POLLRDHUP)
    return bool(poller.poll(0))


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
