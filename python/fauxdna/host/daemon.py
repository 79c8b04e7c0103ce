"""Who owns the die and answers for it: takes sandboxes over a Unix socket, and gives each its door and its functions."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from fauxdna.abi.uapi_next import Level
from fauxdna.accel.local import attributes
from fauxdna.accel.machine import Machine
from fauxdna.driver import Function, Pf
from fauxdna.errors import Busy, FauxdnaError, InvalidArgument, NotFound, OutOfSpace
from fauxdna.log import Log

from . import _wire, handed
from .listening import listen
from .peers import credentials
from .sandboxes import Sandbox
from .uapi import Hub

_NAME: Final = "serve"
_OUT_OF_DESCRIPTORS_S: Final = 0.05
PER_USER: Final = 256
"""Sandboxes and launchers that one user may have, unless told otherwise."""
SILENCE_S: Final = 30.0
"""How long a launcher may say nothing: it asks at once, and sets a sandbox up in milliseconds."""


class Daemon:
    """Serves the functions of ``machines`` to sandboxes.

    Args:
        machines: Dies that are brought up. Not closed with the daemon.
        log: Where it writes.
        idle: Called when the last sandbox has ended.
    """

    def __init__(self, machines: Sequence[Machine], log: Log, idle: Callable[[], None] = lambda: None) -> None:
        self._machines = machines
        self._log = log.logger("", _NAME)
        self._idle = idle
        self._hub = Hub()
        self._sandboxes: dict[Sandbox, int] = {}
        """Whose each is."""
        self._promised: Counter[str] = Counter()
        """Functions offered to launchers that are not ready yet."""
        self._lock = threading.Lock()

    def offer(self, kinds: Sequence[bool]) -> list[Function]:
        """Functions for a sandbox that wants nodes of these ``kinds`` (true is a PF): the VFs that the fewest others have.

        They are promised until :meth:`release`.
        """
        functions = self._machines[0].nodes
        pf = next(function for function in functions.values() if isinstance(function, Pf))
        vfs = [name for name, function in functions.items() if function is not pf]
        if kinds.count(False) > len(vfs):
            raise Busy(
                f"{kinds.count(False)} VFs are wanted, and this die has {len(vfs)}", "start it with more: fauxdna serve --vfs N"
            )
        with self._lock:
            users = self._promised + Counter(name for sandbox in self._sandboxes for name in sandbox.functions)
            # Sorting is stable: among equals the first in order of their numbers.
            chosen = iter(sorted(vfs, key=lambda name: users[name]))
            offered = [pf if is_pf else functions[next(chosen)] for is_pf in kinds]
            self._promised.update(function.name for function in offered)
        return offered

    def release(self, names: Sequence[str]) -> None:
        """Takes back what was offered: it has been taken, or the launcher has gone."""
        with self._lock:
            self._promised.subtract(names)

    def take(
        self, listener: int, files: Sequence[int], names: Sequence[str], level: str, program: str, user: int | None = None
    ) -> Sandbox:
        """Answers for a sandbox of ``user`` (our own by default). The descriptors are the sandbox's, also when this fails.

        Raises:
            InvalidArgument: they are not what a sandbox has; nothing was done to them that could wait for their owner.
        """
        try:
            handed.check(listener, files)
            functions = [self._find(name) for name in names]
            if len(files) != len(functions):
                raise InvalidArgument(f"{len(files)} device files for {len(functions)} functions", "send one for each")
            sandbox = Sandbox(listener, files, functions, _level(level), self._hub, self._ended)
        except BaseException:
            handed.discard([listener, *files])
            raise
        with self._lock:
            self._sandboxes[sandbox] = os.geteuid() if user is None else user
        self._log.info(f"{program}: {', '.join(names)}")
        try:
            sandbox.start()
        except OSError:
            with self._lock:
                self._sandboxes.pop(sandbox, None)
            raise
        return sandbox

    def sandboxes_of(self, user: int) -> int:
        """How many a user has."""
        with self._lock:
            return sum(owner == user for owner in self._sandboxes.values())

    @property
    def sandboxes(self) -> int:
        """How many are served."""
        with self._lock:
            return len(self._sandboxes)

    def close(self) -> None:
        """Ends all sandboxes: their programs get errors from then on."""
        with self._lock:
            sandboxes = list(self._sandboxes)
        for sandbox in sandboxes:
            sandbox.close()

    def _find(self, name: str) -> tuple[Machine, str]:
        for machine in self._machines:
            if name in machine.nodes:
                return machine, name
        raise NotFound(f"no function {name}", "ask for one that the daemon offered")

    def _ended(self, sandbox: Sandbox) -> None:
        with self._lock:
            self._sandboxes.pop(sandbox, None)
            last = not self._sandboxes
        if last:
            self._idle()


class Server:
    """Listens for launchers at a socket path.

    Args:
        daemon: Whose functions to offer.
        path: The socket; removed at the end. A stale one is replaced.
        log: Where refusals are written.
        per_user: Sandboxes and launchers that one user may have.

    Attributes:
        silence: Seconds that a launcher may say nothing.

    Raises:
        Busy: ``EADDRINUSE``, a living daemon listens there.
    """

    def __init__(self, daemon: Daemon, path: str, log: Log, *, per_user: int = PER_USER) -> None:
        self._daemon = daemon
        self._path = path
        self._per_user = per_user
        self.silence = SILENCE_S
        self._users: Counter[int] = Counter()
        """Launchers by user, and those that have gone while what they sent is still being closed."""
        self._users_lock = threading.Lock()
        self._log = log.logger("", _NAME)
        self._selector = selectors.DefaultSelector()
        self._listener = listen(path)
        self._identity = os.stat(path)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def run(self) -> None:
        """Serves until :meth:`stop`."""
        while True:
            for key, _ in self._selector.select(self._drop_silent()):
                if key.fd == self._wake_read:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._serve(key.data)

    def _drop_silent(self) -> float | None:
        """Hangs up on launchers that said nothing for too long; seconds until the next may be due."""
        now = time.monotonic()
        peers = [key.data for key in self._selector.get_map().values() if isinstance(key.data, _Peer)]
        for peer in [peer for peer in peers if peer.heard + self.silence <= now]:
            self._log.warning(f"process {peer.pid} said nothing for {self.silence:g} s")
            self._refuse(peer, Busy(f"nothing was asked for {self.silence:g} s", "ask again", errno=errno.ETIMEDOUT))
            self._drop(peer)
        left = [peer.heard + self.silence - now for peer in peers if peer.heard + self.silence > now]
        return min(left, default=None)

    def stop(self) -> None:
        """Makes :meth:`run` return; from any thread or signal handler."""
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """Stops listening and removes the socket."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Peer):
                handed.hang_up(key.data.link)
        self._selector.close()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        with suppress(FileNotFoundError):
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) == (self._identity.st_dev, self._identity.st_ino):
                os.unlink(self._path)

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError as error:
            # Out of descriptors: whoever waits is served when others have gone. The listener stays readable meanwhile.
            self._log.warning(f"a connection can't be taken: {error.strerror}")
            time.sleep(_OUT_OF_DESCRIPTORS_S)
            return
        link.setblocking(False)
        pid, user, _ = credentials(link)
        peer = _Peer(link, pid, user)
        with self._users_lock:
            has = self._users[user]
            has += self._daemon.sandboxes_of(user)
            full = has >= self._per_user
            self._users[user] += not full
        if full:
            # Not written to the log: a flood of them would be all that it has.
            self._refuse(
                peer,
                OutOfSpace(
                    f"user {user} has {has} sandboxes and launchers at this die, the most that one user may have",
                    "end some of them, or start it with more: fauxdna serve --per-user N",
                    errno=errno.EUSERS,
                ),
            )
            handed.hang_up(link)
            return
        if os.geteuid() not in (0, user):
            self._log.warning(f"process {pid} of user {user} refused: the die is user {os.geteuid()}'s")
            self._refuse(
                peer, Busy(f"this die is user {os.geteuid()}'s", "start one of your own: fauxdna serve", errno=errno.EACCES)
            )
            handed.hang_up(link, lambda: self._forget(user))
            return
        self._selector.register(link, selectors.EVENT_READ, peer)

    def _serve(self, peer: _Peer) -> None:
        try:
            request, descriptors = _wire.receive(peer.link, lambda sent: self._discard(peer, sent))
        except FauxdnaError as error:
            if error.errno != errno.ENODEV:
                self._refuse(peer, error)
            self._drop(peer)
            return
        except OSError:
            self._drop(peer)
            return
        peer.heard = time.monotonic()
        try:
            answer = self._answer(peer, request, descriptors)
        except FauxdnaError as error:
            self._log.warning(f"process {peer.pid}: {error}")
            self._refuse(peer, error)
            self._drop(peer)
        except OSError as error:
            # Whatever a launcher sends, or the lack of descriptors: its sandbox fails, no other.
            refusal = FauxdnaError(f"the sandbox can't be served: {error.strerror or error}", "", errno=error.errno or errno.EIO)
            self._log.warning(f"process {peer.pid}: {refusal}")
            self._refuse(peer, refusal)
            self._drop(peer)
        else:
            self._reply(peer, answer)

    def _answer(self, peer: _Peer, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        kinds, names = request.get("open"), request.get("nodes")
        if isinstance(kinds, list) and not descriptors:
            peer.level = str(request.get("uapi"))
            self._daemon.release(peer.offered)
            peer.offered = []
            level = Level(peer.level) if peer.level in set(Level) else Level.LINUX_7_2
            functions = self._daemon.offer([bool(kind) for kind in kinds])
            peer.offered = [function.name for function in functions]
            return {"nodes": [{"bdf": function.name, "attributes": attributes(function, level)} for function in functions]}
        if isinstance(names, list) and descriptors and names == peer.offered:
            self._daemon.take(descriptors[0], descriptors[1:], names, peer.level, str(request.get("run")), peer.user)
            self._daemon.release(peer.offered)
            peer.offered = []
            # From now on its sandbox counts.
            self._forget(peer.user)
            peer.served = True
            return {}
        self._discard(peer, descriptors)
        raise InvalidArgument("a request that this daemon does not know", "use one release of fauxdna for both")

    def _reply(self, peer: _Peer, answer: dict[str, Any]) -> None:
        with suppress(OSError):
            _wire.send(peer.link, {"version": _wire.VERSION, **answer})
            if not peer.served:
                return
        self._drop(peer)

    def _refuse(self, peer: _Peer, error: FauxdnaError) -> None:
        with suppress(OSError):
            _wire.send(peer.link, {"problem": error.problem, "remedy": error.remedy, "errno": error.errno})

    def _drop(self, peer: _Peer) -> None:
        self._daemon.release(peer.offered)
        self._selector.unregister(peer.link)
        handed.hang_up(peer.link, (lambda: None) if peer.served else lambda: self._forget(peer.user))

    def _discard(self, peer: _Peer, descriptors: list[int]) -> None:
        """Closes what a launcher sent. While that takes, it counts as one more of its user's."""
        with self._users_lock:
            self._users[peer.user] += 1
        handed.discard(descriptors, lambda: self._forget(peer.user))

    def _forget(self, user: int) -> None:
        with self._users_lock:
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user]


class _Peer:
    """A launcher that is connected."""

    def __init__(self, link: socket.socket, pid: int, user: int) -> None:
        self.link = link
        self.pid = pid
        self.user = user
        self.level = ""
        self.offered: list[str] = []
        self.heard = time.monotonic()
        self.served = False
        """Whether its sandbox is answered for; there is nothing more to say."""


def _level(name: str) -> Level:
    try:
        return Level(name)
    except ValueError:
        raise InvalidArgument(f"there is no UAPI '{name}'", f"use {' or '.join(Level)}") from None
